"""What tests of blocking commands share: clients that wait, and what is asked of a server and its journal."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from synap.commands.executor import TRANSACTION
from synap.commands.waiting import Wait, WouldBlock
from tests.support import Harness, payload_of

LIST_POPS = ("list.blpop", "list.brpop")
SET_POPS = ("sortedset.bzpopmin", "sortedset.bzpopmax")
EMPTY = {name: {"key": None, "value": None} for name in LIST_POPS} | {
    name: {"key": None, "member": None, "score": None} for name in SET_POPS
}
MANY = 5_000
# What serving one client may allocate; a copy of a line of `MANY` is several times that.
SERVING_BYTES_MAX = 16 * 1024
VAIN_BYTES_MAX = 100 * 1024

every_pop = pytest.mark.parametrize("command", [*LIST_POPS, *SET_POPS])
Step = tuple[str, dict[str, Any]]


class Waiter:
    """A client that waits: the wait, and what it has been answered so far."""

    def __init__(self, wait: Wait) -> None:
        self.wait = wait
        self.replies: list[Any] = []
        wait.begin(self.replies.append)

    @property
    def reply(self) -> Any:
        """The only reply, decoded."""
        assert len(self.replies) == 1, self.replies
        return json.loads(self.replies[0].body)

    @property
    def payload(self) -> Any:
        return payload_of(self.reply)

    @property
    def is_waiting(self) -> bool:
        return not self.replies


def blocked(answer: Callable[[], Any]) -> Waiter:
    """A client whose request finds nothing."""
    with pytest.raises(WouldBlock) as raised:
        answer()
    return Waiter(raised.value.wait)


def request(command: str, *keys: str, timeout: float = 0, **fields: Any) -> bytes:
    return json.dumps({"command": command, "payload": {"keys": keys, "timeout": timeout}, **fields}).encode()


def waiting(harness: Harness, command: str, *keys: str, timeout: float = 0, **fields: Any) -> Waiter:
    return blocked(lambda: harness.dispatcher.answer(request(command, *keys, timeout=timeout, **fields)))


def blpop(harness: Harness, *keys: str, **fields: Any) -> Waiter:
    return waiting(harness, "list.blpop", *keys, **fields)


def push(harness: Harness, key: str, *values: Any) -> None:
    harness.call("list.rpush", key=key, values=list(values))


def bring(harness: Harness, command: str, key: str) -> None:
    """Let come what `command` waits for."""
    if command in LIST_POPS:
        push(harness, key, 1)
    else:
        harness.call("sortedset.zadd", key=key, member="m", score=1)


def taken(*waiters: Waiter) -> list[Any]:
    """The value each was given."""
    return [waiter.payload["value"] for waiter in waiters]


def left(harness: Harness, key: str) -> Any:
    return harness.call("list.range", key=key)["values"]


def nobody_waits(harness: Harness) -> bool:
    line = harness.dispatcher.line
    return not (len(line) or line.arrived or harness.state.keyspace.arrivals.awaited)


def calls(harness: Harness) -> list[Step]:
    """The journal: commands with their payloads, those in transactions by themselves."""
    found: list[Step] = []
    for record in harness.log.records:
        payload = json.loads(record.payload)
        found += [(name, each) for name, each in payload[0]] if record.command == TRANSACTION else []
        found += [(record.command, payload)] if record.command != TRANSACTION else []
    return found


def check_journal(harness: Harness) -> None:
    """The journal tells how things came to be as they are."""
    assert harness.replayed().digest(harness.clock.now()) == harness.digest()
