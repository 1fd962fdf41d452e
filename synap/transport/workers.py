"""Threads for what would stop everybody else for too long: hashing and verifying passwords.

Each takes 64 MiB while it works, so there are few; and who comes when many wait already is told to come back later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from synap.errors import Unavailable

THREADS_MAX = 2
PENDING_MAX = 64

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
