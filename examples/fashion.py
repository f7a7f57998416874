"""Clothes, by a small convolutional network.

python -m examples.fashion data.root=DATA [key=value …]
"""

from app.train import main as train
from examples.settings import settings

NETWORK = "network=[1x28x28,conv8c5,apool2,flatten,fc10]"
CONSTANTS = ["neuron.alpha_v=0.98", "neuron.alpha_i=0.95", "init_bias_center=1", "optim.grad_clip_algorithm=norm"]
train(settings("task=fashion", NETWORK, *CONSTANTS, "optim.grad_clip=5", "trainer.max_epochs=1"))
