"""What tests of group commit share: a journal with its committer, who waits for it, and fsyncs that take their time."""

from __future__ import annotations

import asyncio
import math
import os
import threading
from pathlib import Path

import pytest

from synap.errors import SynapError
from synap.journal import REPLICAS_MAX, SYNCED, WRITTEN
from synap.journal import committer as committer_module
from synap.journal.committer import Committer, Fsync
from tests.journal.echo import opened

PATIENCE_SECS = 5.0


class Client:
    """Waits for one record as a transport does, and notes what `reached` was whenever it was told to advance."""

    def __init__(self, committer: Committer, ack: int, lsn: int) -> None:
        self.told: list[tuple[int, int]] = []
        self.answered = False
        self.refusal: SynapError | None = None
        self._committer = committer
        self._ack = ack
        self._lsn = lsn
        committer.join(self)

    def advance(self) -> None:
        reached = self._committer.reached
        self.told.append((reached[WRITTEN], reached[SYNCED]))
        self.refusal = self._committer.refusal(self._ack, self._lsn)
        if self._lsn <= reached[self._ack] or self.refusal is not None:
            self.answered = True
        else:
            self._committer.wait_for(self, self._ack, self._lsn)


class Gate:
    """Holds every fsync up until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.syncs = 0
        self.is_open = threading.Event()
        self._fdatasync = os.fdatasync
        monkeypatch.setattr(os, "fdatasync", self._sync)

    def _sync(self, fd: int) -> None:
        self.syncs += 1
        assert self.is_open.wait(PATIENCE_SECS)
        self._fdatasync(fd)


class Bench:
    """A journal and the committers made for it."""

    def __init__(self, directory: Path) -> None:
        self.journal = opened(directory, 0)
        self.ticks = 0
        self._committer: Committer | None = None

    def start(self, fsync: Fsync, ack_timeout_secs: float = math.inf) -> Committer:
        self._committer = Committer(self.journal, fsync, self._tick_over, ack_timeout_secs)
        self._committer.start()
        return self._committer

    async def close(self) -> None:
        """Close what was started, once."""
        committer, self._committer = self._committer, None
        if committer is not None and not self.journal.broken:
            await committer.close()

    def _tick_over(self) -> None:
        self.ticks += 1


class LoopTime:
    """The time of the running loop: it goes on with the real one, and ahead when told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._loop = asyncio.get_running_loop()
        self._real = self._loop.time
        self._ahead = 0.0
        monkeypatch.setattr(self._loop, "time", lambda: self._real() + self._ahead)

    async def advance(self, seconds: float) -> None:
        """Let what is due by then happen, in steps as short as the committer looks at its line."""
        while seconds > 0:
            step = min(seconds, committer_module.OVERDUE_CHECK_SECS)
            self._ahead += step
            seconds -= step
            await asyncio.sleep(0.001)


def local(written: int, synced: int) -> list[int]:
    """What is reached when replicas have confirmed nothing."""
    return [written, synced, *[0] * REPLICAS_MAX]
