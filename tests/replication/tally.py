"""Writers of every type whose every write can be told from all others, so that one that is lost is missed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from synap.errors import KeyNotFound, QueueNotFound, RoomNotFound

PAGE = 10_000
PAD_CHARS_MAX = 200


class Called(Protocol):
    """Whoever can be asked."""

    def call(self, command: str, /, **payload: Any) -> Any:
        """The payload of a successful reply. Raises SynapError."""


class Tally:
    """A Book (see tests/durability/client.py): numbers its writes, and knows which of them have to be there."""

    def __init__(self, name: str, ack: str | None = None) -> None:
        self.name = name
        self.acknowledged = 0
        self.kept: dict[str, set[int]] = {kind: set() for kind in _WRITES}
        """What was acknowledged, by type."""
        self.perhaps: dict[str, set[int]] = {kind: set() for kind in _WRITES}
        """What was on its way when a connection ended, or was not confirmed in time."""
        self._ack = ack
        self._count = 0
        self._pending: list[tuple[str, int]] = []

    def next(self, rng: random.Random) -> Any:
        """See Book."""
        kind, number = rng.choice(_KINDS), self._count
        self._count += 1
        self._pending.append((kind, number))
        request = _WRITES[kind](self.name, number, "x" * rng.randrange(PAD_CHARS_MAX))
        return request if self._ack is None else request | {"ack": self._ack}

    def acknowledge(self, results: list[Any]) -> bool:
        """See Book."""
        kind, number = self._pending.pop(0)
        codes = {result["error"]["code"] for result in results if result["status"] == "error"}
        self.acknowledged += 1
        (self.perhaps if codes == {"ACK_TIMEOUT"} else self.kept)[kind].add(number)
        return codes in (set(), {"ACK_TIMEOUT"})

    def refused(self) -> None:
        """See Book."""
        self._pending.clear()

    def broken_off(self) -> None:
        """Whatever was on its way may or may not have been done."""
        for kind, number in self._pending:
            self.perhaps[kind].add(number)
        self._pending.clear()

    def check(self, node: Called) -> None:
        """Everything acknowledged is there, once and in order, and nothing that was not asked for."""
        self.broken_off()
        for kind, read in _READS.items():
            found = read(node, self.name)
            there, kept = set(found), self.kept[kind]
            assert len(there) == len(found) and found == sorted(found), f"{self.name}: {kind} is not as it was written"
            assert kept <= there, f"{self.name}: {kind} has lost {sorted(kept - there)[:10]} of {len(kept)}"
            surplus = there - kept - self.perhaps[kind]
            assert not surplus, f"{self.name}: {kind} has {sorted(surplus)[:10]} that were refused"


def tallies(count: int, ack: str | None = None) -> list[Tally]:
    """Books for so many writers."""
    return [Tally(f"writer{number}", ack) for number in range(count)]


def check_all(node: Called, books: Iterable[Tally]) -> None:
    """The node has what all writers were promised."""
    for book in books:
        book.check(node)


# One way to write and to read for each type; all names begin with the writer's


def _called(command: str, /, **payload: Any) -> dict[str, Any]:
    return {"command": command, "payload": payload}


def _pair(name: str, number: int, pad: str) -> dict[str, Any]:
    """Of two types in one record: neither is there without the other."""
    commands = [
        _called("list.rpush", key=f"{name}:left", value=number),
        _called("queue.publish", queue=f"{name}:right", message=number),
    ]
    return {"type": "batch", "atomic": True, "commands": commands}


_WRITES: dict[str, Callable[[str, int, str], dict[str, Any]]] = {
    "string": lambda name, number, pad: _called("kv.set", key=f"{name}:string:{number:09d}", value=pad),
    "hash": lambda name, number, pad: _called("hash.set", key=f"{name}:hash", field=str(number), value=pad),
    "list": lambda name, number, pad: _called("list.rpush", key=f"{name}:list", value=number),
    "set": lambda name, number, pad: _called("set.add", key=f"{name}:set", member=str(number)),
    "sorted set": lambda name, number, pad: _called(
        "sortedset.zadd", key=f"{name}:sorted", member=str(number), score=number
    ),
    "queue": lambda name, number, pad: _called("queue.publish", queue=f"{name}:queue", message=[number, pad]),
    "stream": lambda name, number, pad: _called(
        "stream.publish", room=f"{name}:room", event_type="told", data=[number, pad]
    ),
    "pair": _pair,
}
_KINDS = sorted(_WRITES)


def _strings(node: Called, name: str) -> list[int]:
    keys = node.call("kv.keys", match=f"{name}:string:*")["keys"]
    return sorted(int(key.rpartition(":")[2]) for key in keys)


def _members(node: Called, name: str) -> list[int]:
    return [int(member) for member in node.call("set.members", key=f"{name}:set")["members"]]


def _scored(node: Called, name: str) -> list[int]:
    return [int(each["member"]) for each in node.call("sortedset.zrange", key=f"{name}:sorted")["members"]]


def _messages(node: Called, queue: str) -> list[Any]:
    try:
        return [each["message"] for each in node.call("queue.peek", queue=queue, count=PAGE)["messages"]]
    except QueueNotFound:
        return []


def _events(node: Called, name: str) -> list[int]:
    found: list[int] = []
    try:
        while page := node.call("stream.history", room=f"{name}:room", from_offset=len(found), limit=1_000)["events"]:
            found += [event["data"][0] for event in page]
    except RoomNotFound:
        pass
    return found


def _pairs(node: Called, name: str) -> list[int]:
    left = _list(node, f"{name}:left")
    assert left == _messages(node, f"{name}:right"), f"{name}: half of a pair is missing"
    return left


def _list(node: Called, key: str) -> list[int]:
    try:
        found: list[int] = node.call("list.range", key=key)["values"]
    except KeyNotFound:
        return []
    return found


_READS: dict[str, Callable[[Called, str], list[int]]] = {
    "string": _strings,
    "hash": lambda node, name: [int(field) for field in node.call("hash.keys", key=f"{name}:hash")["fields"]],
    "list": lambda node, name: _list(node, f"{name}:list"),
    "set": _members,
    "sorted set": _scored,
    "queue": lambda node, name: [message[0] for message in _messages(node, f"{name}:queue")],
    "stream": _events,
    "pair": _pairs,
}
