"""Faults of disks: full, limited, read-only; data that have gone. Small disks of their own need Linux namespaces."""

from __future__ import annotations

import resource
import shutil
import subprocess
from pathlib import Path

import numpy as np

from app.files import PARTIAL
from app.resume.checkpoint import LAST, read_checkpoint
from app.run_files import CHECKPOINTS
from reliability.bench import Bench, Ended, Outcome
from reliability.digest import digest

LIMIT_BYTES = 5000
"""Less than a checkpoint has."""
NAMESPACE = ("unshare", "--map-root-user", "--mount", "sh", "-c")
SMALL_DISK = """
mount -t tmpfs -o size="$1" tmpfs "$2" || exit 99
out=$2 kept=$3; shift 3; "$@"; code=$?
cp -a "$out/." "$kept"; exit $code
"""
READ_ONLY = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" || exit 99; shift; exec "$@"'
BECOMES_READ_ONLY = """
mount --bind "$1" "$1" || exit 99
out=$1; shift; "$@" & child=$!
until test -e "$out/checkpoints/last.ckpt"; do sleep 0.05; done
cd "$out/checkpoints" && mount --bind . . || exit 99
until mount -o remount,bind,ro "$out/checkpoints" 2>/dev/null; do sleep 0.005; done
wait $child
"""


def namespaces() -> bool:
    """Whether this user may have disks of their own here."""
    try:
        return subprocess.run([*NAMESPACE, "mount -t tmpfs tmpfs /mnt"], capture_output=True).returncode == 0
    except OSError:
        return False


def _stopped(bench: Bench, name: str, ended: Ended, words: str) -> Outcome:
    """Judge a run that had to stop with a sentence, and go on with it on a healthy disk."""
    out = bench.folder / name
    partial, intact = list(out.rglob(f".*{PARTIAL}")), [read_checkpoint(p) for p in (out / CHECKPOINTS).glob("*.ckpt")]
    clean = ended.code == 1 and ended.is_sentence and words in ended.sentence and not partial and bool(intact)
    wrong = bench.resumed(name) if clean else f"exit code {ended.code}: {ended.sentence}"
    happened = "exit code 1, one sentence; earlier checkpoints intact; goes on to the same bits when there is room"
    return Outcome("1 run", wrong or happened, not wrong)


def size_limit(bench: Bench) -> Outcome:
    """File size limit of the system, set while training."""
    with bench.begun("limited") as child:
        resource.prlimit(child.process.pid, resource.RLIMIT_FSIZE, (LIMIT_BYTES, LIMIT_BYTES))
        ended = bench.end_of(child)
    return _stopped(bench, "limited", ended, "cannot be written")


def full_disk(bench: Bench) -> Outcome:
    """Full disk (a tiny tmpfs)."""
    mounted, kept = bench.folder / "full", bench.folder / "full-kept"
    mounted.mkdir()
    kept.mkdir()
    size = sum(path.stat().st_size for path in bench.whole.rglob("*") if path.is_file())
    ended = bench.train("full", before=(*NAMESPACE, SMALL_DISK, "sh", str(size), str(mounted), str(kept)))
    return _stopped(bench, "full-kept", ended, "cannot be written")


def read_only_later(bench: Bench) -> Outcome:
    """Folder that becomes read-only while training."""
    out = bench.folder / "frozen"
    out.mkdir()
    ended = bench.train("frozen", before=(*NAMESPACE, BECOMES_READ_ONLY, "sh", str(out)))
    return _stopped(bench, "frozen", ended, "Read-only file system")


def read_only(bench: Bench) -> Outcome:
    """Read-only folder from the start."""
    out = bench.folder / "closed"
    out.mkdir()
    ended = bench.train("closed", before=(*NAMESPACE, READ_ONLY, "sh", str(out)))
    refused = ended.code == 2 and ended.is_sentence and "cannot be written" in ended.sentence
    return Outcome("1 run", f"exit code {ended.code}: {_short(ended.sentence)}", refused)


def _short(text: str) -> str:
    """A sentence without the folder of this test."""
    return " ".join(word if "/" not in word else Path(word.strip("();,:")).name for word in text.split())


def vanished_data(bench: Bench) -> Outcome:
    """Data that have gone when the run is resumed."""
    root = bench.folder / "images"
    _write_images(root / "MNIST" / "raw")
    task = ("task=mnist", "network=[784,fc10]", f"data.root={root}", "data.val_samples=10", "data.batch_size=4")
    if (first := bench.train("robbed", *task)).code:
        return Outcome("1 run", f"the run before failed: {first.sentence}", False)
    before = digest(read_checkpoint(bench.folder / "robbed" / CHECKPOINTS / LAST))
    shutil.rmtree(root)
    ended = bench.train("robbed", "ckpt=last", "trainer.max_epochs=40")
    same = digest(read_checkpoint(bench.folder / "robbed" / CHECKPOINTS / LAST)) == before
    refused = ended.code == 2 and ended.is_sentence and "data.root" in ended.sentence
    return Outcome("1 run", f"exit code {ended.code}, one sentence that names data.root", refused and same)


def _write_images(folder: Path) -> None:
    """Data set in MNIST's format with 40 training and 10 test images."""
    folder.mkdir(parents=True)
    chance = np.random.default_rng(0)
    for stem, count in (("train", 40), ("t10k", 10)):
        images = chance.integers(0, 256, (count, 28, 28))
        for name, array in (
            (f"{stem}-images-idx3-ubyte", images),
            (f"{stem}-labels-idx1-ubyte", np.arange(count) % 10),
        ):
            head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
            (folder / name).write_bytes(head + array.astype(np.uint8).tobytes())


FAULTS = (size_limit, vanished_data)
FAULTS_IN_NAMESPACES = (full_disk, read_only, read_only_later)
