"""Latency-coded MNIST, and one test image whose digit, time and spikes are asked for.

python -m examples.mnist data.root=DATA [key=value …]
"""

import app
from app.train import main as train
from examples.settings import settings

OUT = "runs/examples/mnist"
train(settings("config=mnist_antlr", "trainer.max_epochs=1", f"out={OUT}"))

model = app.load(OUT)
sample = model.trained.data.task.load_test(model.coding.time_steps, seed=0).__getitems__([0])
print(f"label {int(sample.label_B)}: {model.predict(sample.events)[0]}")
