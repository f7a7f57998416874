"""How kernels are compiled: once for a machine, with a cache on disk, and said when it takes time.

The cache is keyed by content: by every file of this folder, by whatever a kernel closes over, by the signature and by
the processor. A change in any of them is another key; there are no time stamps. A cache never stops a run: what is
damaged is compiled anew, what cannot be kept is compiled every time, and either is said.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba import njit
from numba.core import event
from numba.core.caching import _Cache
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps

HERE = Path(__file__).parent
IS_OFF = bool(vars(numba.config)["DISABLE_JIT"])
"""Whether NUMBA_DISABLE_JIT was set: then no kernel can run, for some of their parts exist in compiled code alone."""


class _Announcement(event.Listener):
    """One line on stderr when the first kernel has to be compiled, for that takes some seconds."""

    def __init__(self) -> None:
        self.silent = False

    def on_start(self, event: event.Event) -> None:
        """Called by numba before it compiles anything that the disk cache does not hold."""
        if not self.silent and event.data["dispatcher"].py_func.__module__.startswith(f"{__package__}."):
            self.silent = True
            told = "compiling the numba kernels, once for this machine (some 30 s, with convolutions 50) ..."
            print(told, file=sys.stderr, flush=True)

    def on_end(self, event: event.Event) -> None:
        """Nothing to say."""


event.register("numba:compile", _Announcement())


@cache
def _warn(text: str) -> None:
    """Say something once."""
    print(f"warning: {text}", file=sys.stderr, flush=True)


@cache
def _content() -> str:
    """A digest of all files of this folder and of the versions of compiler and language."""
    digest = hashlib.sha256(f"{numba.__version__} {sys.version}".encode())
    for path in sorted(HERE.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


@cache
def _folder() -> Path | None:
    """Where compiled kernels are kept: NUMBA_CACHE_DIR, beside the source or in the user's cache; None for nowhere."""
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    folders = [Path(chosen)] if chosen else [HERE / "__pycache__", Path("~/.cache/antlr-snn")]
    for folder in folders:
        try:
            known = folder.expanduser()
            known.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=known):
                return known
        except (OSError, RuntimeError):  # RuntimeError: nobody knows where the home is
            continue
    _warn(
        f"kernels are compiled in every run, for {' and '.join(map(str, folders))} cannot be written; "
        "let NUMBA_CACHE_DIR name a folder that can"
    )
    return None


class _KernelCache(_Cache):
    """One file for each compiled kernel, with a checksum in front: what is damaged counts as not there."""

    cache_path = None

    def __init__(self, function: Callable[..., Any], of: tuple[str, ...]) -> None:
        self._name = f"{function.__module__.rpartition('.')[2]}.{function.__name__}"
        self._of = (_content(), self._name, str(function.__code__.co_code), *of)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The compiled kernel for a signature, or None."""
        target_context.refresh()
        path = self._path(sig, target_context.codegen())
        if path is None or not os.path.lexists(path):
            return None
        try:
            checksum, content = path.read_bytes().split(b"\n", 1) if path.is_file() else (b"", b"")
            if hashlib.sha256(content).hexdigest().encode() != checksum:
                raise ValueError("other bytes than were written")
            return CompileResult._rebuild(target_context, *pickle.loads(content))
        except Exception as error:  # whatever an unreadable disk or a stranger's file leads to
            _warn(f"the cache of compiled kernels in {path.parent} was damaged ({_reason(error)}); it is built anew")
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep a compiled kernel; where that is not possible, it is compiled again next time."""
        path = self._path(sig, data.codegen)
        if path is None or data.lifted or data.library.has_dynamic_globals:
            return
        content = dumps(data._reduce())
        partial = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            partial.write_bytes(hashlib.sha256(content).hexdigest().encode() + b"\n" + content)
            partial.replace(path)
        except OSError as error:
            with suppress(OSError):
                partial.unlink()
            _warn(f"kernels are compiled in every run, for {path.parent} cannot be written ({_reason(error)})")

    def _path(self, sig: Any, codegen: Any) -> Path | None:
        key = hashlib.sha256(repr((*self._of, str(sig), codegen.magic_tuple())).encode()).hexdigest()
        folder = _folder()
        return folder and folder / f"{self._name}-{key[:24]}.kernel"

    def enable(self) -> None:
        """Always on."""

    def disable(self) -> None:
        """Always on."""

    def flush(self) -> None:
        """Nothing is held back."""


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error or type(error).__name__)[:100]


def named_after(function: Callable[..., Any], *of: str) -> Callable[..., Any]:
    """The function, with what it closes over in its name, from which numba makes the names of its machine code.

    Two functions of one source that differ in what they close over have names of their own by a number alone, that
    counts what a process has compiled. Kernels of two processes may have the same, and one process that loads both from
    the cache would link one of them to parts of the other: another rule's numbers, or memory written past its end.
    """
    if of:
        function.__qualname__ += f"_{hashlib.sha256(repr(of).encode()).hexdigest()[:16]}"
    return function


def kernel(*of: str, allocates: bool = False, **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function for use in other kernels, or by many threads at once.

    Args:
        *of: what the function closes over, as text for the key of the cache.
        allocates: it makes arrays or returns some, hence counts references to them; in a loop over time that would save
            and restore all vector registers in every step. Others borrow their arrays from whoever calls them.
        **options: for numba.
    """

    def compile_(function: Callable[..., Any]) -> Any:
        named_after(function, *of)
        given: dict[str, Any] = {"nogil": True, "error_model": "numpy", "_nrt": allocates, **options}
        dispatcher: Any = njit(**given)(function)
        dispatcher._cache = _KernelCache(function, of)
        return dispatcher

    return compile_
