"""A folder of pictures for each class: here the digits 0, 1 and 2, written as PNG files first.

python -m examples.images [key=value …]
"""

from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from app.train import main as train
from examples.settings import settings

folder, digits = Path("pictures"), load_digits(n_class=3)
for number, (image, label) in enumerate(zip(digits.images, digits.target, strict=True)):
    (folder / str(label)).mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.uint8(image / 16 * 255)).save(folder / str(label) / f"{number:03}.png")

SETTINGS = ["data.path=pictures", "network=[1x8x8,flatten,fc60,fc3]", "data.val_samples=60", "data.batch_size=8"]
NEURON = ["neuron.alpha_v=0.98", "neuron.alpha_i=0.95", "optim.lr=0.005"]
train(settings("task=images", *SETTINGS, *NEURON, "trainer.max_epochs=5"))
