"""The asyncio client."""

from __future__ import annotations

import copy
import ssl
from asyncio import Future
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from synap_sdk._aio import AsyncNamespaces
from synap_sdk._batch import Collected
from synap_sdk._command import Command, UnknownToKit
from synap_sdk._commands import COMMANDS
from synap_sdk._core import Core, Transport
from synap_sdk._options import DEFAULT_URL, TIMEOUT_SECS, Options, ReadFrom, actual
from synap_sdk._protocol import Call, body_of
from synap_sdk._session import Session

R = TypeVar("R")


class AsyncSynap(AsyncNamespaces):
    """A client for one event loop. It connects when the first call is made, and again after a connection was lost.

    Every command is a method of its namespace, `client.kv.set(...)`, and returns a future: await it, or make several
    calls and await them together, which sends them together. Use the client as a context, or `close` it.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        api_key: str | None = None,
        *,
        token: str | None = None,
        username: str | None = None,
        password: str | None = None,
        transport: Transport = "websocket",
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
            transport: one "websocket" for all calls, or plain "http"
            timeout: seconds until a call is given up with SynapTimeout
            ack: how far writes are before their replies: written, synced, replicated or replicated:N
            retries: how often a call that may be repeated is, with growing pauses
            retry_writes: give every write an idempotency key, so that it may be repeated, too
            replicas: URLs of servers to look for a new master at, and to read from
            read_from: "replicas" reads there, which may be behind; the master answers when none does
            tls: how to encrypt connections to https URLs
        """
        if transport not in ("websocket", "http"):
            raise ValueError(f"transport: expected 'websocket' or 'http', got {transport!r}")
        self._options = Options.of(
            url, api_key, token, username, password,
            timeout=timeout, retries=retries, retry_writes=retry_writes,
            replicas=replicas, read_from=read_from, tls=tls,
        )  # fmt: skip
        self._transport: Transport = transport
        self._ack = ack
        self._shared: list[Core] = []
        """One core once there was a call; views made by `with_ack` share it."""
        self._bind(self)

    def with_ack(self, ack: str | None) -> AsyncSynap:
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
    ) -> Future[Any]:
        """Any command by its name; the result is the payload of the reply as plain data."""
        known = COMMANDS.get(command)
        plain = UnknownToKit(command) if known is None else known.plain
        return self._call(plain, dict(payload or {}), idempotency_key, ack, timeout)

    def batch(self, *, atomic: bool = False, idempotency_key: str | None = None, ack: str | None = None) -> AsyncBatch:
        """Commands that run together, with no other client's in between.

        As a context it runs when the block is left without an exception. With `atomic`, after a crash or on a replica
        all of it is there or nothing; a command that fails does not undo the others.
        """
        return AsyncBatch(self, atomic=atomic, idempotency_key=idempotency_key, ack=ack or self._ack)

    async def close(self) -> None:
        """End all connections. Calls without an answer fail with SynapConnectionError."""
        for core in self._shared:
            await core.close()

    async def __aenter__(self) -> AsyncSynap:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _running(self) -> Core:
        if not self._shared:
            options = self._options
            known = [options.address, *options.replicas]
            readable = options.replicas if options.read_from == "replicas" else []
            session = Session(options.credentials, options.policy, options.tls)
            self._shared.append(Core(session, known, readable, self._transport))
        return self._shared[0]

    def _call(
        self, command: Command[R], payload: Any, idempotency_key: str | None, ack: str | None, timeout: float | None
    ) -> Future[R]:
        core = self._shared[0] if self._shared else self._running()
        if command.writes:
            ack = ack or self._ack
            if idempotency_key is None and command.takes_key and self._options.retry_writes:
                idempotency_key = core.new_key()
        command = actual(command, payload)
        limit = self._options.limit(command, payload, timeout)
        future: Future[R] = core.loop.create_future()
        deadline = None if limit is None else core.loop.time() + limit
        body = body_of(command, payload, idempotency_key, ack)
        core.begin(Call(command, body, idempotency_key is not None, deadline, future))
        return future


class AsyncBatch(Collected):
    """Commands to run together; see `AsyncSynap.batch`."""

    def __init__(self, client: AsyncSynap, *, atomic: bool, idempotency_key: str | None, ack: str | None) -> None:
        super().__init__(atomic=atomic, idempotency_key=idempotency_key, ack=ack)
        self._client = client

    async def run(self, *, timeout: float | None = None) -> list[Any]:
        """Run what was collected; the outcomes in order, results and exceptions. Raises what befalls all of it."""
        if not self._parts:
            return []
        core = self._client._running()
        call = self._take(core.new_key if self._client._options.retry_writes else None)
        call.future = core.loop.create_future()
        call.deadline = core.loop.time() + (self._client._options.timeout_secs if timeout is None else timeout)
        core.begin(call)
        outcomes: list[Any] = await call.future
        self._keep(call, outcomes)
        return outcomes

    async def __aenter__(self) -> AsyncBatch:
        return self

    async def __aexit__(self, failure: type[BaseException] | None, *_: object) -> None:
        if failure is None:
            await self.run()
