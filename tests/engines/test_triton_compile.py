"""The GPU kernels compiled ahead of time, for GPUs that are not here: what the machine code needs and does."""

import json

import pytest
import torch

pytest.importorskip("triton", reason="Triton is not installed; see requirements-dev.txt")

from triton.backends.compiler import GPUTarget
from triton.compiler import make_backend
from triton.runtime.jit import create_function_from_signature

from app.kernels import triton_build
from benchmarks import gpu_kernels

MOST_REGISTERS, MOST_SHARED_BYTES = 64, 4096
"""With 64 registers and 4 KB 32 warps fit a multiprocessor, which is as many programs as it takes."""
TWO = ("forward both", "backward antlr both")


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "triton"))
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)


def assert_lean(row):
    assert row.registers <= MOST_REGISTERS
    assert row.spills == 0
    assert row.shared_bytes <= MOST_SHARED_BYTES


@pytest.mark.parametrize("target", gpu_kernels.TARGETS)
@pytest.mark.parametrize("name", TWO)
def test_a_kernel_needs_few_registers_and_spills_none(name, target):
    assert_lean(gpu_kernels.measure(name, target))


@pytest.mark.slow
def test_so_does_every_kernel_and_the_command_says_it(tmp_path, capsys):
    assert gpu_kernels.main(["--json", str(tmp_path / "kernels.json")]) == 0
    rows = json.loads((tmp_path / "kernels.json").read_text())
    assert len(rows) == len(gpu_kernels.kernels()) * len(gpu_kernels.TARGETS)
    for row in rows:
        assert set(row) == {"kernel", "target", "registers", "spills", "shared_bytes"}
        assert_lean(gpu_kernels.Row(**row))
    assert "| mnist T=300 B=16 | A100 80GB SXM |" in capsys.readouterr().out


def test_a_step_moves_each_number_once():
    """Forward: the drive, V and a byte for the spike. Backward: both errors and V; the errors of drive and shift."""
    target = gpu_kernels.TARGETS["cuda:80"]
    assert gpu_kernels.loop_of(TWO[0], target).bytes_moved == 4 + 4 + 1
    assert gpu_kernels.loop_of(TWO[1], target).bytes_moved == 3 * 4 + 2 * 4


@pytest.mark.parametrize("name", TWO)
def test_every_operation_is_rounded_reads_are_ahead_and_addresses_have_64_bits(name):
    code = gpu_kernels.compiled(name, gpu_kernels.TARGETS["cuda:80"])
    assert "fma." not in code.asm["ptx"]
    assert "cp.async" in code.asm["ptx"]
    for line in code.asm["ttir"].splitlines():
        if "tt.addptr" in line and "tensor<32x!tt.ptr" in line and "%charge" not in line:
            assert "tensor<32xi64>" in line, line


@pytest.mark.parametrize("name", [*TWO, "forward max_spikes"])
def test_nothing_is_compiled_anew_for_other_sizes(name):
    """The key under which compiled code is kept does not depend on T, B, N, a limit, or where an array begins."""
    kernel, arguments = gpu_kernels.kernels()[name]
    backend = make_backend(GPUTarget("cuda", 80, 32))
    bind = create_function_from_signature(kernel.signature, kernel.params, backend)
    keys = set()
    for size in (1, 2, 16, 300, 800, 2**31 - 1):
        sizes = {key: size for key in triton_build.INTEGERS if arguments.get(key) is not None}
        odd = {
            key: torch.empty(65, dtype=value.dtype)[size % 2 :]
            for key, value in arguments.items()
            if isinstance(value, torch.Tensor)
        }
        _, specialization, _ = bind(**arguments | sizes | odd, BLOCK=32, STAGES=8)
        keys.add(str(specialization))
    assert len(keys) == 1
