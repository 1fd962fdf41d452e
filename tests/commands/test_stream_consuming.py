"""Consumer groups of streams: reading on, committing, lag, waiting, and what was missed."""

from __future__ import annotations

from typing import Any

import pytest

from synap.commands.attendance import ATTENDS_MS
from synap.errors import GroupNotFound, InvalidOffset
from tests.commands.common import batch, recorded, refused
from tests.commands.queueing import check_recovery, event, events, read, tick, waiting
from tests.commands.waiters import Waiter, nobody_waits
from tests.support import Harness


def data(found: Any) -> list[Any]:
    return [each["data"] for each in found["events"]]


def reader(harness: Harness, group: str = "g", **fields: Any) -> Waiter:
    return waiting(harness, "stream.consume", room="r", group=group, **{"timeout": 60} | fields)


def offsets(harness: Harness, group: str = "g") -> list[tuple[int, int]]:
    """Committed offset and lag by partition."""
    found = harness.call("stream.offsets", room="r", group=group)["partitions"]
    assert [each["partition"] for each in found] == list(range(len(found)))
    return [(each["committed"], each["lag"]) for each in found]


# Reading


def test_a_group_reads_every_event_once(harness: Harness) -> None:
    events(harness, *range(5))
    pages = [read(harness, max_events=2) for _ in range(4)]
    assert [(data(page), page["lag"], page["missed"]) for page in pages] == [
        ([0, 1], 3, 0),
        ([2, 3], 1, 0),
        ([4], 0, 0),
        ([], 0, 0),
    ]
    assert recorded(harness)[5:] == ["stream.consume"] * 3
    assert data(read(harness, "another")) == [0, 1, 2, 3, 4]
    check_recovery(harness)


def test_without_auto_commit_the_same_events_come_until_they_are_committed(harness: Harness) -> None:
    events(harness, *range(3))
    for _ in range(2):
        assert data(read(harness, auto_commit=False, max_events=2)) == [0, 1]
    assert harness.call("stream.commit", room="r", group="g", offset=2) == {"committed": 2}
    assert data(read(harness, auto_commit=False)) == [2]
    assert recorded(harness)[3:] == ["stream.consume", "stream.commit"]
    check_recovery(harness)


@pytest.mark.parametrize(("start", "expected"), [("oldest", [1, 2, 3]), ("latest", [3])])
def test_a_new_group_begins_where_asked_and_an_old_one_goes_on(
    harness: Harness, start: str, expected: list[int]
) -> None:
    events(harness, 1, 2)
    first = data(read(harness, start=start))
    event(harness, 3)
    other = "latest" if start == "oldest" else "oldest"
    assert first + data(read(harness, start=other)) == expected
    check_recovery(harness)


def test_the_partitions_share_what_is_returned(harness: Harness) -> None:
    harness.call("stream.create", room="r", partitions=3)
    events(harness, *range(30))
    found = read(harness, max_events=6)
    assert [each["partition"] for each in found["events"]] == [0, 0, 1, 1, 2, 2]
    assert found["lag"] == 24
    rest = [each for _ in range(4) for each in read(harness, max_events=6)["events"]]
    everything = [*found["events"], *rest]
    assert sorted(each["data"] for each in everything) == list(range(30))
    for partition in range(3):
        assert [e["offset"] for e in everything if e["partition"] == partition] == list(range(10))
    check_recovery(harness)


@pytest.mark.parametrize("max_events", [1, 2, 3])
def test_no_partition_is_starved_by_busy_ones(harness: Harness, max_events: int) -> None:
    harness.call("stream.create", room="r", partitions=4)
    events(harness, "last", partition=3)
    seen: list[Any] = []
    for _ in range(4):
        for partition in range(3):
            events(harness, *range(5), partition=partition)
        found = read(harness, max_events=max_events)
        assert len(found["events"]) == max_events
        seen += data(found)
    assert "last" in seen
    check_recovery(harness)


def test_only_the_partitions_named_are_read(harness: Harness) -> None:
    harness.call("stream.create", room="r", partitions=3)
    events(harness, *range(6))
    assert data(read(harness, partitions=[2, 2, 0])) == [2, 5, 0, 3]
    assert offsets(harness) == [(2, 0), (0, 2), (2, 0)]
    assert refused(harness, "stream.consume", room="r", group="new", partitions=[0, 3]).status == 422
    assert [each["group"] for each in harness.call("stream.groups", room="r")["groups"]] == ["g"]


# Committing


def test_a_commit_goes_back_as_well_and_makes_a_group(harness: Harness) -> None:
    events(harness, *range(4))
    harness.call("stream.commit", room="r", group="g", offset=4)
    assert data(read(harness)) == []
    harness.call("stream.commit", room="r", group="g", offset=1)
    harness.call("stream.commit", room="r", group="g", offset=1)
    assert recorded(harness)[4:] == ["stream.commit"] * 2
    assert data(read(harness)) == [1, 2, 3]
    check_recovery(harness)


def test_a_commit_that_makes_a_group_lets_it_begin_at_the_oldest_elsewhere(harness: Harness) -> None:
    harness.call("stream.create", room="r", partitions=2, retention={"max_events": 2})
    events(harness, *range(8))
    harness.call("stream.commit", room="r", group="g", partition=1, offset=3)
    assert offsets(harness) == [(2, 2), (3, 1)]
    found = read(harness)
    assert (sorted(data(found)), found["missed"]) == ([4, 6, 7], 0)


def test_a_commit_beyond_the_end_is_refused(harness: Harness) -> None:
    events(harness, 1)
    for offset in (2, 2**63 - 1):
        error = refused(harness, "stream.commit", room="r", group="g", offset=offset)
        assert isinstance(error, InvalidOffset)
        assert error.details == {"next_offset": 1}
    assert refused(harness, "stream.commit", room="r", group="g", partition=1, offset=0).code == "INVALID_PAYLOAD"
    assert harness.call("stream.groups", room="r") == {"groups": []}


def test_offsets_of_a_group_that_is_not_there_are_told_so(harness: Harness) -> None:
    events(harness, 1)
    error = refused(harness, "stream.offsets", room="r", group="g")
    assert isinstance(error, GroupNotFound)
    assert error.details == {"room": "r", "group": "g"}


def test_a_deleted_group_is_forgotten(harness: Harness) -> None:
    events(harness, 1)
    read(harness)
    assert harness.call("stream.delete_group", room="r", group="g") == {"deleted": True}
    assert harness.call("stream.delete_group", room="r", group="g") == {"deleted": False}
    assert data(read(harness)) == [1]
    check_recovery(harness)


# What retention removes


def test_a_group_is_told_once_what_it_missed(harness: Harness) -> None:
    harness.call("stream.create", room="r", retention={"max_events": 3})
    events(harness, 0)
    read(harness)
    events(harness, *range(1, 10))
    found = read(harness, max_events=1)
    assert (data(found), found["missed"], found["lag"]) == ([7], 6, 2)
    assert read(harness)["missed"] == 0
    check_recovery(harness)


def test_what_is_missed_is_told_at_once_even_where_nothing_else_is_there(harness: Harness) -> None:
    harness.call("stream.create", room="r", retention={"max_age_secs": 1})
    harness.call("stream.commit", room="r", group="g", offset=0)
    events(harness, 1, 2)
    harness.clock.advance(1)
    found = read(harness, timeout=60)
    assert (found["events"], found["missed"], found["lag"]) == ([], 2, 0)
    assert offsets(harness) == [(2, 0)]
    assert reader(harness).is_waiting
    check_recovery(harness)


def test_lag_counts_only_what_is_there(harness: Harness) -> None:
    harness.call("stream.create", room="r", retention={"max_events": 2})
    harness.call("stream.commit", room="r", group="g", offset=0)
    events(harness, *range(5))
    assert offsets(harness) == [(0, 2)]
    (group,) = harness.call("stream.groups", room="r")["groups"]
    assert group == {"group": "g", "lag": 2, "consumers": 0}


# Who is there


def test_consumers_count_by_name_for_half_a_minute(harness: Harness) -> None:
    events(harness, 1)
    for name in ("a", "b", "a", None, None):
        read(harness, consumer_id=name)
    read(harness, "other")
    harness.clock.advance((ATTENDS_MS - 1) / 1000)
    read(harness, consumer_id="a")
    groups = harness.call("stream.groups", room="r")["groups"]
    assert [(each["group"], each["consumers"]) for each in groups] == [("g", 3), ("other", 1)]
    harness.clock.advance(0.001)
    groups = harness.call("stream.groups", room="r")["groups"]
    assert [each["consumers"] for each in groups] == [1, 0]


# Waiting


def test_an_event_wakes_a_group_once_and_every_group(harness: Harness) -> None:
    harness.call("stream.create", room="r")
    first, second, other = reader(harness), reader(harness), reader(harness, "other")
    event(harness, 1)
    assert (data(first.payload), second.is_waiting, data(other.payload)) == ([1], True, [1])
    event(harness, 2)
    assert data(second.payload) == [2]
    assert nobody_waits(harness)
    check_recovery(harness)


def test_a_group_that_waits_at_the_latest_is_there_from_the_beginning_of_the_wait(harness: Harness) -> None:
    events(harness, 1)
    waiter = reader(harness, start="latest")
    assert recorded(harness)[1:] == ["stream.consume"]
    check_recovery(harness)
    waiter.wait.abandon()
    event(harness, 2)
    assert data(read(harness)) == [2]
    check_recovery(harness)


def test_a_batch_is_over_before_who_waits_is_served(harness: Harness) -> None:
    harness.call("stream.create", room="r")
    waiter = reader(harness)
    batch(harness, *(("stream.publish", {"room": "r", "event_type": "e", "data": n}) for n in range(3)), atomic=True)
    assert data(waiter.payload) == [0, 1, 2]
    check_recovery(harness)


def test_who_waits_in_vain_is_told_so(harness: Harness) -> None:
    harness.call("stream.create", room="r")
    waiter = reader(harness)
    waiter.wait.time_out()
    assert waiter.payload == {"events": [], "lag": 0, "missed": 0}


def test_the_deletion_of_the_room_is_told_to_who_waits(harness: Harness) -> None:
    harness.call("stream.create", room="r")
    waiter = reader(harness)
    harness.call("stream.delete", room="r")
    assert waiter.reply["error"]["code"] == "ROOM_NOT_FOUND"
    assert nobody_waits(harness)


def test_a_group_deleted_while_it_is_waited_for_is_made_anew(harness: Harness) -> None:
    harness.call("stream.create", room="r")
    waiter = reader(harness)
    harness.call("stream.delete_group", room="r", group="g")
    event(harness, 1)
    assert data(waiter.payload) == [1]
    check_recovery(harness)


def test_events_of_other_partitions_leave_in_line(harness: Harness) -> None:
    harness.call("stream.create", room="r", partitions=2)
    waiter = reader(harness, partitions=[1])
    event(harness, 1, partition=0)
    assert waiter.is_waiting
    event(harness, 2, partition=1)
    assert data(waiter.payload) == [2]
    check_recovery(harness)


def test_who_finds_nothing_holds_up_nobody_behind(harness: Harness) -> None:
    harness.call("stream.create", room="r", partitions=3)
    waiters = [reader(harness, partitions=[n]) for n in (2, 1, 0)]
    same, gone, other = reader(harness), reader(harness, "gone"), reader(harness, "other", partitions=[0])
    gone.wait.abandon()
    event(harness, 1, partition=0)
    assert [waiter.is_waiting for waiter in (*waiters, same, other)] == [True, True, False, True, False]
    assert (data(waiters[2].payload), data(other.payload), gone.replies) == ([1], [1], [])
    event(harness, 2, partition=2)
    event(harness, 3, partition=1)
    event(harness, 4, partition=1)
    assert [data(waiter.payload) for waiter in (waiters[0], waiters[1], same)] == [[2], [3], [4]]
    assert nobody_waits(harness)
    check_recovery(harness)


def test_a_client_gone_in_this_very_tick_takes_nothing(harness: Harness) -> None:
    harness.call("stream.create", room="r")
    gone, stays = reader(harness), reader(harness)
    gone.wait.begin(gone.replies.append, lambda: True)
    event(harness, 1)
    assert (gone.replies, data(stays.payload)) == ([], [1])
    assert nobody_waits(harness)


@pytest.mark.parametrize("atomic", [False, True])
def test_inside_a_batch_nobody_waits_but_the_group_is_made(harness: Harness, atomic: bool) -> None:
    events(harness, 1)
    payload = {"room": "r", "group": "g", "timeout": 9, "start": "latest"}
    (result,) = batch(harness, ("stream.consume", payload), atomic=atomic)
    assert result["payload"] == {"events": [], "lag": 0, "missed": 0}
    event(harness, 2)
    assert data(read(harness)) == [2]
    check_recovery(harness)


def test_a_consume_with_an_idempotency_key_answers_the_same_again(harness: Harness) -> None:
    harness.call("stream.create", room="r")
    request = {"command": "stream.consume", "payload": {"room": "r", "group": "g"}, "idempotency_key": "k"}
    events(harness, 1, 2)
    first = harness.send(request)["payload"]
    event(harness, 3)
    assert (harness.send(request)["payload"], data(read(harness))) == (first, [3])
    check_recovery(harness)


def test_a_tick_that_removes_by_age_wakes_nobody(harness: Harness) -> None:
    harness.call("stream.create", room="r", retention={"max_age_secs": 1})
    event(harness, 1)
    read(harness)
    waiter = reader(harness)
    tick(harness, 5)
    assert waiter.is_waiting


# Payloads


@pytest.mark.parametrize(
    ("command", "payload", "path"),
    [
        ("consume", {}, "payload.group"),
        ("consume", {"group": ""}, "payload.group"),
        ("consume", {"group": "g" * 1_025}, "payload.group"),
        ("consume", {"group": "g", "start": "newest"}, "payload.start"),
        ("consume", {"group": "g", "max_events": 0}, "payload.max_events"),
        ("consume", {"group": "g", "max_events": 10_001}, "payload.max_events"),
        ("consume", {"group": "g", "timeout": -1}, "payload.timeout"),
        ("consume", {"group": "g", "partitions": []}, "payload.partitions"),
        ("consume", {"group": "g", "partitions": [-1]}, "payload.partitions[0]"),
        ("consume", {"group": "g", "consumer_id": "c" * 257}, "payload.consumer_id"),
        ("commit", {"group": "g"}, "payload.offset"),
        ("commit", {"group": "g", "offset": -1}, "payload.offset"),
        ("commit", {"group": "g", "offset": 1.5}, "payload.offset"),
    ],
)
def test_a_wrong_field_of_a_payload_is_named_by_its_path(
    harness: Harness, command: str, payload: dict[str, Any], path: str
) -> None:
    harness.call("stream.create", room="r")
    error = refused(harness, f"stream.{command}", room="r", **payload)
    assert (error.code, error.details["path"]) == ("INVALID_PAYLOAD", path)
    assert recorded(harness) == ["stream.create"]
