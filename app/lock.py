"""Locks on folders: one process holds one, and it goes with that process however that ends, also by a kill."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows, which has locks of its own
    fcntl = None  # type: ignore[assignment]
    import msvcrt  # type: ignore[import-not-found,unused-ignore]

NAME = ".lock"
BEHIND = 2**30
"""Windows locks bytes and lets nobody read them: this one is behind the holder's name."""
UNSUPPORTED = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)
"""What file systems without locks answer."""


class Busy(Exception):
    """Another process holds the lock; the message names it, for example "process 1234"."""


class Lock:
    """The lock of a folder, in its file ``.lock``, from when it is made until it is released or the process ends.

    Processes that are forked do not hold it; those that are handed :attr:`handle` do. Where a file system has no locks,
    nothing is held and nobody is refused.

    Args:
        folder: an existing folder.

    Raises:
        Busy: another process holds it.
        OSError: the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self.handle = self._take()
        os.ftruncate(self.handle, 0)
        os.write(self.handle, f"{os.getpid()} {socket.gethostname()}\n".encode())
        _held.add(self.handle)

    def _take(self) -> int:
        """A locked handle of the file that has the lock's name now: another process may just have deleted its own."""
        while True:
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                _lock(handle)
                if os.path.samestat(os.fstat(handle), self.path.stat()):
                    return handle
            except FileNotFoundError:
                pass
            except BlockingIOError:
                os.close(handle)
                raise Busy(_holder(self.path)) from None
            except BaseException:
                os.close(handle)
                raise
            os.close(handle)

    def release(self) -> None:
        """Give the lock back and delete its file."""
        _held.discard(self.handle)
        delete: list[Callable[[], None]] = [lambda: self.path.unlink(missing_ok=True), lambda: os.close(self.handle)]
        for step in delete if fcntl else reversed(delete):  # Windows deletes no open files
            with suppress(OSError):  # the folder has gone or may not be written any more: the lock goes with the handle
                step()


def _lock(handle: int) -> None:
    if fcntl is None:
        os.lseek(handle, BEHIND, os.SEEK_SET)
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError:
            raise BlockingIOError from None
        os.lseek(handle, 0, os.SEEK_SET)
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise


def _holder(path: Path) -> str:
    """Who wrote its name into the file, which the next one may have deleted by now."""
    try:
        pid, host = path.read_text(encoding="utf-8").split()
    except (OSError, ValueError):
        return "another process"
    return f"process {pid}" if host == socket.gethostname() else f"process {pid} on {host}"


_held: set[int] = set()


def _let_go() -> None:
    """A forked process, such as one that loads data, may outlive a killed run, whose lock it must not keep."""
    while _held:
        os.close(_held.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)
