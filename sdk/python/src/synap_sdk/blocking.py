"""The synchronous client.

Calls go over plain HTTP, on connections that are kept and that threads take turns with. That is the fastest a blocking
call can be: no loop in another thread has to be woken for it, and the server has its shortest way for such requests.
Subscriptions have WebSockets of their own.
"""

from __future__ import annotations

import copy
import ssl
import threading
import time
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any, TypeVar
from uuid import uuid4

import msgspec

from synap_sdk._address import Address, refusal
from synap_sdk._batch import Collected
from synap_sdk._blocking import Namespaces
from synap_sdk._command import Command, UnknownToKit
from synap_sdk._commands import ADMIN_HEALTH, COMMANDS
from synap_sdk._failure import SynapConnectionError, SynapError, SynapTimeout
from synap_sdk._iterating import BlockingSubscription
from synap_sdk._options import DEFAULT_URL, TIMEOUT_SECS, Options, ReadFrom, actual
from synap_sdk._protocol import Call, body_of, read_reply
from synap_sdk._wire import Broken, Pool
from synap_sdk.errors import ReadOnly, Unauthorized, Unavailable

R = TypeVar("R")
CONNECT_SECS = 5.0
DOWN_SECS = 1.0


class Synap(Namespaces):
    """A client for threads: any number of them may use one. It connects when the first call is made.

    Every command is a method of its namespace, `client.kv.set(...)`, and returns its result. Use the client as a
    context, or `close` it.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        api_key: str | None = None,
        *,
        token: str | None = None,
        username: str | None = None,
        password: str | None = None,
        timeout: float = TIMEOUT_SECS,
        ack: str | None = None,
        retries: int = 8,
        retry_writes: bool = False,
        replicas: Sequence[str] = (),
        read_from: ReadFrom = "master",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Raises ValueError for what cannot be; connects nowhere.

        Args:
            api_key, token, username and password: one of the three ways to say who asks; a user logs in for a token
            timeout: seconds until a call is given up with SynapTimeout
            ack: how far writes are before their replies: written, synced, replicated or replicated:N
            retries: how often a call that may be repeated is, with growing pauses
            retry_writes: give every write an idempotency key, so that it may be repeated, too
            replicas: URLs of servers to look for a new master at, and to read from
            read_from: "replicas" reads there, which may be behind; the master answers when none does
            tls: how to encrypt connections to https URLs
        """
        options = Options.of(
            url, api_key, token, username, password,
            timeout=timeout, retries=retries, retry_writes=retry_writes,
            replicas=replicas, read_from=read_from, tls=tls,
        )  # fmt: skip
        self._options = options
        self._ack = ack
        self._home = Home(options)
        self._bind(self)

    def with_ack(self, ack: str | None) -> Synap:
        """The same client with another default for `ack`; they share connections."""
        view = copy.copy(self)
        view._ack = ack
        view._bind(view)
        return view

    def call(
        self,
        command: str,
        payload: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
        ack: str | None = None,
        timeout: float | None = None,
    ) -> Any:
        """Any command by its name; the result is the payload of the reply as plain data."""
        known = COMMANDS.get(command)
        plain = UnknownToKit(command) if known is None else known.plain
        return self._call(plain, dict(payload or {}), idempotency_key, ack, timeout)

    def batch(self, *, atomic: bool = False, idempotency_key: str | None = None, ack: str | None = None) -> Batch:
        """Commands that run together, with no other client's in between.

        As a context it runs when the block is left without an exception. With `atomic`, after a crash or on a replica
        all of it is there or nothing; a command that fails does not undo the others.
        """
        return Batch(self, atomic=atomic, idempotency_key=idempotency_key, ack=ack or self._ack)

    def close(self) -> None:
        """End all connections; calls of other threads may end theirs first."""
        for subscription in list(self._home.subscriptions):
            subscription.close()
        self._home.pool.close()

    def __enter__(self) -> Synap:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _call(
        self, command: Command[R], payload: Any, idempotency_key: str | None, ack: str | None, timeout: float | None
    ) -> R:
        if command.writes:
            ack = ack or self._ack
            if idempotency_key is None and command.takes_key and self._options.retry_writes:
                idempotency_key = self._home.new_key()
        command = actual(command, payload)
        limit = self._options.limit(command, payload, timeout)
        body = body_of(command, payload, idempotency_key, ack)
        result: R = self._home.run(Call(command, body, idempotency_key is not None, None, None), limit)
        return result


class Batch(Collected):
    """Commands to run together; see `Synap.batch`."""

    def __init__(self, client: Synap, *, atomic: bool, idempotency_key: str | None, ack: str | None) -> None:
        super().__init__(atomic=atomic, idempotency_key=idempotency_key, ack=ack)
        self._client = client

    def run(self, *, timeout: float | None = None) -> list[Any]:
        """Run what was collected; the outcomes in order, results and exceptions. Raises what befalls all of it."""
        if not self._parts:
            return []
        new_key = self._client._home.new_key if self._client._options.retry_writes else None
        call = self._take(new_key)
        limit = self._client._options.timeout_secs if timeout is None else timeout
        outcomes: list[Any] = self._client._home.run(call, limit)
        self._keep(call, outcomes)
        return outcomes

    def __enter__(self) -> Batch:
        return self

    def __exit__(self, failure: type[BaseException] | None, *_: object) -> None:
        if failure is None:
            self.run()


class Home:
    """What all views of one client share: connections, credentials, and where the master is."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.credentials = options.credentials
        self.pool = Pool(options.tls, CONNECT_SECS)
        self.address = options.address
        self.subscriptions: set[BlockingSubscription[Any]] = set()
        """Those that are open; they end with the client."""
        self._known = [options.address, *options.replicas]
        self._readable = options.replicas if options.read_from == "replicas" else []
        self._down_until: dict[Address, float] = {}
        self._turns = count()
        self._keys, self._key_prefix = count(), uuid4().hex
        self._login = threading.Lock()
        self._head = b""
        self._head_of: str | None = ""

    def new_key(self) -> str:
        """An idempotency key that nobody else has."""
        return f"{self._key_prefix}-{next(self._keys)}"

    def run(self, call: Call, limit_secs: float | None) -> Any:
        """The outcome of a call, which is sent again as often as is safe. Raises SynapError."""
        deadline = None if limit_secs is None else time.monotonic() + limit_secs
        policy = self.options.policy
        while True:
            address = self._route(call)
            try:
                outcome = self._ask(call, address, deadline)
            except Broken as broken:
                outcome = self._after(broken, call, address)
                pause = policy.backoff.pause(max(call.attempts, 1)) if outcome is None else None
            else:
                if not isinstance(outcome, SynapError):
                    return outcome
                pause = self._pause_after(outcome, call, address)
            if pause is None:
                raise outcome
            if deadline is not None and time.monotonic() + pause > deadline:
                raise outcome or SynapTimeout(f"no reply to {call.command.name} in time")
            if pause:
                time.sleep(pause)

    def _ask(self, call: Call, address: Address, deadline: float | None) -> Any:
        headers = self.headers(address)
        connection = self.pool.take(address)
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            self.pool.bring_back(connection)
            raise SynapTimeout(f"no time left to send {call.command.name}")
        try:
            status, answer = connection.ask(call.body + b"}", headers, left)
        except BaseException:
            connection.close()
            raise
        self.pool.bring_back(connection)
        try:
            return call.read(read_reply(answer))
        except msgspec.MsgspecError:
            return refusal(status, answer)

    def _route(self, call: Call) -> Address:
        if self._readable and call.command.is_read:
            turn, now = next(self._turns), time.monotonic()
            for number in range(len(self._readable)):
                address = self._readable[(turn + number) % len(self._readable)]
                if self._down_until.get(address, 0.0) <= now:
                    return address
        return self.address

    def _after(self, broken: Broken, call: Call, address: Address) -> SynapError | None:
        """The error that a broken connection is for a call; None if it is sent again."""
        policy = self.options.policy
        if broken.is_timeout:
            may_have = not call.command.is_read
            doubt = "; it may or may not have happened" if may_have else ""
            return SynapTimeout(f"no reply to {call.command.name} in time{doubt}", may_have_happened=may_have)
        if address != self.address:
            self._down_until[address] = time.monotonic() + DOWN_SECS
        elif not broken.is_sent:
            self._look_elsewhere()
        if broken.is_sent:
            return policy.failure_of(call, broken.reason)
        call.attempts += 1
        return SynapConnectionError(broken.reason) if call.attempts > policy.retries else None

    def _pause_after(self, error: SynapError, call: Call, address: Address) -> float | None:
        policy = self.options.policy
        if isinstance(error, Unavailable) and address != self.address:
            self._down_until[address] = time.monotonic() + DOWN_SECS
            return 0.0
        if isinstance(error, Unauthorized) and self.credentials.username is not None and not call.attempts:
            call.attempts += 1
            self.credentials.forget()
            return 0.0
        master = policy.master_after(call, error)
        if master is not None:
            self.follow(Address.of(master))
            return 0.0
        if isinstance(error, ReadOnly) and call.hops and error.details.get("master"):
            return None
        return policy.pause_after(call, error)

    def follow(self, address: Address) -> None:
        """The master is at `address`."""
        if address not in self._known:
            self._known.append(address)
        self.address = address

    def _look_elsewhere(self) -> None:
        """Ask the other servers whether they are the master."""
        for address in self._known:
            if address != self.address and self._is_master(address):
                self.address = address
                return

    def _is_master(self, address: Address) -> bool:
        call = Call(ADMIN_HEALTH, body_of(ADMIN_HEALTH, {}, None, None), False, None, None)
        try:
            health = self._ask(call, address, time.monotonic() + 2.0)
        except (Broken, SynapError):
            return False
        return not isinstance(health, SynapError) and health.role == "master"

    def headers(self, address: Address) -> bytes:
        """What a request says about who asks, as it is sent. Logs in where needed; raises SynapError, Broken."""
        credentials = self.credentials
        if credentials.username is not None:
            with self._login:
                if credentials.needs_login(time.time()):
                    connection = self.pool.take(address)
                    try:
                        _, answer = connection.ask(credentials.login(), b"", CONNECT_SECS)
                        credentials.logged_in(answer)
                    finally:
                        connection.close()
        if self._head_of != credentials.token:
            lines = [f"{name}: {value}\r\n" for name, value in credentials.headers().items()]
            self._head, self._head_of = "".join(lines).encode(), credentials.token
        return self._head
