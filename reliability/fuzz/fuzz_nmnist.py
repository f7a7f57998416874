"""Coverage-guided fuzzing of the N-MNIST reader with atheris; reliability/fuzz/README.md says how to run it."""

import atheris

with atheris.instrument_imports(include=["app.data", "tonic.io"]):
    import tonic.io  # noqa: F401

    import app.data.nmnist_parsing  # noqa: F401

from harness import fuzz

from reliability.malformed_data import recording_bytes, use_recording

SEEDS = [recording_bytes([(1, 2, 5, 1), (33, 33, 7, 0)]), recording_bytes([(0, 0, 9, 1), (0, 240, 0, 0), (4, 3, 8, 0)])]

if __name__ == "__main__":
    fuzz(use_recording, SEEDS)
