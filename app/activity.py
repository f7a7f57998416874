"""What the layers of a network did in a batch: the numbers behind every spike metric."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class SpikeWords:
    """The spikes of one layer as the compiled engine keeps them, 64 neurons in a machine word.

    Args:
        words_BTP: uint64; bit j of word p is lane 64 p + j.
        shape: of the layer's neurons.
        lane_N: the lane of each neuron, neurons flattened; None where neuron n is lane n.
    """

    words_BTP: NDArray[np.uint64]
    shape: tuple[int, ...]
    lane_N: NDArray[np.int64] | None = None

    def to_dense(self) -> Tensor:
        """0/1 spikes, float [T, B, *N]."""
        bytes_BTQ = np.ascontiguousarray(self.words_BTP.astype("<u8")).view(np.uint8)
        count = prod(self.shape) if self.lane_N is None else None
        bits_BTN = np.unpackbits(bytes_BTQ, axis=2, bitorder="little", count=count)
        if self.lane_N is not None:
            bits_BTN = bits_BTN[:, :, self.lane_N]
        spikes_TBN: Tensor = torch.from_numpy(bits_BTN).transpose(0, 1).float().unflatten(2, self.shape)
        return spikes_TBN


@dataclass(frozen=True)
class LayerActivity:
    """The spikes of one spiking layer, without gradient.

    Args:
        counts_BN: int32, spikes of each neuron of each sample, neurons flattened.
        totals_TB: int32, spikes of the whole layer at each step of each sample.
        spikes: all spikes, dense [T, B, *N] (floats or bytes) or in machine words; None once only the numbers are
            needed.
    """

    counts_BN: Tensor
    totals_TB: Tensor
    spikes: Tensor | SpikeWords | None

    @classmethod
    def of(cls, spikes_TBN: Tensor) -> LayerActivity:
        """The activity behind dense spikes."""
        spikes_TBN = spikes_TBN.detach()
        flat = spikes_TBN.flatten(2)
        return cls(flat.sum(0).int(), flat.sum(2).int(), spikes_TBN)

    @property
    def silent_share_N(self) -> Tensor:
        """The share of the batch in which each neuron stays silent, float [N]."""
        return (self.counts_BN == 0).float().mean(0)

    def count_until(self, step_B: Tensor) -> Tensor:
        """Spikes of the layer up to and including a step of each sample, int64 [B]."""
        steps_T1 = torch.arange(len(self.totals_TB), device=step_B.device)[:, None]
        return (self.totals_TB * (steps_T1 <= step_B)).sum(0)

    def until(self, step: Tensor) -> LayerActivity:
        """The activity up to and including a step, the same of all samples; later steps count as silent.

        Args:
            step: a whole number, 0-d; nothing waits for the device that it is on.
        """
        if isinstance(self.spikes, SpikeWords):
            words_BTP = self.spikes.words_BTP.copy()
            words_BTP[:, int(step) + 1 :] = 0
            cut: Tensor | SpikeWords = SpikeWords(words_BTP, self.spikes.shape, self.spikes.lane_N)
            cut_TBN = cut.to_dense()
        else:
            spikes_TBN = self.dense_spikes()
            steps_T = torch.arange(len(spikes_TBN), device=spikes_TBN.device)
            cut = cut_TBN = spikes_TBN * (steps_T <= step).view(-1, *[1] * (spikes_TBN.dim() - 1))
        counts_BN = cut_TBN.flatten(2).sum(0).int()
        steps_T1 = torch.arange(len(self.totals_TB), device=self.totals_TB.device)[:, None]
        return LayerActivity(counts_BN, self.totals_TB * (steps_T1 <= step), cut)

    def dense_spikes(self, samples: slice = slice(None)) -> Tensor:
        """All spikes, or those of some samples, as a dense tensor [T, B, *N]."""
        if isinstance(self.spikes, SpikeWords):
            return replace(self.spikes, words_BTP=self.spikes.words_BTP[samples]).to_dense()
        assert self.spikes is not None
        spikes_TBN = self.spikes[:, samples]
        return spikes_TBN if spikes_TBN.is_floating_point() else spikes_TBN.float()
