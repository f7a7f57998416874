"""N-MNIST recordings: train on what is in data.root, then ask about one file of the event camera.

python -m examples.nmnist data.root=NMNIST [key=value …]
"""

import app
from app.data.tasks.nmnist import NMNIST
from app.train import main as train
from examples.settings import settings

OUT = "runs/examples/nmnist"
train(settings("config=nmnist_antlr", "trainer.max_epochs=1", f"out={OUT}"))

model = app.load(OUT)
task = model.trained.data.task
assert isinstance(task, NMNIST)
recording = next(task.folder.rglob("Test/*/*.bin"))
print(f"{recording}: {model.predict(model.coding.recordings([recording]))[0]}")
