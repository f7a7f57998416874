"""Latency-coded Fashion-MNIST: clothes in the format of MNIST."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..mnist_files import FASHION_SOURCE, Source
from ..task import TASKS
from .mnist import MNIST


@TASKS.register("fashion")
@dataclass(frozen=True)
class FashionMNIST(MNIST):
    """Fashion-MNIST, coded as MNIST is; files in ``root/FashionMNIST/raw``, ``root/raw`` and ``root``.

    Source: H. Xiao, K. Rasul and R. Vollgraf, Fashion-MNIST (2017), arXiv 1708.07747.
    """

    source: ClassVar[Source] = FASHION_SOURCE
