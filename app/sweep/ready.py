"""What runs import, all of it before they are told what to do; nothing here computes, see :mod:`.forks`."""

import atexit
import tempfile

import matplotlib.backends.backend_agg
import sklearn.datasets
import sklearn.model_selection
import wandb.sdk.launch  # which every session of wandb imports, ten times slower when torch is there already
from numba.core.registry import cpu_target
from wandb.sdk.artifacts.artifact import Artifact
from wandb.sdk.data_types._private import MEDIA_TMP

from ..callbacks import layer_health, raster
from ..landscape import callback
from ..training import build, start, summary
from ..version import code_version

__all__ = ["build", "callback", "layer_health", "matplotlib", "raster", "renew", "sklearn", "start", "summary", "wandb"]

cpu_target.target_context.refresh()  # registers numba's own functions, which otherwise precedes the first kernel
code_version()  # of the code that has just been imported, whatever becomes of its files meanwhile

FOLDERS = (MEDIA_TMP, Artifact._TMP_DIR)
"""Temporary folders that wandb makes on import and removes at exit: the first run that ends would remove all runs'."""
for _folder in FOLDERS:
    _folder.cleanup()


def renew() -> None:
    """Called in every forked run: folders of its own in the place of those."""
    for folder in FOLDERS:
        folder.name = tempfile.mkdtemp("wandb")
        atexit.register(folder.cleanup)
