"""The slow log: which commands it keeps, how much of them it shows, and that values are never part of it."""

from __future__ import annotations

import msgspec

from synap.commands.dispatcher import Dispatcher
from synap.commands.gates import Limits
from synap.commands.slowlog import TEXT_CHARS_MAX, SlowLog
from tests.support import START, Harness


def noted(log: SlowLog, *commands: str) -> SlowLog:
    for number, command in enumerate(commands):
        log.note(START + number, command, None, 0.5, "127.0.0.1:4000")
    return log


def names(log: SlowLog, count: int = 100) -> list[str]:
    return [entry.command for entry in log.entries(count)]


def test_the_newest_command_comes_first() -> None:
    log = noted(SlowLog(), "kv.get", "kv.set", "kv.del")
    assert names(log) == ["kv.del", "kv.set", "kv.get"]
    assert names(log, 2) == ["kv.del", "kv.set"]


def test_the_oldest_commands_go_and_stay_counted() -> None:
    log = noted(SlowLog(capacity=2), "kv.get", "kv.set", "kv.del")
    assert names(log) == ["kv.del", "kv.set"]
    assert log.total == 3


def test_an_entry_tells_who_asked_for_what_and_how_long_it_took() -> None:
    log = SlowLog()
    log.note(START, "kv.get", "a", 0.1234567, "[::1]:4000", "r-1", "00-trace")
    assert msgspec.to_builtins(log.entries(1)) == [
        {
            "at": START,
            "command": "kv.get",
            "key": "a",
            "duration_ms": 123.457,
            "client": "[::1]:4000",
            "request_id": "r-1",
            "trace": "00-trace",
        }
    ]


def test_what_clients_choose_is_cut() -> None:
    log = SlowLog()
    log.note(START, "kv.get", "ä" * 5_000, 1, "127.0.0.1:4000", "r" * 5_000)
    [entry] = log.entries(1)
    assert (entry.key, entry.request_id) == ("ä" * TEXT_CHARS_MAX, "r" * TEXT_CHARS_MAX)


def dispatched(harness: Harness, slow_secs: float) -> Dispatcher:
    return Dispatcher(harness.executor, harness.log, harness.clock, Limits(slow_secs=slow_secs))


def test_commands_over_the_threshold_are_noted_with_their_first_key_and_without_values(harness: Harness) -> None:
    dispatcher = dispatched(harness, 1e-12)
    body = b'{"command":"kv.mset","payload":{"pairs":{"first":"hush","second":"hush"}},"request_id":"mine"}'
    assert dispatcher.answer(body).status == 200
    [entry] = dispatcher.slowlog.entries(10)
    assert (entry.at, entry.command, entry.key, entry.request_id) == (START, "kv.mset", "first", "mine")
    assert b"hush" not in msgspec.json.encode(entry)


def test_commands_under_the_threshold_are_not_noted(harness: Harness) -> None:
    dispatcher = dispatched(harness, 3_600)
    dispatcher.answer(b'{"command":"kv.get","payload":{"key":"a"}}')
    assert (dispatcher.slowlog.total, dispatcher.slowlog.entries(10)) == (0, [])
