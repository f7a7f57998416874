"""Runs with made-up numbers, for the report."""

from app.runs import Run, settings_of


def made(rule="antlr", seed=0, accuracy=(0.5, 0.9, 0.8), state="finished", task="digits", **settings):
    """A run of three epochs with made-up numbers."""
    about = {
        key: settings.pop(key, usual) for key, usual in {"code": "1+abc", "fingerprint": "d1", "source": None}.items()
    }
    readout = settings.pop("readout", "first")
    config = {"task": task, "rule": rule, "seed": seed, "readout": readout, "loss": "latency", "optim": {"lr": 1e-3}}
    config |= {"network": ["64", "fc10"], "trainer": {"max_epochs": 3}, "out": f"r{seed}", **settings}
    rows = [{"step": 5, "epoch": 0, "train/loss_step": 3.0}]
    for epoch, value in enumerate(accuracy):
        numbers = {f"accuracy_{readout}": value, "loss": 1 - value, "decision_spikes": 10.0 + epoch}
        numbers |= {"layer1/silent_share": 0.1, "class1/accuracy_first": 0.5}
        row = {"step": 10 * epoch + 9, "epoch": epoch, "train/loss": 2.0 - epoch}
        rows.append(row | {f"val/{name}": v for name, v in numbers.items()})
    test = {f"test/accuracy_{readout}": max(accuracy) - 0.1, "test/decision_spikes": 40.0 + seed}
    test |= {"test/spikes_per_sample": 100.0, "test/time_to_first_spike_steps": 30.0, "test/loss": 0.25}
    test |= {f"test/layer{k}/{n}": 50.0 for k in (1, 2) for n in ("spikes_per_sample", "decision_spikes")}
    best = max(range(len(accuracy)), key=lambda epoch: accuracy[epoch])
    chosen = {f"best/{name}": value for name, value in rows[best + 1].items() if name.startswith("val/")}
    final = {**test, **chosen, "best_epoch": best + 1, "steps": rows[-1]["step"] + 1, "train_s": 12.0}
    summary = final if state == "finished" else {}
    source = about["source"] or f"runs/{task}-{rule}-{seed}"
    name = f"{task}-{rule}-s{seed}"
    return Run(source, name, source, settings_of(config), rows, summary, state, [], about["code"], about["fingerprint"])
