"""`admin.*`: the server about itself. What is no data the state's host tells."""

from __future__ import annotations

from typing import Any

import msgspec

from synap.clock import Millis
from synap.commands import reference
from synap.commands.host import (
    Client,
    Health,
    Host,
    JournalStats,
    MemoryStats,
    ServerStats,
    Setting,
    SnapshotBegun,
)
from synap.commands.slices import PORTION, WHOLE_MAX, Steps, sliced
from synap.commands.slowlog import SlowCommand
from synap.commands.state import State
from synap.commands.table import TABLE, NoPayload, command
from synap.commands.types import Count, Payload, Result
from synap.engines.streams import Stream
from synap.errors import Unavailable


class Digest(Result):
    """A hash of everything a client could observe, and the sequence number of the last change in it."""

    digest: str
    lsn: int


@command("admin.digest", admin=True, cost="O(n)", since="0.1")
def digest(state: State, payload: NoPayload, now: Millis) -> Digest:
    """Hash the whole state: servers with equal data answer the same.

    The hash is of one moment, so everybody else waits while it is made: about a second for a million keys.
    """
    return Digest(digest=state.digest(now), lsn=state.lsn)


class Commands(Result):
    """One entry a command: name, summary, cost, whether it writes, its key fields, routes and JSON Schemas."""

    commands: list[dict[str, Any]]


@command("admin.commands", routes=("GET /api/v1/commands",), cost="O(1)", since="0.1")
def commands(state: State, payload: NoPayload, now: Millis) -> Commands:
    """List every command with the JSON Schemas of its payload and result."""
    return sliced(Commands, _describing())


def _describing() -> Steps:
    for each in TABLE.public():
        reference.described(each)
        yield
    return msgspec.json.encode(Commands(commands=reference.describe(TABLE)))


class KeyStats(Result):
    """Keys of all types, and how many commands on them ran in the last second."""

    total_keys: int
    operations_per_sec: int


class QueueStats(Result):
    """Queues, and their messages: ready, delayed and in flight."""

    total_queues: int
    total_messages: int


class StreamStats(Result):
    """Rooms, and who is subscribed to them: whoever is subscribed to two of them counts twice."""

    total_rooms: int
    total_subscribers: int


class PubsubStats(Result):
    """Topics, and connections that are subscribed to some."""

    total_topics: int
    total_subscribers: int


class Stats(Result):
    """The server in numbers; `connections` counts all that are open."""

    server: ServerStats
    memory: MemoryStats
    kv: KeyStats
    queues: QueueStats
    streams: StreamStats
    pubsub: PubsubStats
    journal: JournalStats
    connections: int


@command("admin.stats", admin=True, routes=("GET /info",), cost="O(queues + rooms)", since="0.4")
def stats(state: State, payload: NoPayload, now: Millis) -> Stats:
    """Describe the server in numbers.

    With many queues or rooms this takes several turns of the server; messages and subscribers are counted meanwhile.
    """
    queues, rooms = state.queues.names(), state.streams.names()
    if len(queues) + len(rooms) > WHOLE_MAX:
        return sliced(Stats, _counting(state, queues, rooms, now))
    return _stats(state, _messages(state, queues, now), _subscribers(state, rooms), now)


def _counting(state: State, queues: list[str], rooms: list[str], now: Millis) -> Steps:
    messages = subscribers = 0
    for start in range(0, len(queues), PORTION):
        messages += _messages(state, queues[start : start + PORTION], now)
        yield
    for start in range(0, len(rooms), PORTION):
        subscribers += _subscribers(state, rooms[start : start + PORTION])
        yield
    return msgspec.json.encode(_stats(state, messages, subscribers, now))


def _messages(state: State, queues: list[str], now: Millis) -> int:
    found = [queue for name in queues if (queue := state.queues.find(name, now)) is not None]
    return sum(queue.depth + queue.delayed + queue.in_flight for queue in found)


def _subscribers(state: State, rooms: list[str]) -> int:
    return sum(len(state.line.watchers((Stream, name))) for name in rooms)


def _stats(state: State, messages: int, subscribers: int, now: Millis) -> Stats:
    facts, pubsub = _host(state).facts(), state.pubsub
    return Stats(
        server=facts.server,
        memory=facts.memory,
        kv=KeyStats(state.keyspace.size(now), facts.key_operations_per_sec),
        queues=QueueStats(len(state.queues), messages),
        streams=StreamStats(len(state.streams), subscribers),
        pubsub=PubsubStats(pubsub.total_topics, pubsub.total_subscribers),
        journal=facts.journal,
        connections=facts.connections,
    )


@command("admin.health", at_any_time=True, cost="O(1)", since="0.4")
def health(state: State, payload: NoPayload, now: Millis) -> Health:
    """Tell whether the server works, as GET /health does."""
    return _host(state).health()


class Settings(Result):
    """The settings in force, by "section.key"."""

    settings: dict[str, Setting]


@command("admin.config", admin=True, cost="O(settings)", since="0.4")
def config(state: State, payload: NoPayload, now: Millis) -> Settings:
    """List the settings in force, each with where it came from. Secrets are masked."""
    return Settings(_host(state).settings())


class SlowLogPayload(Payload):
    """Payload of admin.slowlog."""

    count: Count = 100


class SlowCommands(Result):
    """Commands that took long, the newest first."""

    entries: list[SlowCommand]


@command("admin.slowlog", admin=True, routes=("GET /slowlog",), cost="O(count)", since="0.4")
def slowlog(state: State, payload: SlowLogPayload, now: Millis) -> SlowCommands:
    """List the commands that took longer than `log.slow_ms` lately."""
    return SlowCommands(_host(state).slowlog.entries(payload.count))


class Clients(Result):
    """Who is connected, by id."""

    clients: list[Client]


@command("admin.clients", admin=True, routes=("GET /clients",), cost="O(connections)", since="0.4")
def clients(state: State, payload: NoPayload, now: Millis) -> Clients:
    """List the connections."""
    return Clients(_host(state).clients())


@command(
    "admin.snapshot",
    admin=True,
    has_effect=True,
    routes=("POST /snapshot",),
    cost="O(n), in a process of its own",
    since="0.4",
)
def snapshot(state: State, payload: NoPayload, now: Millis) -> SnapshotBegun:
    """Have the next snapshot begin now, unless one is being made."""
    return _host(state).snapshot()


class Accepted(Result):
    """Whether it will be done."""

    accepted: bool


@command("admin.shutdown", admin=True, has_effect=True, cost="O(1)", since="0.4")
def shutdown(state: State, payload: NoPayload, now: Millis) -> Accepted:
    """Stop the server once this reply and all others have left. Nothing is lost."""
    _host(state).shutdown()
    return Accepted(True)


def _host(state: State) -> Host:
    if state.host is None:
        raise Unavailable("there is no server around this state, only a running one can tell")
    return state.host
