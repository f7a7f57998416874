"""Event data sets through tonic: task=shd, task=ssc, task=dvs_gesture, or task=tonic with any data.name.

python -m examples.event_data_sets task=shd data.root=DATA [key=value …]
"""

from app.train import main as train
from examples.settings import settings

NEURON = ["neuron.alpha_v=0.97", "neuron.alpha_i=0.9", "learning.ste_alpha=0.3"]
train(settings(*NEURON, "loss=count", "optim.grad_clip_algorithm=norm", "optim.grad_clip=5"))
