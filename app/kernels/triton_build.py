"""How Triton kernels are built: compiled for a GPU or, with ``TRITON_INTERPRET=1``, interpreted on the CPU.

A kernel is a plain function of :mod:`app.kernels.triton_scans` together with the functions that it calls by name. The
compiler reads the source of each; kernels for different rules differ in what their names mean. Compiled code is kept by
Triton, by content, in ``TRITON_CACHE_DIR``.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import linecache
import textwrap
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from types import FunctionType
from typing import Any

import torch
import triton.language as tl
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, make_backend
from triton.runtime.interpreter import InterpretedFunction
from triton.runtime.jit import JITFunction

INTEGERS = ("steps", "samples", "neurons", "pixels", "max_spikes")
"""Numbers for which nothing is compiled anew."""
WARPS = 1
STAGES = 8
"""How many steps are fetched ahead: 8 reads of a kilobyte for each multiprocessor's warp hide what memory takes."""
OPTIONS = {"num_warps": WARPS, "enable_fp_fusion": False}
"""Without fused operations every number is rounded as PyTorch does."""


def defined(text: str, name: str, scope: Mapping[str, Any]) -> FunctionType:
    """The function ``name`` of a source text, which the compiler can read like that of a file."""
    file = f"<{name} {hashlib.sha256(text.encode()).hexdigest()[:16]}>"
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    names = {"tl": tl, **scope, "__name__": __name__}
    exec(compile(text, file, "exec"), names)
    function: FunctionType = names[name]
    return function


def device_function(function: Callable[..., Any], interpreted: bool) -> Any:
    """A function for use in kernels: what its body says, without annotations; numbers that it refers to are constants.

    Raises:
        ValueError: its source cannot be read.
    """
    if interpreted:
        scope = {**function.__globals__, "tl": tl}
        return FunctionType(function.__code__, scope, function.__name__)
    constants = {name: tl.constexpr(x) for name, x in function.__globals__.items() if type(x) in (int, float)}
    return JITFunction(defined(_bare_source(function), function.__name__, {**function.__globals__, **constants}))


def _bare_source(function: Callable[..., Any]) -> str:
    """The source of a function without decorators, annotations and defaults."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    except (OSError, SyntaxError):
        tree = None
    if not isinstance(tree, ast.FunctionDef):
        raise ValueError(f"the source of {function.__name__} cannot be read; write it as a function in a file")
    names = ", ".join(inspect.signature(function).parameters)
    body = "\n".join(ast.unparse(statement) for statement in tree.body)
    return f"def {tree.name}({names}):\n{textwrap.indent(body, '    ')}\n"


def kernel(function: Callable[..., Any], interpreted: bool, **names: Any) -> Any:
    """A kernel, to be called as ``kernel[grid](…)``."""
    scoped = FunctionType(function.__code__, {**function.__globals__, **names}, function.__name__)
    scoped.__annotations__ = function.__annotations__
    if interpreted:
        return InterpretedFunction(scoped)
    given = scoped.__code__.co_varnames[: scoped.__code__.co_argcount]
    whole = [name for name in given if name in INTEGERS]
    aligned = [name for name in given if name not in scoped.__annotations__]
    return JITFunction(scoped, do_not_specialize=whole, do_not_specialize_on_alignment=aligned)


def block_size(device: torch.device | None) -> int:
    """Neurons of a program: the lanes of a warp; 64 on AMD, and where it is interpreted."""
    return 64 if device is None or device.type == "cpu" or torch.version.hip else 32


def launch(kernel: Any, samples: int, neurons: int, device: torch.device, arguments: Mapping[str, Any]) -> None:
    """Run a kernel for all blocks of neurons of all samples, on the current stream of a device."""
    block = block_size(device)
    grid = (samples * -(-neurons // block),)
    with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
        kernel[grid](**arguments, BLOCK=block, STAGES=STAGES, **OPTIONS)


def source_of(kernel: JITFunction, arguments: Mapping[str, Any], block: int) -> ASTSource:
    """What compiles a kernel without a device, for arguments like those given."""
    given = {**arguments, "BLOCK": block, "STAGES": STAGES}
    constants = {name for name, value in given.items() if value is None or isinstance(value, str | bool)}
    constants |= {"BLOCK", "STAGES"}
    names = kernel.arg_names
    signature = {name: "constexpr" if name in constants else _kind(given[name]) for name in names}
    return ASTSource(kernel, signature, {name: given[name] for name in names if name in constants})


def _kind(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(_kind, value))
    if isinstance(value, Tensor):
        return {torch.float32: "*fp32", torch.uint8: "*u8", torch.int32: "*i32"}[value.dtype]
    return "i32" if isinstance(value, int) else "fp32"


def parse(source: ASTSource, target: GPUTarget) -> None:
    """Go through a kernel's source as the compiler does; nothing is made of it.

    Raises:
        triton.compiler.errors.CompilationError: something in it is beyond the compiler.
    """
    from triton._C.libtriton import ir

    backend = make_backend(target)
    context = ir.context()
    ir.load_dialects(context)
    backend.load_dialects(context)
    options = backend.parse_options(dict(OPTIONS))
    source.make_ir(target, options, backend.get_codegen_implementation(options), backend.get_module_map(), context)
