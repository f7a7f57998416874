"""Coverage-guided fuzzing of the IDX reader with atheris; reliability/fuzz/README.md says how to run it."""

import atheris

with atheris.instrument_imports(include=["app.data", "gzip"]):
    import gzip

    import app.data.idx  # noqa: F401

from harness import fuzz

from reliability.malformed_data import IdxFile, use_idx


def use(content, folder):
    """The first byte chooses what the rest is read as: images or labels, plain or compressed."""
    choice = content[0] if content else 0
    use_idx(IdxFile(content[1:], () if choice & 1 else (28, 28), bool(choice & 2)), folder)


LABELS = bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 1, 9])
IMAGE = bytes([0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 28, 0, 0, 0, 28]) + bytes(784)
SEEDS = [b"\0" + IMAGE, b"\1" + LABELS, b"\2" + gzip.compress(IMAGE), b"\3" + gzip.compress(LABELS)]

if __name__ == "__main__":
    fuzz(use, SEEDS)
