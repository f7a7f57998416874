"""Tasks, one file each: their samples, their settings, their defaults. :data:`TASKS` knows them by name."""

from ...registry import import_all
from ..task import TASKS, Task

__all__ = ["TASKS", "Task"]

import_all(__name__)
