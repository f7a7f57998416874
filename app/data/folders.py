"""The files of FOLDER/CLASS/FILE, or of FOLDER/train/CLASS/FILE and FOLDER/test/CLASS/FILE."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from ..errors import UserError

SPLITS = ("train", "test")


class Sample(NamedTuple):
    """One file."""

    path: Path
    label: int


def find_samples(path: str | None, task: str, suffixes: tuple[str, ...]) -> dict[str, list[Sample]]:
    """The files of each split, or all under ``all``, in the order of their names; classes count in theirs.

    Hidden files are passed over, everything else that does not belong is refused.

    Raises:
        UserError: naming the key or the file.
    """
    if path is None:
        raise UserError(f"task={task} needs a folder that holds a folder for each class: add data.path=FOLDER.")
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise UserError(f"data.path = {path} is no folder: give one that holds a folder for each class.")
    is_split = all((folder / split).is_dir() for split in SPLITS)
    tops = {split: folder / split for split in SPLITS} if is_split else {"all": folder}
    classes = {split: [entry.name for entry in _visible(top) if _is_class(entry)] for split, top in tops.items()}
    known = sorted(set().union(*classes.values()))
    if len(known) < 2:
        raise UserError(f"data.path = {path} holds {len(known)} folders of classes: give one with at least two.")
    found = {
        split: [
            Sample(_checked(entry, suffixes), known.index(name))
            for name in classes[split]
            for entry in _visible(top / name)
        ]
        for split, top in tops.items()
    }
    for split, samples in found.items():
        if not samples:
            raise UserError(f"{tops[split]} holds no files {'|'.join(suffixes)} in its folders: put some there.")
    return found


def _visible(folder: Path) -> list[Path]:
    try:
        return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise UserError(f"{folder} cannot be read ({error}): mend it, or set data.path elsewhere.") from None


def _is_class(entry: Path) -> bool:
    if not entry.is_dir():
        raise UserError(f"{entry} is no folder of a class: move it out of data.path.")
    return True


def _checked(entry: Path, suffixes: tuple[str, ...]) -> Path:
    if entry.suffix.lower() not in suffixes or not entry.is_file():
        raise UserError(f"{entry} is no file of {', '.join(suffixes)}: move it out of data.path.")
    return entry
