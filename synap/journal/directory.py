"""The data directory: one server at a time, told by a lock that the system drops when its holder dies."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

LOCK_NAME = "LOCK"


class DirectoryUnusable(Exception):
    """The data directory cannot be made, opened or written; the message says why."""


class DirectoryInUse(DirectoryUnusable):
    """Another process has the data directory; the message names it."""


@contextmanager
def rewriting(directory: Path) -> Iterator[None]:
    """Be the only one who replaces files of a data directory: who makes a snapshot of it, or takes records out of it.

    Held by a process, and dropped when that dies. Raises DirectoryInUse while another one does.
    """
    fd = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DirectoryInUse(f"another process is making a snapshot of {directory}") from None
        yield
    finally:
        os.close(fd)


class DirectoryLock:
    """Holds a data directory, created when missing. Raises DirectoryUnusable."""

    def __init__(self, directory: Path) -> None:
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o750)
            self._fd = os.open(directory / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise DirectoryUnusable(f"{directory} cannot be used as a data directory: {error.strerror}") from None
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self._fd, 32).decode("ascii", "replace").strip() or "unknown"
            os.close(self._fd)
            raise DirectoryInUse(f"{directory} is in use by process {holder}") from None
        os.ftruncate(self._fd, 0)
        os.write(self._fd, f"{os.getpid()}\n".encode())

    def release(self) -> None:
        """Let go of the directory."""
        os.close(self._fd)

    def __enter__(self) -> DirectoryLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
