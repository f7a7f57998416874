"""The Yin-Yang benchmark, and a picture of what the network answers everywhere: yinyang.png.

python -m examples.yinyang [key=value …]
"""

import numpy as np
from PIL import Image

import app
from app.data.tasks.yinyang import YinYang
from app.train import main as train
from examples.settings import settings

OUT = "runs/examples/yinyang"
train(settings("config=yinyang_antlr", "trainer.max_epochs=10", f"out={OUT}"))

model = app.load(OUT)
task = model.coding.task
assert isinstance(task, YinYang)
x, y = np.meshgrid(np.linspace(0, 1, 60), np.linspace(1, 0, 60))
value_S4 = np.stack([x, y, 1 - x, 1 - y], axis=-1).reshape(-1, 4)
step_S4 = np.rint(task.first_step + (task.last_step - task.first_step) * value_S4)
step_S5 = np.column_stack([step_S4, np.full(len(step_S4), task.bias_step)])
spikes_STN = np.arange(model.coding.time_steps)[:, None] == step_S5[:, None]
colours = {0: (0, 114, 178), 1: (230, 159, 0), 2: (0, 158, 115), None: (0, 0, 0)}
answers = model.predict(model.coding.spikes(spikes_STN))
pixels = np.array([colours[answer.label] for answer in answers], np.uint8).reshape(60, 60, 3)
Image.fromarray(pixels).resize((480, 480), Image.Resampling.NEAREST).save("yinyang.png")
print("yinyang.png: blue yin, orange yang, green dots, black silence")
