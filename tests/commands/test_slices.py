"""Large results are made a little at a time, and nobody can tell but by the others' having had their turn."""

from __future__ import annotations

import asyncio
import json
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from synap.commands import slices
from synap.commands.admin import Commands
from synap.commands.slices import Sliced, Steps
from synap.commands.waiting import WouldBlock
from synap.stalls import Stalls
from synap.transport.workers import Turns
from tests.support import Harness, ServerProcess

MANY = slices.WHOLE_MAX + 700


def steps(portions: int, log: list[str] | None = None, name: str = "") -> Steps:
    for _ in range(portions):
        if log is not None:
            log.append(name)
        yield
    return b'"made"'


def filled(count: int) -> Harness:
    harness = Harness()
    for start in range(0, count, 500):
        pairs = [{"key": f"k{n:05}", "value": n} for n in range(start, min(start + 500, count))]
        harness.call("kv.mset", pairs=pairs)
    return harness


@pytest.mark.parametrize("count", [0, 1, slices.PORTION, slices.PORTION + 1, 3 * slices.PORTION])
def test_an_array_made_of_portions_is_the_array(count: int) -> None:
    numbers = list(range(count))
    work = Sliced(slices.array(Commands, map(slices.elements, slices.portions(numbers)), b',"count":%d' % count))
    assert json.loads(work.finish()) == {"commands": numbers, "count": count}


def test_what_the_work_raises_is_raised_when_the_result_is_wanted() -> None:
    def failing() -> Steps:
        yield
        raise LookupError("gone")

    work = Sliced(failing())
    assert not work.step()
    assert work.step()
    with pytest.raises(LookupError, match="gone"):
        work.finish()


@pytest.mark.parametrize("match", ["*", "k0*", "*7", "nothing*"])
def test_many_keys_are_told_as_few_are(match: str) -> None:
    harness = filled(MANY)
    wanted = [name for n in range(MANY) if fnmatchcase(name := f"k{n:05}", match)]
    assert harness.call("kv.keys", match=match) == {"keys": wanted, "count": len(wanted)}


def test_a_request_waits_for_its_slices_and_is_answered_when_they_are_done() -> None:
    harness, begun = filled(MANY), []
    harness.dispatcher.take_turns = lambda *job: begun.append(job)
    with pytest.raises(WouldBlock) as blocked:
        harness.dispatcher.answer(b'{"command":"kv.keys","payload":{"match":"k00001"}}')
    answers: list[Any] = []
    blocked.value.wait.begin(answers.append)
    ((work, is_wanted, done),) = begun
    assert is_wanted()
    while not work.step():
        assert not answers
    done()
    assert b'{"keys":["k00001"],"count":1}' in answers[0].body
    assert not is_wanted()


def test_nobody_works_for_a_client_that_is_gone() -> None:
    harness, begun = filled(MANY), []
    harness.dispatcher.take_turns = lambda *job: begun.append(job)
    with pytest.raises(WouldBlock) as blocked:
        harness.dispatcher.answer(b'{"command":"kv.keys"}')
    blocked.value.wait.begin(lambda _: None)
    blocked.value.wait.abandon()
    assert not begun[0][1]()


def test_in_a_batch_all_slices_are_done_at_once() -> None:
    harness, begun = filled(MANY), []
    harness.dispatcher.take_turns = lambda *job: begun.append(job)
    reply = harness.dispatcher.answer(b'{"type":"batch","commands":[{"command":"kv.keys"},{"command":"kv.dbsize"}]}')
    assert b'"count":%d' % MANY in reply.body
    assert b'{"size":%d}' % MANY in reply.body


async def test_results_are_worked_on_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("synap.transport.workers.TURN_SECS", 0.0)
    log: list[str] = []
    turns, done = Turns(lambda: log.append("sent"), Stalls()), asyncio.Event()
    turns.begin(Sliced(steps(3, log, "a")), lambda: True, lambda: log.append("a done"))
    turns.begin(Sliced(steps(2, log, "b")), lambda: True, done.set)
    turns.begin(Sliced(steps(2, log, "unwanted")), lambda: False, lambda: log.append("never"))
    await done.wait()
    while "a done" not in log:
        await asyncio.sleep(0)
    assert [entry for entry in log if len(entry) == 1] == ["a", "b", "a", "b", "a"]
    assert log.count("sent") == 2
    assert not {"unwanted", "never"} & set(log)


def test_every_door_answers_with_what_was_made_in_slices(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data") as server:
        server.call("kv.mset", pairs=[{"key": f"k{n:05}", "value": n} for n in range(MANY)])
        assert server.call("kv.keys", match="k0000*")["count"] == 10
        assert b'"count":10' in server.http("GET", "/kv/keys?match=k0000*")[2]
        assert server.call("kv.keys")["keys"] == [f"k{n:05}" for n in range(MANY)]
        assert server.call("admin.slowlog")["entries"] == []
