"""What the proofs about access share: servers on which one must log in, and credentials as headers."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from synap.commands.auth import Seen
from synap.commands.caller import Caller, Identity, Peer
from synap.commands.credentials import Credentials
from synap.commands.dispatcher import Dispatcher
from synap.commands.gates import Limits
from synap.config import Auth, RateLimit
from tests.support import CHEAP_HASHER, Harness, payload_of
from tests.transport.sockets import Inside, wired
from tests.transport.wire import Answer, command, envelope

Header = tuple[str, str]

ROOT_PASSWORD = "the password of root"
ADDRESS = "192.0.2.1"


def basic(username: str, password: str) -> Header:
    return "Authorization", "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


def bearer(token: str) -> Header:
    return "Authorization", f"Bearer {token}"


ROOT = basic("root", ROOT_PASSWORD)


class Key(NamedTuple):
    """An API key."""

    id: str
    secret: str

    @property
    def header(self) -> Header:
        return "X-API-Key", self.secret


class Guarded(Inside):
    """A server in this process on which one must log in."""

    def __init__(self, data: Path, *, auth: dict[str, Any] | None = None, **settings: Any) -> None:
        given = {"enabled": True, "root_password": ROOT_PASSWORD, **(auth or {})}
        self._is_root_known = given["root_password"] == ROOT_PASSWORD
        super().__init__(data, auth=given, **settings)

    def __enter__(self) -> Guarded:
        super().__enter__()
        self.credentials._hasher = CHEAP_HASHER
        if self._is_root_known:
            self.admin("auth.me")  # from now on the password of root is known to be right, whoever fails beside it
        return self

    @property
    def credentials(self) -> Credentials:
        return self.server._credentials

    def ask(self, header: Header | None, name: str, /, **payload: Any) -> Answer:
        """The answer to a command sent with a credential, or without."""
        with wired(self) as wire:
            return wire.ask(command(envelope(name, **payload), [header] if header else []))

    def code(self, header: Header | None, name: str, /, **payload: Any) -> str | None:
        """The code of the error that a command is answered with; None when it succeeds."""
        reply = self.ask(header, name, **payload).json
        return None if reply["success"] else reply["error"]["code"]

    def admin(self, name: str, /, **payload: Any) -> Any:
        """The payload of a successful reply to root. Raises the SynapError of a failed one."""
        return payload_of(self.ask(ROOT, name, **payload).json)

    def key(self, *permissions: str, **more: Any) -> Key:
        """A new API key."""
        made = self.admin("auth.create_key", **{"name": "test", "permissions": permissions, **more})
        return Key(made["id"], made["key"])

    def digest(self) -> str:
        return self.run(lambda: self.server._state.digest(self.server._clock.now()))


class GuardedHarness(Harness):
    """A dispatcher that asks for credentials, with a fake clock. What `call` sends comes from the server itself."""

    def __init__(self, rate_limit: RateLimit | None = None, **auth: Any) -> None:
        super().__init__()
        settings = msgspec.convert({"enabled": True, "root_password": ROOT_PASSWORD, **auth}, Auth)
        self.credentials = Credentials(self.state.accounts, settings, rate_limit or RateLimit(), CHEAP_HASHER)
        self.credentials.on_use = lambda kind, name: self.dispatcher.note("auth.seen", Seen(kind=kind, name=name))
        self.dispatcher = Dispatcher(self.executor, self.log, self.clock, Limits(), credentials=self.credentials)
        self.dispatcher.ready()
        self._peers = 0

    def bearer(self, token: str) -> Identity:
        """Whom a token stands for. Tests make tokens with the wall clock."""
        return self.credentials.by_bearer(token, int(time.time() * 1000))

    def key(self, *permissions: str, **more: Any) -> Key:
        """A new API key."""
        made = self.call("auth.create_key", **{"name": "test", "permissions": permissions, **more})
        return Key(made["id"], made["key"])

    def caller(self, who: Key | Identity, address: str = ADDRESS) -> Caller:
        """Somebody on a connection of its own."""
        self._peers += 1
        identity = self.credentials.by_api_key(who.secret) if isinstance(who, Key) else who
        peer = Peer(self._peers, address, 1, self.clock.now())
        return Caller(peer, identity, self.credentials.bucket(identity, address))

    def code(self, caller: Caller, name: str, /, **payload: Any) -> str | None:
        """The code of the error that a command is answered with; None when it succeeds."""
        reply = json.loads(self.answer(envelope(name, **payload), caller=caller).body)
        return None if reply["success"] else reply["error"]["code"]
