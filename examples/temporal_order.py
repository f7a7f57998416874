"""Two bursts in time: a network that hears its own spikes, and one that does not.

python -m examples.temporal_order [key=value …]
"""

import json
from pathlib import Path

from app.train import main as train
from examples.settings import settings

for name, hidden in (("recurrent", "rfc60"), ("feed-forward", "fc60")):
    out = Path("runs/examples") / f"temporal_order-{name}"
    network = f"network=[10,{hidden},fc4]"
    train(settings("config=temporal_order_recurrent", network, "trainer.max_epochs=3", f"out={out}"))
    accuracy = json.loads((out / "summary.json").read_text())["test/accuracy_first"]
    print(f"{name}: {accuracy:.1%} right (chance: 25%)")
