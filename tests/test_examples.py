"""The plugins in examples/ run as they are, and docs/EXTENDING.md shows them."""

import math
import re
from pathlib import Path

import pytest
import torch

from app import evaluate
from app.config import components, load_config
from app.config.components import SLOTS
from app.errors import UserError
from app.events import Batch
from app.training.build import build_network
from tests.support import ROOT
from tests.support.run_tools import checkpoint, rows, run

EXAMPLES = ROOT / "examples"


@pytest.fixture(autouse=True)
def forgotten(tmp_path, monkeypatch):
    """What a test's plugins registered is unknown to the next test."""
    monkeypatch.setattr(components, "_loaded", {})
    monkeypatch.chdir(tmp_path)
    before = [(slot.registry, set(slot.registry)) for slot in SLOTS.values()]
    yield
    for registry, names in before:
        for name in set(registry) - names:
            registry.remove(name)


def plugin(name):
    return f"plugins=[{EXAMPLES / name}.py]"


def test_a_loss_trains_and_its_checkpoint_needs_the_plugin_to_be_named(capsys):
    settings = ["objective.label_step=15", "objective.other_step=25", "init_bias_center=1", "trainer.max_epochs=1"]
    run(plugin("my_loss"), "loss=my_loss", *settings, "out=o")
    assert checkpoint("o")["config"]["objective"]["label_step"] == 15
    assert all(float(row["val/loss"]) > 0 for row in rows("o") if row["val/loss"])
    components._loaded.clear()
    SLOTS["loss"].registry.remove("my_loss")
    with pytest.raises(UserError, match=rf"add {re.escape(plugin('my_loss'))}"):
        evaluate.main(["ckpt=o"])
    assert evaluate.main(["ckpt=o", plugin("my_loss"), "trainer.enable_progress_bar=false"]) == 0
    assert "accuracy by first spike" in capsys.readouterr().out


def test_the_loss_has_the_gradient_of_its_equation():
    load_config([plugin("my_loss")])
    spikes = torch.zeros(10, 3, 2, dtype=torch.float64)
    spikes[4, 0, 1] = spikes[6, 0, 1] = spikes[7, 1, 0] = 1
    times = (spikes * torch.arange(10).view(-1, 1, 1)).requires_grad_()
    loss = SLOTS["loss"].registry["my_loss"](label_step=5, other_step=9)
    batch = Batch(None, torch.tensor([1, 1, 0]))
    assert loss(spikes, times, batch, "none").tolist() == [0.2, 2.9, 2.6]
    loss(spikes, times, batch).backward()
    assert times.grad.nonzero().tolist() == [[4, 0, 1], [7, 1, 0]]
    assert times.grad[4, 0, 1].item() == pytest.approx(2 * (4 - 5) / 10 / 3)
    assert times.grad[7, 1, 0].item() == pytest.approx(2 * (7 - 9) / 10 / 3)


def test_the_loss_refuses_what_no_window_holds():
    with pytest.raises(UserError, match=r"objective\.other_step=60 is past the window; use less than time_steps"):
        load_config([plugin("my_loss"), "loss=my_loss", "time_steps=50"])


@pytest.mark.slow
def test_a_task_is_learnt_and_its_noise_is_a_setting():
    epochs = ["trainer.max_epochs=8", "trainer.limit_train_batches=1.0", "data.batch_size=16"]
    run(plugin("my_task"), "task=my_task", "network=null", "time_steps=null", "out=o", "optim.lr=0.01", *epochs)
    assert max(float(row["val/accuracy_first"]) for row in rows("o") if row["val/accuracy_first"]) > 0.9
    with pytest.raises(UserError, match=r"data\.noise=0\.5 is out of range"):
        load_config(["task=my_task", "data.noise=0.5"])


def test_a_loss_without_activation_gradient_is_refused_with_the_activation_rule():
    with pytest.raises(UserError, match=r"the my_loss loss has no activation gradient; use loss=count or"):
        load_config([plugin("my_loss"), "rule=activation", "loss=my_loss"])


@pytest.mark.slow
def test_a_rule_trains_with_its_settings_on_an_engine_of_one_s_own(capfd):
    plugins = f"plugins=[{EXAMPLES / 'my_rule.py'},{EXAMPLES / 'my_engine.py'}]"
    run(plugins, "rule=softened", "learning.softening=0.1", "learning.ste_alpha=0.5", "engine=timed", "out=o")
    settings = checkpoint("o")["config"]["learning"]
    assert (settings["softening"], settings["ste_alpha"]) == (0.1, 0.5)
    assert re.search(r"^\d\.\d{3} s$", capfd.readouterr().err, re.MULTILINE)
    with pytest.raises(
        UserError, match=r"learning\.softening is a setting of rule=softened; leave it out with rule=antlr"
    ):
        load_config(["learning.softening=0.1"])


def test_the_page_shows_the_examples_as_they_are():
    text = (ROOT / "docs" / "EXTENDING.md").read_text()
    shown = dict(re.findall(r"<!-- (examples/\w+\.py) -->\n```python\n(.*?)```\n", text, flags=re.S))
    assert set(shown) == {f"examples/{path.name}" for path in EXAMPLES.glob("my_*.py")}
    for name, code in shown.items():
        assert code == (ROOT / name).read_text(), name


def test_a_callback_of_one_s_own_is_added_by_name():
    settings = ["callbacks=[weight_norm]", "probes.norm_every=2", "trainer.max_epochs=3"]
    run(plugin("my_callback"), *settings, "out=o")
    (line,) = Path("o/weight_norm.csv").read_text().splitlines()
    assert line.startswith("2,")
    with pytest.raises(UserError, match=r"probes\.norm_every is a setting of callbacks=weight_norm; leave it out"):
        load_config(["probes.norm_every=2"])
    assert load_config(["probes.landscape_points=5"]).probes.landscape_points == 5, "every run has the standard ones"


def test_a_surrogate_of_one_s_own_runs_compiled_and_is_its_equation():
    chosen = ["rule=activation", "learning.surrogate=gaussian", "learning.surrogate_sigma=0.5"]
    config = load_config([plugin("my_surrogate"), *chosen])
    network = build_network(config)
    assert network.choose_engine().name == "event_driven"
    potential = torch.tensor([0.0, 0.5, 1.0, 1.5])
    torch.testing.assert_close(network.rule.surrogate(potential, 1.0), torch.exp(-2 * (potential - 1) ** 2))
    with pytest.raises(UserError, match=r"learning\.surrogate_sigma is a setting of learning\.surrogate=gaussian"):
        load_config(["learning.surrogate_sigma=0.5"])


def test_a_neuron_of_one_s_own_gives_the_constants_of_all_engines():
    chosen = ["neuron.model=time_constants", "neuron.membrane_ms=10", "neuron.threshold=0.5"]
    neuron = build_network(load_config([plugin("my_neuron"), *chosen])).neuron
    assert (neuron.alpha_v, neuron.alpha_i) == pytest.approx((math.exp(-0.1), math.exp(-0.2)))
    assert (neuron.threshold, neuron.reset) == (0.5, "both")
    with pytest.raises(UserError, match=r"neuron\.alpha_v is a setting of neuron\.model=lif; leave it out"):
        load_config([*chosen, "neuron.alpha_v=0.9"])
    with pytest.raises(UserError, match=r"neuron\.membrane_ms is a setting of neuron\.model=time_constants"):
        load_config(["neuron.membrane_ms=10"])
    with pytest.raises(UserError, match=r"neuron\.model expects one of lif, time_constants, got .lof."):
        load_config(["neuron.model=lof"])
