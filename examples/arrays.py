"""Any table of numbers: scikit-learn's wines, each measurement a spike whose time is its value.

python -m examples.arrays [key=value …]
"""

import numpy as np
from sklearn.datasets import load_wine
from sklearn.preprocessing import minmax_scale

from app.train import main as train
from examples.settings import settings

value_SN, label_S = load_wine(return_X_y=True)
np.savez("wine.npz", images=minmax_scale(value_SN), labels=label_S)  # [S, N] from 0 to 1, and [S]
SETTINGS = ["data.path=wine.npz", "data.latency_max_steps=40", "network=[13,fc60,fc3]", "data.val_samples=30"]
NEURON = ["neuron.alpha_v=0.97", "neuron.alpha_i=0.9", "init_bias_center=1", "optim.lr=0.01"]
train(settings("task=arrays", *SETTINGS, *NEURON, "trainer.max_epochs=30", "data.batch_size=8"))
