"""A vector of 64 float32 values for compiled kernels: what a task's neurons have in common, held in machine registers.

Inside a kernel, ``Lanes`` behaves like a number: ``+``, ``-``, ``*`` and ``/`` with other lanes or a float32 work on
each lane and are rounded one by one, exactly as in PyTorch; ``fused`` rounds once. Sets of lanes are uint64 words, bit
j for lane j. In a pointwise equation (``app.equations``) they are of a type of their own, ``Mask``, with which one
cannot reckon: lanes compared give one, and ``where`` takes one. The compiler maps the operations to the machine's own
vectors (AVX-512, AVX2, NEON). Offsets count elements from the start of a contiguous array of any shape. ``claim``
shares tasks between threads.
"""

from __future__ import annotations

import operator

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core.cgutils import alloca_once_value, for_range, get_or_insert_function
from numba.extending import intrinsic, models, overload, register_model

LANES = 64
_FLOATS = ir.VectorType(ir.FloatType(), LANES)
_INTS = ir.VectorType(ir.IntType(32), LANES)
_BITS = ir.VectorType(ir.IntType(1), LANES)
_WORD = ir.IntType(LANES)


class LanesType(types.Type):
    """The type of 64 float32 lanes inside compiled code; it has no counterpart in Python."""

    def __init__(self) -> None:
        super().__init__(name="Lanes")


Lanes = LanesType()


@register_model(LanesType)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager, type_) -> None:
        super().__init__(manager, type_, _FLOATS)


class MaskType(types.Type):
    """The type of a set of lanes inside an equation: one bit for each."""

    def __init__(self) -> None:
        super().__init__(name="Mask")


Mask = MaskType()


@register_model(MaskType)
class _MaskModel(models.PrimitiveModel):
    def __init__(self, manager, type_) -> None:
        super().__init__(manager, type_, _WORD)


def _spread(builder, value):
    """The same value in every lane."""
    first = builder.insert_element(
        ir.Constant(ir.VectorType(value.type, LANES), ir.Undefined), value, ir.IntType(32)(0)
    )
    return builder.shuffle_vector(first, first, ir.Constant(_INTS, None))


def _as_lanes(context, builder, value, from_type):
    if from_type == Lanes:
        return value
    return _spread(builder, context.cast(builder, value, from_type, types.float32))


def _elementwise(emit: str):
    """An intrinsic for two operands, at least one of them lanes."""

    @intrinsic
    def operation(typing_context, left, right):
        def generate(context, builder, signature, arguments):
            pairs = zip(arguments, signature.args, strict=True)
            return getattr(builder, emit)(*(_as_lanes(context, builder, *pair) for pair in pairs))

        return Lanes(left, right), generate

    return operation


def _comparison(sign: str):
    """An intrinsic that compares two operands, at least one of them lanes."""

    @intrinsic
    def operation(typing_context, left, right):
        def generate(context, builder, signature, arguments):
            operands = [_as_lanes(context, builder, *pair) for pair in zip(arguments, signature.args, strict=True)]
            return builder.bitcast(builder.fcmp_ordered(sign, *operands), _WORD)

        return Mask(left, right), generate

    return operation


def _overload_operator(function, operation) -> None:
    @overload(function)
    def dispatch(left, right):
        if _are_numbers(left, right):
            return lambda left, right: operation(left, right)
        return None


def _are_numbers(*operands) -> bool:
    """Whether some are lanes and the others numbers; a set of lanes is none."""
    return Lanes in operands and all(one == Lanes or isinstance(one, _NUMBERS) for one in operands)


_NUMBERS = (types.Float, types.IntegerLiteral)

for _function, _emit in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
):
    _overload_operator(_function, _elementwise(_emit))
for _function, _sign in ((operator.ge, ">="), (operator.gt, ">"), (operator.le, "<="), (operator.lt, "<")):
    _overload_operator(_function, _comparison(_sign))


def _set_operation(function, emit: str) -> None:
    @intrinsic
    def operation(typing_context, left, right):
        def generate(context, builder, signature, arguments):
            return getattr(builder, emit)(*arguments)

        return Mask(Mask, Mask), generate

    @overload(function)
    def dispatch(left, right):
        return (lambda left, right: operation(left, right)) if (left, right) == (Mask, Mask) else None


for _function, _emit in ((operator.and_, "and_"), (operator.or_, "or_")):
    _set_operation(_function, _emit)


@intrinsic
def _others(typing_context, lanes):
    def generate(context, builder, signature, arguments):
        return builder.not_(arguments[0])

    return Mask(Mask), generate


@overload(operator.invert)
def _invert(lanes):
    return (lambda lanes: _others(lanes)) if lanes == Mask else None


@intrinsic
def mask(typing_context, word):
    """A set of lanes as equations know it."""

    def generate(context, builder, signature, arguments):
        return arguments[0]

    return Mask(types.uint64), generate


def _call(builder, name: str, operands):
    """Call LLVM's own function of this name on every lane."""
    function_type = ir.FunctionType(_FLOATS, [_FLOATS] * len(operands))
    return builder.call(get_or_insert_function(builder.module, function_type, f"{name}.v{LANES}f32"), operands)


def _address(context, builder, array_type, array, offset):
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [offset]), _FLOATS.as_pointer())


@intrinsic
def load(typing_context, array, offset):
    """The 64 values of a float32 array from ``offset`` on."""

    def generate(context, builder, signature, arguments):
        return builder.load(_address(context, builder, signature.args[0], *arguments), align=4)

    return Lanes(array, types.intp), generate


@intrinsic
def store(typing_context, array, offset, lanes):
    """Write 64 values to a float32 array from ``offset`` on."""

    def generate(context, builder, signature, arguments):
        builder.store(arguments[2], _address(context, builder, signature.args[0], *arguments[:2]), align=4)
        return context.get_dummy_value()

    return types.none(array, types.intp, Lanes), generate


@intrinsic
def spread(typing_context, value):
    """The same number in every lane."""

    def generate(context, builder, signature, arguments):
        return _spread(builder, arguments[0])

    return Lanes(types.float32), generate


@intrinsic
def fused(typing_context, factor, other_factor, term):
    """factor · other_factor + term, rounded once where the machine can."""

    def generate(context, builder, signature, arguments):
        operands = [_as_lanes(context, builder, *pair) for pair in zip(arguments, signature.args, strict=True)]
        return _call(builder, "llvm.fmuladd", operands)

    return Lanes(factor, other_factor, term), generate


@intrinsic
def at_least(typing_context, left, right):
    """The set of lanes with left >= right."""

    def generate(context, builder, signature, arguments):
        operands = [_as_lanes(context, builder, *pair) for pair in zip(arguments, signature.args, strict=True)]
        return builder.bitcast(builder.fcmp_ordered(">=", *operands), _WORD)

    return types.uint64(left, right), generate


@intrinsic
def choose(typing_context, word, inside, outside):
    """``inside`` in the lanes of the set, ``outside`` in the others."""

    def generate(context, builder, signature, arguments):
        values = [_as_lanes(context, builder, *pair) for pair in zip(arguments[1:], signature.args[1:], strict=True)]
        return builder.select(builder.bitcast(arguments[0], _BITS), *values)

    return Lanes(types.uint64, inside, outside), generate


def _unary(name: str):
    """An intrinsic that calls LLVM's function of this name on every lane."""

    @intrinsic
    def operation(typing_context, lanes):
        def generate(context, builder, signature, arguments):
            return _call(builder, name, arguments)

        return Lanes(Lanes), generate

    return operation


magnitude = _unary("llvm.fabs")
floor = _unary("llvm.floor")


@intrinsic
def power_of_two(typing_context, exponent):
    """2 to the power of every lane; the lanes hold whole numbers from −126 to 127."""

    def generate(context, builder, signature, arguments):
        biased = builder.add(builder.fptosi(arguments[0], _INTS), _spread(builder, ir.IntType(32)(127)))
        return builder.bitcast(builder.shl(biased, _spread(builder, ir.IntType(32)(23))), _FLOATS)

    return Lanes(Lanes), generate


def _halved(builder, value, width):
    """The sum over all lanes of a vector, by halves."""
    while width > 1:
        width //= 2
        low, high = (
            builder.shuffle_vector(value, value, ir.Constant(ir.VectorType(ir.IntType(32), width), list(indices)))
            for indices in (range(width), range(width, 2 * width))
        )
        value = builder.fadd(low, high)
    return builder.extract_element(value, ir.IntType(32)(0))


@intrinsic
def total(typing_context, lanes):
    """The sum over all lanes, by halves."""

    def generate(context, builder, signature, arguments):
        return _halved(builder, arguments[0], LANES)

    return types.float32(Lanes), generate


@intrinsic
def fetch(typing_context, array, offset):
    """One value of an array; unlike ``array[offset]``, which would first ask whether the offset is negative."""

    def generate(context, builder, signature, arguments):
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        return builder.load(builder.gep(data, [arguments[1]]))

    return array.dtype(array, types.intp), generate


SQUARE = 16
"""Values are transposed in squares of so many rows and columns: what the machine's registers hold."""


def _transposed(builder, values):
    """The columns of SQUARE rows."""
    half = SQUARE // 2
    for _ in range(4):  # 2^4 rows: each round moves one bit of the row's number to the column's
        shuffled = []
        for pair in zip(values[:half], values[half:], strict=True):
            for begin in (0, half):
                order = [n for j in range(begin, begin + half) for n in (j, j + SQUARE)]
                places = ir.Constant(ir.VectorType(ir.IntType(32), SQUARE), order)
                shuffled.append(builder.shuffle_vector(*pair, places))
        values = shuffled
    return values


_ROW = ir.VectorType(ir.FloatType(), SQUARE)


def _spread_row(builder, value):
    """The same value SQUARE times."""
    first = builder.insert_element(ir.Constant(_ROW, ir.Undefined), value, ir.IntType(32)(0))
    return builder.shuffle_vector(first, first, ir.Constant(ir.VectorType(ir.IntType(32), SQUARE), None))


def _fused_row(builder, factor, other_factor, term):
    """factor · other_factor + term of SQUARE values, rounded once where the machine can."""
    function_type = ir.FunctionType(_ROW, [_ROW] * 3)
    function = get_or_insert_function(builder.module, function_type, f"llvm.fmuladd.v{SQUARE}f32")
    return builder.call(function, [factor, other_factor, term])


def _row_address(context, builder, array_type, array, offset):
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [offset]), _ROW.as_pointer())


def _store_rows(context, builder, array_type, array, start, stride, values) -> None:
    for j, value in enumerate(values):
        offset = builder.add(start, builder.mul(stride, stride.type(j)))
        builder.store(value, _row_address(context, builder, array_type, array, offset), align=4)


@intrinsic
def transpose(typing_context, source, source_start, source_stride, target, start, stride):
    """Transpose a square: ``target[start + j * stride + i] = source[source_start + i * source_stride + j]``."""

    def generate(context, builder, signature, arguments):
        source, source_start, source_stride, target, start, stride = arguments
        values = []
        for i in range(SQUARE):
            offset = builder.add(source_start, builder.mul(source_stride, source_stride.type(i)))
            values.append(builder.load(_row_address(context, builder, signature.args[0], source, offset), align=4))
        _store_rows(context, builder, signature.args[3], target, start, stride, _transposed(builder, values))
        return context.get_dummy_value()

    return types.none(source, types.intp, types.intp, target, types.intp, types.intp), generate


@intrinsic
def transpose_rows(typing_context, source, rows, first_row, column, target, start, stride):
    """The same of rows anywhere: ``target[start + j * stride + i] = source[rows[first_row + i] + column + j]``."""

    def generate(context, builder, signature, arguments):
        source, rows, first_row, column, target, start, stride = arguments
        places = context.make_array(signature.args[1])(context, builder, rows).data
        values = []
        for i in range(SQUARE):
            place = builder.load(builder.gep(places, [builder.add(first_row, first_row.type(i))]))
            offset = builder.add(place, column)
            values.append(builder.load(_row_address(context, builder, signature.args[0], source, offset), align=4))
        _store_rows(context, builder, signature.args[4], target, start, stride, _transposed(builder, values))
        return context.get_dummy_value()

    return types.none(source, rows, types.intp, types.intp, target, types.intp, types.intp), generate


@intrinsic
def clear_row(typing_context, array, offset):
    """Set SQUARE values to 0."""

    def generate(context, builder, signature, arguments):
        place = _row_address(context, builder, signature.args[0], *arguments)
        builder.store(ir.Constant(_ROW, None), place, align=4)
        return context.get_dummy_value()

    return types.none(array, types.intp), generate


@intrinsic
def add_stretch(typing_context, target, at, source, start, count, factor):
    """``target[at + i] += source[start + i] * factor`` for ``count`` numbers, a multiple of SQUARE; rounded once."""

    def generate(context, builder, signature, arguments):
        target, at, source, start, count, factor = arguments
        to = _row_address(context, builder, signature.args[0], target, at)
        of = _row_address(context, builder, signature.args[2], source, start)
        factors = _spread_row(builder, factor)
        with for_range(builder, builder.udiv(count, count.type(SQUARE))) as loop:
            value = builder.load(builder.gep(of, [loop.index]), align=4)
            place = builder.gep(to, [loop.index])
            total = _fused_row(builder, value, factors, builder.load(place, align=4))
            builder.store(total, place, align=4)
        return context.get_dummy_value()

    return types.none(target, types.intp, source, types.intp, types.intp, types.float32), generate


@intrinsic
def dot_stretch(typing_context, left, at, right, start, count):
    """Σ ``left[at + i] * right[start + i]`` over ``count`` numbers, a multiple of SQUARE."""

    def generate(context, builder, signature, arguments):
        left, at, right, start, count = arguments
        one = _row_address(context, builder, signature.args[0], left, at)
        other = _row_address(context, builder, signature.args[2], right, start)
        sums = alloca_once_value(builder, ir.Constant(_ROW, None))
        with for_range(builder, builder.udiv(count, count.type(SQUARE))) as loop:
            values = (builder.load(builder.gep(row, [loop.index]), align=4) for row in (one, other))
            builder.store(_fused_row(builder, *values, builder.load(sums)), sums)
        return _halved(builder, builder.load(sums), SQUARE)

    return types.float32(left, types.intp, right, types.intp, types.intp), generate


@intrinsic
def claim(typing_context, counter):
    """The value of ``counter[0]``, which is one higher afterwards: no two threads get the same."""

    def generate(context, builder, signature, arguments):
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        return builder.atomic_rmw("add", data, ir.Constant(ir.IntType(64), 1), "monotonic")

    return types.int64(counter), generate


@intrinsic
def lowest(typing_context, word):
    """The lowest lane of a set that is not empty."""

    def generate(context, builder, signature, arguments):
        return builder.cttz(arguments[0], ir.IntType(1)(1))

    return types.intp(types.uint64), generate


@intrinsic
def members(typing_context, word):
    """How many lanes a set has."""

    def generate(context, builder, signature, arguments):
        return builder.ctpop(arguments[0])

    return types.intp(types.uint64), generate


# --- the functions of pointwise equations, see app.equations ----------------------------------------------------------


@intrinsic
def _select(typing_context, condition, inside, outside):
    def generate(context, builder, signature, arguments):
        values = [_as_lanes(context, builder, *pair) for pair in zip(arguments[1:], signature.args[1:], strict=True)]
        return builder.select(builder.bitcast(arguments[0], _BITS), *values)

    return Lanes(Mask, inside, outside), generate


def as_lanes(value):
    """Lanes as they are; a number in every lane."""
    raise NotImplementedError


@overload(as_lanes)
def _as(value):
    if value == Lanes:
        return lambda value: value
    return (lambda value: spread(np.float32(value))) if isinstance(value, _NUMBERS) else None


def where(condition, inside, outside):
    """``inside`` where the condition holds, ``outside`` elsewhere."""
    raise NotImplementedError


@overload(where)
def _where(condition, inside, outside):
    if condition == Mask and all(one == Lanes or isinstance(one, _NUMBERS) for one in (inside, outside)):
        return lambda condition, inside, outside: _select(condition, inside, outside)
    return None


def _extreme(sign: str):
    """The larger or the smaller of two operands; a NaN on the left stays."""

    def function(left, right):
        raise NotImplementedError

    @intrinsic
    def operation(typing_context, left, right):
        def generate(context, builder, signature, arguments):
            operands = [_as_lanes(context, builder, *pair) for pair in zip(arguments, signature.args, strict=True)]
            return builder.select(builder.fcmp_ordered(sign, *reversed(operands)), *reversed(operands))

        return Lanes(left, right), generate

    @overload(function)
    def dispatch(left, right):
        return (lambda left, right: operation(left, right)) if _are_numbers(left, right) else None

    return function


maximum, minimum = _extreme(">"), _extreme("<")
square_root = _unary("llvm.sqrt")


@overload(abs)
def _absolute(lanes):
    return (lambda lanes: magnitude(lanes)) if lanes == Lanes else None


@overload(operator.neg)
def _negative(lanes):
    return (lambda lanes: 0.0 - lanes) if lanes == Lanes else None


@njit(forceinline=True)
def exponential(x):
    """e^x in every lane with a relative error of 1e-7, ∞ from x = 88 on: a power of two times a polynomial."""
    octaves = x * 1.4426950408889634
    octaves = choose(at_least(octaves, -126.0), octaves, -126.0)
    octaves = choose(at_least(octaves, 127.0), 127.0, octaves)
    whole = floor(octaves + 0.5)
    rest = octaves - whole
    series = fused(1.535336188319500e-4, rest, 1.339887440266574e-3)
    series = fused(series, rest, 9.618437357674640e-3)
    series = fused(series, rest, 5.550332471162809e-2)
    series = fused(series, rest, 2.402264791363012e-1)
    series = fused(series, rest, 6.931472028550421e-1)
    series = fused(series, rest, 1.0)
    return choose(at_least(x, 88.0), np.inf, series * power_of_two(whole))
