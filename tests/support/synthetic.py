"""The formats of the real data sets, for small synthetic ones."""

import numpy as np


def idx_bytes(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.astype(np.uint8).tobytes()


def recording_bytes(events: list[tuple[int, int, int, int]]) -> bytes:
    """Events (x, y, t in µs, p) in the format of N-MNIST."""
    return b"".join(bytes([x, y]) + (p << 23 | t).to_bytes(3) for x, y, t, p in events)
