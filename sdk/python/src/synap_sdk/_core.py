"""What all views of one asyncio client share: its links, its clock for timeouts, and where calls go next."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from itertools import chain, count
from math import inf
from typing import Any, Literal
from uuid import uuid4

from synap_sdk._address import RENEW_BEFORE_SECS, Address
from synap_sdk._failure import SynapConnectionError, SynapError, SynapTimeout
from synap_sdk._link import HttpLink, Link
from synap_sdk._protocol import Call
from synap_sdk._session import Session
from synap_sdk._subscription import Subscription
from synap_sdk.errors import ReadOnly, Unavailable
from synap_sdk.results import AdminHealthResult

Transport = Literal["websocket", "http"]
RETIRE_SECS = 5.0
"""For calls that are still on their way to a server that turned out not to be the master."""
RENEW_CHECK_SECS = RENEW_BEFORE_SECS / 6


class Core:
    """Begins calls and settles them. Lives in one event loop, from the first call on."""

    def __init__(
        self, session: Session, addresses: list[Address], replicas: list[Address], transport: Transport
    ) -> None:
        self.session = session
        self.loop = asyncio.get_running_loop()
        self._known = addresses
        """Servers that may be the master, the one named first."""
        self._is_http = transport == "http"
        self._kind: type[Link | HttpLink] = HttpLink if self._is_http else Link
        self._master = self._kind(self, addresses[0])
        self._retired: list[Link | HttpLink] = []
        self._replicas = [self._kind(self, address, self._master) for address in replicas]
        self._turns = count()
        self._waits: HttpLink | None = None
        self._resting: dict[Call, asyncio.TimerHandle] = {}
        """Calls that were refused and will be sent again."""
        self._sweep: asyncio.TimerHandle | None = None
        self._sweep_at = inf
        self._renewal: asyncio.TimerHandle | None = None
        if session.credentials.username is not None:
            self._renewal = self.loop.call_later(RENEW_CHECK_SECS, self._renew)
        self.is_closed = False
        self.subscriptions: set[Subscription[Any]] = set()
        """Those that are open; they end with the client."""
        self._keys, self._key_prefix = count(), uuid4().hex

    @property
    def address(self) -> Address:
        """Where the master is supposed to be."""
        return self._master.address

    def new_key(self) -> str:
        """An idempotency key that nobody else has."""
        return f"{self._key_prefix}-{next(self._keys)}"

    def begin(self, call: Call) -> None:
        """Send a call."""
        if self.is_closed:
            call.future.set_exception(SynapConnectionError("the client is closed"))
            return
        if call.deadline is not None and call.deadline < self._sweep_at:
            self._arm(call.deadline)
        self._route(call).submit(call)

    def _route(self, call: Call) -> Link | HttpLink:
        if call.command.waits and not self._is_http:
            if self._waits is None or self._waits.address != self._master.address:
                if self._waits is not None:
                    self._retired.append(self._waits)
                self._waits = HttpLink(self, self._master.address)
            return self._waits
        if self._replicas and call.command.is_read:
            now = self.loop.time()
            turn = next(self._turns)
            for number in range(len(self._replicas)):
                link = self._replicas[(turn + number) % len(self._replicas)]
                if link.down_until <= now:
                    return link
        return self._master

    def settle(self, call: Call, outcome: Any) -> None:
        """Give a call its outcome, or send it again."""
        if call.future.done():
            return
        if not isinstance(outcome, Exception):
            call.future.set_result(outcome)
            return
        if isinstance(outcome, SynapError) and self._is_sent_again(call, outcome):
            return
        call.future.set_exception(outcome)

    def _is_sent_again(self, call: Call, error: SynapError) -> bool:
        policy = self.session.policy
        if isinstance(error, Unavailable) and call.link in self._replicas:
            call.link.down_until = self.loop.time() + 1.0
            self._master.submit(call)
            return True
        master = policy.master_after(call, error)
        if master is not None:
            self.follow(Address.of(master), call.link)
            self._route(call).submit(call)
            return True
        if isinstance(error, ReadOnly) and call.hops and error.details.get("master"):
            return False
        pause = policy.pause_after(call, error)
        if pause is None:
            return False
        self._resting[call] = self.loop.call_later(pause, self._resume, call)
        return True

    def _resume(self, call: Call) -> None:
        self._resting.pop(call, None)
        if not call.future.done():
            self._route(call).submit(call)

    def follow(self, address: Address, seen: Link | HttpLink | None = None) -> None:
        """The master is at `address`. Nothing happens where that is known by now."""
        if address == self._master.address or (seen is not None and seen not in (self._master, self._waits)):
            return
        if address not in self._known:
            self._known.append(address)
        self._retired.append(self._master)
        self.loop.call_later(RETIRE_SECS, self._master.renew)
        self._master = self._kind(self, address)

    async def elsewhere(self, link: Link) -> Address | None:
        """Where to look for the master after it could not be reached: a server that says it is one."""
        if link is not self._master or len(self._known) == 1:
            return None
        for address in self._known:
            if address != link.address and await self._is_master(address):
                return address
        return None

    async def _is_master(self, address: Address) -> bool:
        probe = HttpLink(self, address)
        try:
            from synap_sdk._commands import ADMIN_HEALTH
            from synap_sdk._payloads import AdminHealth
            from synap_sdk._protocol import body_of

            call = Call(
                ADMIN_HEALTH, body_of(ADMIN_HEALTH, AdminHealth(), None, None), False, None, self.loop.create_future()
            )
            call.attempts = self.session.policy.retries
            probe.submit(call)
            health: AdminHealthResult = await asyncio.wait_for(call.future, 2.0)
            return health.role == "master"
        except (SynapError, asyncio.TimeoutError):
            return False
        finally:
            await probe.close("the client has asked enough")

    def links(self) -> Iterator[Link | HttpLink]:
        """All that may have calls."""
        yield self._master
        yield from self._replicas
        yield from self._retired
        if self._waits is not None:
            yield self._waits

    async def close(self) -> None:
        """End all connections. Calls without an answer fail."""
        self.is_closed = True
        for timer in (self._sweep, self._renewal, *self._resting.values()):
            if timer is not None:
                timer.cancel()
        for call in self._resting:
            if not call.future.done():
                call.future.set_exception(SynapConnectionError("the client was closed"))
        for subscription in list(self.subscriptions):
            await subscription.close()
        for link in list(self.links()):
            await link.close("the client was closed")

    # Time

    def _arm(self, at: float) -> None:
        if self._sweep is not None:
            self._sweep.cancel()
        self._sweep_at = at
        self._sweep = self.loop.call_at(at, self._time_out)

    def _time_out(self) -> None:
        """One timer serves all calls: those whose time is over fail, the next one sets it again."""
        now = self.loop.time()
        earliest = inf
        resting = ((call, False) for call in self._resting)
        for call, is_sent in chain(resting, *(link.calls() for link in self.links())):
            if call.deadline is None or call.future.done():
                continue
            if call.deadline > now:
                earliest = min(earliest, call.deadline)
                continue
            may_have = is_sent and not call.command.is_read
            doubt = "; it may or may not have happened" if may_have else ""
            call.future.set_exception(
                SynapTimeout(f"no reply to {call.command.name} in time{doubt}", may_have_happened=may_have)
            )
        self._sweep, self._sweep_at = None, inf
        if earliest < inf:
            self._arm(earliest)

    def _renew(self) -> None:
        """Connections end with the token they were opened with: leave them before that."""
        self._renewal = self.loop.call_later(RENEW_CHECK_SECS, self._renew)
        if self.session.credentials.token and self.session.credentials.needs_login(time.time()):
            for link in self.links():
                link.renew()
