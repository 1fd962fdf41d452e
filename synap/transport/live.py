"""What all connections that are pushed to have in common, WebSockets and server-sent events alike."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import WSCloseCode, web

from synap.clock import Clock, Millis
from synap.commands.caller import Caller, Identity
from synap.commands.dispatcher import Dispatcher
from synap.commands.outbox import MessageFrames, Outbox, Policy
from synap.commands.permissions import lies_inside
from synap.commands.session import Session
from synap.commands.state import State
from synap.errors import SynapError
from synap.journal.committer import Committer
from synap.transport.hub import Hub

# How long a client may take to read what it is owed at the end, and to say goodbye.
CLOSE_SECS_MAX = 3.0


class Client(Session):
    """A session with a connection, and who has opened it."""

    caller: Caller

    def expel(self, reason: str, code: WSCloseCode = WSCloseCode.POLICY_VIOLATION) -> None:
        """End the connection of somebody who may not have it any more; from now on nothing is pushed."""
        raise NotImplementedError

    def stop(self, code: WSCloseCode, reason: bytes) -> None:
        """End the connection, politely."""
        raise NotImplementedError


class Live:
    """The connections of one server that are pushed to, and what they share."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        committer: Committer,
        state: State,
        clock: Clock,
        *,
        outbox_messages: int,
        outbox_bytes: int,
        policy: Policy,
    ) -> None:
        self.dispatcher = dispatcher
        self.committer = committer
        self.state = state
        self.line = state.line
        self.hub = Hub(state.line, committer)
        self.clients: dict[Client, None] = {}
        self._clock = clock
        self._frames = MessageFrames()
        self._outbox_messages = outbox_messages
        self._outbox_bytes = outbox_bytes
        self._policy: Policy = policy

    def now(self) -> Millis:
        """The moment at which commands of this tick run."""
        return self.dispatcher.now()

    def name(self) -> str:
        """A name for a session that no other has."""
        return secrets.token_hex(8)

    def outbox(self, wake: Callable[[], None]) -> Outbox:
        """A new outbox; `wake` is called when there is something in it."""
        return Outbox(
            self.state.pubsub,
            self._frames,
            wake,
            messages_max=self._outbox_messages,
            bytes_max=self._outbox_bytes,
            policy=self._policy,
        )

    @asynccontextmanager
    async def connected(self, client: Client, caller: Caller, transport: str) -> AsyncIterator[None]:
        """Count a connection in that speaks `transport`, and end all it has when it goes."""
        client.caller = Caller(caller.peer, caller.identity, caller.bucket, session=client, trace=caller.trace)
        if caller.peer is not None:
            caller.peer.transport, caller.peer.session = transport, client
        self.clients[client] = None
        try:
            yield
        finally:
            del self.clients[client]
            self.state.pubsub.unsubscribe(client.outbox)
            client.outbox.clear()  # the rest may have to wait for the garbage collector
            client.end()

    def expel(self, reason: str) -> None:
        """End all connections: what they are subscribed to is not what it was. They may come again."""
        for client in list(self.clients):
            client.expel(reason, WSCloseCode.SERVICE_RESTART)

    def review(self) -> None:
        """End the connections that may not stay as they are: their credential is not good any more, or not for all
        that they are subscribed to.
        """
        for client in list(self.clients):
            identity = client.caller.identity
            if identity is None:
                continue
            try:
                identity.check(self._clock.now())
            except SynapError as error:
                client.expel(error.message)
                continue
            if not self._may_stay(client, identity):
                client.expel("a permission for what is subscribed to is gone")

    def _may_stay(self, client: Client, identity: Identity) -> bool:
        patterns = self.state.pubsub.patterns_of(client.outbox)
        subscribed = [
            *(feed.subscribed for feed in client.feeds.values()),
            *(("pubsub.subscribe", p) for p in patterns),
        ]
        return all(
            (rule := identity.rules[command]) is None
            or any(lies_inside(name, "topic" if command == "pubsub.subscribe" else None, keys) for keys in rule)
            for command, name in subscribed
        )

    async def stop(self, _: web.Application) -> None:
        """Send what is owed, then end all connections."""
        await self.committer.reach(0, 0)
        for client in list(self.clients):
            client.stop(WSCloseCode.GOING_AWAY, b"the server is shutting down")
