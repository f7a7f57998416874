"""Latency coding: the brighter a pixel, the earlier its only spike (SPEC section 4)."""

from __future__ import annotations

import numpy as np

from .event_arrays import NEURON_TYPE, STEP_TYPE, EventArrays

NEVER = -1


def latency_table(max_value: int, min_step: int = 0, max_step: int = 24) -> np.ndarray:
    """The spike step of every pixel value: t = trunc(max_step - (max_step - min_step) v / max_value).

    Computed in integers, hence exact where floating point would be off by one: t = (max_step V - span v) // V.

    Args:
        max_value: V, the value of a pixel of full intensity (255 in MNIST, 16 in the digits).
        min_step: the step of a pixel of full intensity.
        max_step: the limit of the step for intensity towards 0.

    Returns:
        int16 of length V + 1; entry 0 is ``NEVER``: a black pixel does not fire.

    Examples:
        >>> latency_table(16)[[0, 1, 8, 16]]
        array([-1, 22, 12,  0], dtype=int16)
    """
    values = np.arange(max_value + 1, dtype=np.int64)
    table = (max_step * max_value - (max_step - min_step) * values) // max_value
    table[0] = NEVER
    return table.astype(STEP_TYPE)


def encode_latency(
    images_SN: np.ndarray, label_S: np.ndarray, max_value: int, min_step: int = 0, max_step: int = 24
) -> EventArrays:
    """The event lists of all images at once; every non-zero pixel fires exactly once.

    Args:
        images_SN: integer images of shape [samples, pixels], 0 <= value <= ``max_value``.
        label_S: class labels.
        max_value: the value of full intensity.
        min_step: the step of full intensity.
        max_step: the limit of the step for intensity towards 0.

    Raises:
        ValueError: if the images are not integers in the range; nothing is rounded or clipped.

    Examples:
        >>> events = encode_latency(np.array([[16, 0, 8]]), np.array([7]), 16)
        >>> events.steps_E.tolist(), events.neurons_E.tolist()
        ([0, 12], [0, 2])
    """
    if not np.issubdtype(images_SN.dtype, np.integer) or images_SN.min() < 0 or images_SN.max() > max_value:
        raise ValueError(f"images must be integers between 0 and max_value = {max_value}")
    table = latency_table(max_value, min_step, max_step)
    chunk = max(1, (np.iinfo(np.uint16).max + 1) // (max_step + 1))
    parts = [_encode_chunk(images_SN[i : i + chunk], table, max_step + 1) for i in range(0, len(images_SN), chunk)]
    counts_S = np.concatenate([counts for _, _, counts in parts])
    return EventArrays(
        np.concatenate([steps for steps, _, _ in parts]),
        np.concatenate([neurons for _, neurons, _ in parts]),
        np.concatenate([np.zeros(1, np.int64), np.cumsum(counts_S)]),
        label_S.astype(np.uint8),
    )


def _encode_chunk(images_SN: np.ndarray, table: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Steps, neurons and event counts of so few samples that (sample, step) fits 16 bits, which NumPy radix-sorts."""
    samples_E, neurons_E = np.nonzero(images_SN)
    steps_E = table[images_SN[samples_E, neurons_E]]
    order = np.argsort((samples_E * steps + steps_E).astype(np.uint16), kind="stable")
    counts_S = np.bincount(samples_E, minlength=len(images_SN))
    return steps_E[order], neurons_E[order].astype(NEURON_TYPE), counts_S


def encode_times(steps_SN: np.ndarray, label_S: np.ndarray) -> EventArrays:
    """The event lists of inputs that fire once each, at the given steps, or not at all where the step is ``NEVER``."""
    samples_E, neurons_E = np.nonzero(steps_SN != NEVER)
    steps_E = steps_SN[samples_E, neurons_E]
    order = np.lexsort((neurons_E, steps_E, samples_E))
    counts_S = np.bincount(samples_E, minlength=len(steps_SN))
    return EventArrays(
        steps_E[order].astype(STEP_TYPE),
        neurons_E[order].astype(NEURON_TYPE),
        np.concatenate([np.zeros(1, np.int64), np.cumsum(counts_S)]),
        label_S.astype(np.uint8),
    )
