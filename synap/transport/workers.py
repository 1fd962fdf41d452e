"""What would stop everybody else for too long: it goes to a thread, or it is done a little at a time.

Threads hash and verify passwords. Each takes 64 MiB while it works, so there are few; and who comes when many wait
already is told to come back later. Large results look at the state, which threads must not: they are made in turns of
about a millisecond, one a tick.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import Any, NamedTuple, TypeVar

from synap.commands.slices import Sliced
from synap.errors import Unavailable
from synap.stalls import Stalls

THREADS_MAX = 2
PENDING_MAX = 64
TURN_SECS = 0.001

T = TypeVar("T")


class Workers:
    """The threads of one server."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._threads = ThreadPoolExecutor(THREADS_MAX, thread_name_prefix="synap-worker")
        self._pending = 0

    def begin(self, work: Callable[[], Any], done: Callable[[Any], None]) -> None:
        """Do work; `done` gets its result, or the exception. Raises Unavailable."""

        def finish(future: asyncio.Future[Any]) -> None:
            if not future.cancelled():
                done(future.exception() or future.result())

        self._submit(work).add_done_callback(finish)

    async def run(self, work: Callable[[], T]) -> T:
        """The result of work. Raises Unavailable."""
        return await asyncio.shield(self._submit(work))

    def close(self) -> None:
        """Begin nothing more, and forget what has not begun."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _submit(self, work: Callable[[], T]) -> asyncio.Future[T]:
        if self._pending >= PENDING_MAX:
            raise Unavailable("too many requests that take long are on their way; try again later")
        self._pending += 1
        future = self._loop.run_in_executor(self._threads, work)
        future.add_done_callback(self._count_out)
        return future

    def _count_out(self, _: asyncio.Future[Any]) -> None:
        self._pending -= 1


class Turns:
    """Results being made in slices: each tick one of them is worked on for a while, then it is the next one's turn."""

    def __init__(self, schedule: Callable[[], None], stalls: Stalls) -> None:
        """`schedule` has what a finished result has brought about sent at the end of the tick."""
        self._loop = asyncio.get_running_loop()
        self._schedule = schedule
        self._stalls = stalls
        self._jobs: deque[_Job] = deque()

    def begin(self, work: Sliced, is_wanted: Callable[[], bool], done: Callable[[], None]) -> None:
        """Do work from the next tick on, as long as it is wanted; then call `done`."""
        self._jobs.append(_Job(work, is_wanted, done))
        if len(self._jobs) == 1:
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        job = self._jobs.popleft()
        if job.is_wanted():
            begun = now = perf_counter()
            while not (is_over := job.work.step()) and now < begun + TURN_SECS:
                now = perf_counter()
            secs = perf_counter() - begun
            job.work.secs += secs
            self._stalls.note(secs)
            if is_over:
                job.done()
                self._schedule()
            else:
                self._jobs.append(job)
        if self._jobs:
            self._loop.call_soon(self._turn)


class _Job(NamedTuple):
    work: Sliced
    is_wanted: Callable[[], bool]
    done: Callable[[], None]
