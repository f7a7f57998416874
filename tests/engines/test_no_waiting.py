"""No training step waits for a device: it runs without values, on ``meta`` tensors, where asking for one is an error.

What the host would have to wait for - ``.item()``, ``if tensor``, ``nonzero``, a mask as an index - raises there, and a
watch raises when anything larger than a number goes from one device to the other. What is left is what a CUDA graph can
capture: the same operations, on the same shapes, whatever the numbers are. The watch also raises at sums that CUDA
refuses under ``trainer.deterministic=true``.
"""

import math
import types

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from app.config.check import learns
from app.engines import ENGINES
from app.errors import RunStopped
from app.events import Batch, SpikeEvents
from app.layers.synapses import _as_asked
from app.losses import LOSSES
from app.network import Network
from app.neuron.lif import Neuron
from app.rules import RULES, antlr
from app.training.module import Optimisation, SpikingModule


class NothingIsCopied(TorchDispatchMode):
    """Refuses operations between devices, those that hand the host a number, and running sums of floats."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        assert torch.Tag.data_dependent_output not in function.tags, f"{function} asks for a number"
        result = function(*args, **(kwargs or {}))
        tensors = [one for one in tree_leaves((args, kwargs, result)) if isinstance(one, torch.Tensor) and one.dim()]
        assert len({one.device for one in tensors}) < 2, f"{function} is between two devices"
        is_running = function.overloadpacket in (torch.ops.aten.cumsum, torch.ops.aten.cumsum_)
        assert not (is_running and result.is_floating_point()), f"{function} of floats is not deterministic on CUDA"
        return result


def _go_together(rule, loss):
    return learns(RULES[rule](), LOSSES[loss]())


SPECS = {
    "conv": ["2x6x6", "conv3c3", "mpool2", "apool2", "flatten", "fc7", "fc3"],
    "dense": ["2x6x6", "flatten", "fc7", "fc3"],
}


def module_of(loss, engine, device, spec=SPECS["conv"], rule=None, max_spikes=None):
    network = Network(spec, Neuron.auto(0.9, 0.9, 5, max_spikes=max_spikes), rule or antlr())
    network.engine = engine
    module = SpikingModule(network, LOSSES[loss](), Optimisation(), 1.0, 0.1, 3).to(device)
    module._trainer = types.SimpleNamespace(global_step=1, log_every_n_steps=50, current_epoch=0, loggers=[])
    numbers = (torch.tensor([0, 3, 1], dtype=torch.int32), torch.tensor([5, 1, 2], dtype=torch.int32))
    events = SpikeEvents(*numbers, torch.tensor([0, 2, 3]), 5, (2, 6, 6)).to(device)
    return module, Batch(events, torch.zeros(2, dtype=torch.int64, device=device))


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("engine", ["layerwise", "triton"])
@pytest.mark.parametrize("loss", ["latency", "count", "spike_train"])
def test_a_training_step_and_its_metrics(loss, engine, spec, monkeypatch):
    if engine == "triton":
        pytest.importorskip("triton", reason="Triton is not installed; see requirements-dev.txt")
        from app.kernels import triton_build

        monkeypatch.setattr(triton_build, "launch", lambda *args: None)
        monkeypatch.setattr(ENGINES["triton"], "_machine_obstacle", lambda network: None)
    module, batch = module_of(loss, engine, "meta", SPECS[spec])
    module.training_step(batch, 0)  # what is made once is made here
    optimizer = torch.optim.SGD(module.network.parameters())
    with NothingIsCopied():
        module.training_step(batch, 0).backward()
        for algorithm in ("norm", "value"):
            module.configure_gradient_clipping(optimizer, 1.0, algorithm)
        optimizer.step()
        module.train_metrics.catch_up()
        module.validation_step(batch, 0)


@pytest.mark.parametrize(
    ("rule", "loss"), [(name, loss) for name in RULES for loss in LOSSES if _go_together(name, loss)]
)
def test_nor_does_the_gradient_of_any_rule(rule, loss):
    module, batch = module_of(loss, "layerwise", "meta", SPECS["dense"], RULES[rule](), max_spikes=1)
    with NothingIsCopied():
        module.training_step(batch, 0).backward()


def test_the_check_notices_what_waits():
    there = torch.ones(3, device="meta")
    for wait in (lambda: float(there.sum()), lambda: bool(there.any()), lambda: there[there > 0]):
        with pytest.raises((RuntimeError, NotImplementedError)):
            wait()
    with pytest.raises(AssertionError, match="between two devices"), NothingIsCopied():
        torch.ones(3).to("meta")
    with pytest.raises(AssertionError, match="not deterministic"), NothingIsCopied():
        there.cumsum(0)
    with pytest.raises(AssertionError, match="asks for a number"), NothingIsCopied():
        torch.ones(3).sum().item()


@pytest.mark.parametrize(
    ("poisoned", "said"),
    [
        ({"loss": 3, "layer1.weight": 4}, "the loss, at layer 3 (the output), is not finite in epoch 0, step 3"),
        ({"loss": 5, "layer1.weight": 4}, "the gradient of layer 1's weight is not finite in epoch 0, step 4"),
        ({"layer1.weight": 5, "layer2.bias": 5}, "the gradient of layer 2's bias is not finite in epoch 0, step 5"),
        ({"layer3.bias": 7, "layer1.bias": 6}, "the gradient of layer 1's bias is not finite in epoch 0, step 6"),
    ],
)
def test_a_device_remembers_the_first_step_that_is_not_finite(poisoned, said):
    """The watch of a GPU, fed on the CPU; numbers that are finite again do not make it forget."""
    module, _ = module_of("count", "layerwise", "cpu")
    watch, layers = module.watch, module.network.spiking
    for step in range(10):
        watch.notice(step, [torch.tensor(math.nan if poisoned.get("loss") == step else 1.0)], 0)
        for number, layer in enumerate(layers, 1):
            for name in ("weight", "bias"):
                parameter = getattr(layer, name)
                bad = poisoned.get(f"layer{number}.{name}") == step
                parameter.grad = torch.full_like(parameter, math.inf if bad else 2.0)
        norm = watch.notice_gradients(step)
        assert norm.dtype == torch.float64
        if step not in poisoned.values():
            assert norm == pytest.approx(2 * math.sqrt(sum(p.numel() for p in module.network.parameters())))
    with pytest.raises(RunStopped, match=said.replace("(", r"\(").replace(")", r"\)")):
        module.stop_if_not_finite()


def test_a_watch_that_noticed_nothing_says_nothing():
    module, _ = module_of("count", "layerwise", "cpu")
    module.stop_if_not_finite()
    module.watch.notice(0, [torch.tensor(1.0)], 0)
    module.stop_if_not_finite()


@pytest.mark.parametrize("pinned", [True, False])
def test_pinned_events_are_moved_without_waiting(pinned, monkeypatch):
    """Not so back from a device: nobody would know when they have arrived."""
    asked = []
    monkeypatch.setattr(torch.Tensor, "is_pinned", lambda self: pinned)
    monkeypatch.setattr(torch.Tensor, "to", lambda self, *args, **options: asked.append(options) or self)
    _, batch = module_of("count", "layerwise", "cpu")
    asked.clear()
    batch.events.to("cuda")
    assert asked == [{"non_blocking": pinned}] * 3


@pytest.mark.parametrize(
    ("precision", "products", "tf32"),
    [("highest", "float32", False), ("high", "float32", True), ("highest", "tf32", True)],
)
def test_convolutions_on_a_gpu_are_as_exact_as_products(precision, products, tf32):
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision(precision)
    try:
        with _as_asked(types.SimpleNamespace(is_cuda=True), products):
            assert torch.backends.cudnn.allow_tf32 == tf32
            assert (torch.get_float32_matmul_precision() == "high") == tf32
        assert torch.get_float32_matmul_precision() == precision
    finally:
        torch.set_float32_matmul_precision(before[0])
    assert torch.backends.cudnn.allow_tf32 == before[1]


GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


@GPU
@pytest.mark.parametrize("engine", ["layerwise", "triton"])
def test_a_step_on_a_gpu_waits_for_nothing(engine):
    module, batch = module_of("latency", engine, "cuda")
    for mode in ("default", "error"):  # the first step compiles and makes what is made once
        torch.cuda.set_sync_debug_mode(mode)
        try:
            module.training_step(batch, 0).backward()
            module.configure_gradient_clipping(torch.optim.SGD(module.network.parameters()), 1.0, "norm")
        finally:
            torch.cuda.set_sync_debug_mode("default")


@GPU
@pytest.mark.parametrize("engine", ["layerwise", "triton"])
def test_a_cuda_graph_of_a_step_repeats_it(engine):
    """With dense input, whose shape does not depend on the number of events."""
    module, _ = module_of("latency", engine, "cuda", SPECS["dense"])
    spikes = (torch.rand(5, 2, 2, 6, 6, device="cuda") < 0.3).float()

    def step():
        module.network.zero_grad(set_to_none=False)
        output = module.network(spikes)
        (output.spikes_TBN.sum() + output.times_TBN.sum()).backward()

    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    spikes.copy_(torch.rand_like(spikes) < 0.5)
    graph.replay()
    repeated = [parameter.grad.clone() for parameter in module.network.parameters()]
    step()
    assert all(torch.equal(a, b.grad) for a, b in zip(repeated, module.network.parameters(), strict=True))
