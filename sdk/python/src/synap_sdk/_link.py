"""The calls of one client to one server: queued, sent together, answered, and sent again after a broken connection."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Protocol

import httpx
import msgspec

from synap_sdk._address import Address
from synap_sdk._failure import SynapConnectionError, SynapError
from synap_sdk._protocol import Call, Exchange, groups
from synap_sdk._session import CONNECT_SECS, Session
from synap_sdk._socket import Socket
from synap_sdk.errors import Unauthorized, Unavailable

DOWN_SECS = 1.0
"""For so long a server that could not be reached is not asked again where there is another."""


class Owner(Protocol):
    """Takes what calls come to."""

    session: Session

    def settle(self, call: Call, outcome: Any) -> None: ...

    async def elsewhere(self, link: Link) -> Address | None: ...


class Link:
    """One WebSocket for all calls; it is opened when there is something to send."""

    def __init__(self, owner: Owner, address: Address, fallback: Link | HttpLink | None = None) -> None:
        self.address = address
        self.down_until = 0.0
        """On the loop's clock."""
        self._owner = owner
        self._fallback = fallback
        """Takes the calls when the server cannot be reached."""
        self._loop = asyncio.get_running_loop()
        self._queue: deque[Call] = deque()
        self._exchange = Exchange()
        self._socket: Socket | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._is_due = False
        self._was_alone = False
        """The last call that was sent had no company."""
        self._is_closed = False

    def submit(self, call: Call) -> None:
        """Send a call, together with others that are made in the same turn of the loop."""
        call.link = self
        self._queue.append(call)
        if self._is_due:
            return
        if self._was_alone and not self._exchange:
            self._flush()  # one call after the other: none will join it
        else:
            self._is_due = True
            self._loop.call_soon(self._flush)

    def calls(self) -> Iterator[tuple[Call, bool]]:
        """All calls without an answer, and whether they have been sent."""
        yield from ((call, False) for call in self._queue)
        yield from ((call, True) for call in self._exchange.in_flight())

    async def close(self, reason: str) -> None:
        """Fail what has no answer yet."""
        self._is_closed = True
        if self._connecting is not None:
            self._connecting.cancel()
            with suppress(asyncio.CancelledError):
                await self._connecting
        socket = self._socket
        if socket is not None:
            socket.close()
        for call in self._drain():
            self._fail(call, SynapConnectionError(reason))
        for call in self._exchange.lost():
            self._fail(call, SynapConnectionError(reason, may_have_happened=not call.command.is_read))
        if socket is not None:
            await socket.wait_closed()

    def renew(self) -> None:
        """Leave the connection for a new one as soon as nothing is on its way."""
        if self._socket is not None and not self._exchange and not self._queue:
            self._socket.close()
            self._socket = None

    def _flush(self) -> None:
        self._is_due = False
        socket = self._socket
        if socket is None:
            self._connect()
        elif not socket.is_paused and self._queue:
            self._was_alone = len(self._queue) == 1
            calls = [call for call in self._queue if not call.future.done()]
            self._queue.clear()
            socket.send_all([self._exchange.frame(group) for group in groups(calls)])

    def _connect(self) -> None:
        if self._connecting is None and not self._is_closed and self._queue:
            self._connecting = self._loop.create_task(self._reach())
            self._connecting.add_done_callback(self._reached)

    def _reached(self, task: asyncio.Task[None]) -> None:
        self._connecting = None
        if not task.cancelled() and (error := task.exception()) is not None:
            for call in self._drain():
                self._fail(call, error)
        self._flush()

    async def _reach(self) -> None:
        """Connect, for as long as somebody waits for it."""
        failures = 0
        while self._queue:
            try:
                await self._open()
                return
            except Unauthorized as error:
                session = self._owner.session
                session.credentials.forget()
                if session.credentials.username is None or failures:
                    self._give_up_on(session.policy.retries, error)
            except (SynapConnectionError, Unavailable) as error:
                if self._fallback is not None:
                    self.down_until = self._loop.time() + DOWN_SECS
                    for call in self._drain():
                        self._fallback.submit(call)
                    return
                self._give_up_on(failures, error)
            if not self._queue:
                return
            failures += 1
            await asyncio.sleep(self._owner.session.policy.backoff.pause(failures))
            self.address = await self._owner.elsewhere(self) or self.address

    async def _open(self) -> None:
        session = self._owner.session
        socket = await session.open(self.address, self._receive, self._lost)
        socket.on_resume = self._flush
        self._socket = socket

    def _give_up_on(self, failures: int, error: SynapError) -> None:
        """Fail the calls that have waited for enough attempts to connect."""
        retries = self._owner.session.policy.retries
        kept = []
        for call in self._drain():
            call.attempts += 1
            if call.attempts > retries or failures >= retries:
                self._fail(call, error)
            else:
                kept.append(call)
        self._queue.extend(kept)

    def _receive(self, message: bytes) -> None:
        try:
            answered, _ = self._exchange.receive(message)
        except msgspec.MsgspecError:
            if self._socket is not None:
                self._socket.abort()
            return
        settle = self._owner.settle
        for call, outcome in answered:
            if isinstance(outcome, Exception):
                settle(call, outcome)
            elif not call.future.done():
                call.future.set_result(outcome)

    def _lost(self, reason: str) -> None:
        self._socket = None
        again = []
        for call in self._exchange.lost():
            error = self._owner.session.policy.failure_of(call, reason)
            if error is None:
                again.append(call)
            else:
                self._fail(call, error)
        self._queue.extendleft(reversed(again))
        self._flush()

    def _drain(self) -> list[Call]:
        calls = [call for call in self._queue if not call.future.done()]
        self._queue.clear()
        return calls

    @staticmethod
    def _fail(call: Call, error: BaseException) -> None:
        if not call.future.done():
            call.future.set_exception(error)


class HttpLink:
    """Plain HTTP: for those who want it, and for calls that wait. Whoever stops waiting ends the wait at the server."""

    def __init__(self, owner: Owner, address: Address, fallback: Link | HttpLink | None = None) -> None:
        self.address = address
        self.down_until = 0.0
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        context = address.context(owner.session.tls)
        self._http = httpx.AsyncClient(timeout=_NO_TIMEOUT, verify=True if context is None else context, limits=_LIMITS)
        self._queue: list[Call] = []
        self._posted: dict[asyncio.Task[None], list[Call]] = {}
        self._is_due = False

    def submit(self, call: Call) -> None:
        """Send a call, together with others that are made in the same turn of the loop."""
        call.link = self
        self._queue.append(call)
        if not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._flush)

    def calls(self) -> Iterator[tuple[Call, bool]]:
        """All calls without an answer, and whether they have been sent."""
        yield from ((call, False) for call in self._queue)
        yield from ((call, True) for calls in self._posted.values() for call in calls if not call.future.done())

    async def close(self, reason: str) -> None:
        """Fail what has no answer yet."""
        for call, is_sent in list(self.calls()):
            if not call.future.done():
                call.future.set_exception(SynapConnectionError(reason, may_have_happened=is_sent))
        tasks = list(self._posted)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._http.aclose()

    def renew(self) -> None:
        """Every request names the credential anew."""

    def _flush(self) -> None:
        self._is_due = False
        calls = [call for call in self._queue if not call.future.done()]
        self._queue.clear()
        for group in groups(calls):
            task = self._loop.create_task(self._post(group))
            self._posted[task] = group
            task.add_done_callback(self._posted.pop)
            if group[0].command.waits:
                group[0].future.add_done_callback(lambda _, waiting=task: waiting.cancel())

    async def _post(self, calls: list[Call]) -> None:
        exchange = Exchange()
        session = self._owner.session
        try:
            headers = await session.headers(self.address)
            answer = await self._http.post(
                self.address.command_url,
                content=exchange.frame(calls),
                headers={"Content-Type": "application/json", **headers},
            )
            answered, _ = exchange.receive(answer.content)
            for call, outcome in answered:
                self._owner.settle(call, outcome)
        except httpx.TransportError as error:
            self._broken(calls, error, is_sent=not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout))
        except msgspec.MsgspecError as error:
            self._fail(calls, SynapError(f"the server's answer cannot be read: {error}"))
        except SynapError as error:
            self._fail(calls, error)

    def _broken(self, calls: list[Call], error: httpx.TransportError, *, is_sent: bool) -> None:
        policy = self._owner.session.policy
        reason = f"the connection to {self.address} failed: {str(error) or type(error).__name__}"
        for call in calls:
            if call.future.done():
                continue
            if is_sent:
                failure = policy.failure_of(call, reason)
            else:
                call.attempts += 1
                failure = SynapConnectionError(reason) if call.attempts > policy.retries else None
            if failure is not None:
                call.future.set_exception(failure)
            else:
                self._loop.call_later(policy.backoff.pause(call.attempts), self.submit, call)

    @staticmethod
    def _fail(calls: list[Call], error: SynapError) -> None:
        for call in calls:
            if not call.future.done():
                call.future.set_exception(error)


_NO_TIMEOUT = httpx.Timeout(None, connect=CONNECT_SECS)  # calls have their own
_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=20)
