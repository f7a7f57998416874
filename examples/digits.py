"""Two rules on the same digits: what each gets right, and the spikes that it needs until it decides.

python -m examples.digits [key=value …]
"""

import json
from pathlib import Path

from app.train import main as train
from examples.settings import settings

for rule in ("antlr", "timing"):
    out = Path("runs/examples") / f"digits-{rule}"
    train(settings("task=digits", f"rule={rule}", "trainer.max_epochs=6", f"out={out}"))
    summary = json.loads((out / "summary.json").read_text())
    accuracy, spikes = summary["test/accuracy_first"], summary["test/decision_spikes"]
    print(f"{rule}: {accuracy:.1%} right, {spikes:.0f} spikes until the decision")
