"""`stream.*`: rooms, publishing, history and retention."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from synap.engines.murmur2 import murmur2
from synap.errors import InvalidOffset, RoomExists, RoomNotFound
from tests.commands.common import recorded, refused, restarted
from tests.commands.queueing import check_recovery, event, events, history, raw_payload, tick
from tests.support import START, Harness

FOR_EVER = {"max_events": None, "max_bytes": None, "max_age_secs": None}


def page(harness: Harness, **fields: Any) -> Any:
    return harness.call("stream.history", room="r", **fields)


# Rooms


def test_a_room_is_created_once(harness: Harness) -> None:
    assert harness.call("stream.create", room="r", partitions=2) == {"room": "r", "created": True}
    error = refused(harness, "stream.create", room="r", partitions=2)
    assert isinstance(error, RoomExists)
    assert error.details == {"room": "r"}
    assert harness.call("stream.stats", room="r") == {
        "room": "r",
        "partitions": [
            {"partition": n, "events": 0, "bytes": 0, "oldest_offset": None, "newest_offset": None, "next_offset": 0}
            for n in range(2)
        ],
        "events": 0,
        "bytes": 0,
        "oldest_offset": None,
        "newest_offset": None,
        "published_total": 0,
        "subscribers": 0,
        "groups": 0,
        "retention": FOR_EVER,
    }
    assert recorded(harness) == ["stream.create"]


@pytest.mark.parametrize(
    ("command", "fields"),
    [
        ("history", {}),
        ("stats", {}),
        ("retention", {}),
        ("consume", {"group": "g"}),
        ("commit", {"group": "g", "offset": 0}),
        ("offsets", {"group": "g"}),
        ("groups", {}),
        ("delete_group", {"group": "g"}),
    ],
)
def test_a_room_that_is_not_there_is_told(harness: Harness, command: str, fields: dict[str, Any]) -> None:
    error = refused(harness, f"stream.{command}", room="none", **fields)
    assert isinstance(error, RoomNotFound)
    assert error.details == {"room": "none"}
    assert recorded(harness) == []


def test_history_of_a_room_still_to_come_is_empty_when_asked_so(harness: Harness) -> None:
    nothing: dict[str, Any] = {"events": [], "oldest_offset": None, "newest_offset": None, "next_offset": 0}
    assert harness.call("stream.history", room="none", create=True) == nothing
    assert harness.call("stream.history", room="none", create=True, reverse=True)["next_offset"] is None
    assert harness.call("stream.rooms") == {"rooms": []}


def test_a_deleted_room_is_gone_and_one_made_anew_shares_nothing_with_it(harness: Harness) -> None:
    first = event(harness)
    harness.call("stream.commit", room="r", group="g", offset=1)
    assert harness.call("stream.delete", room="r") == {"deleted": True}
    assert harness.call("stream.delete", room="r") == {"deleted": False}
    second = event(harness)
    assert (second["offset"], second["event_id"] == first["event_id"]) == (0, False)
    assert harness.call("stream.groups", room="r") == {"groups": []}
    check_recovery(harness)


def test_rooms_are_listed_by_name(harness: Harness) -> None:
    for room in ("b", "ä", "a"):
        events(harness, 1, 2, room=room)
    listed = harness.call("stream.rooms")["rooms"]
    assert [(each["room"], each["partitions"], each["events"]) for each in listed] == [
        ("a", 1, 2),
        ("b", 1, 2),
        ("ä", 1, 2),
    ]
    assert listed[0]["bytes"] == 2 * len("e1")


# Publishing


def test_an_event_comes_back_with_everything_it_was_given(harness: Harness) -> None:
    published = event(harness, {"n": 1}, event_type="order.created", key="k", headers={"h": [1]})
    assert published == {"event_id": "evt_1_0_0", "offset": 0, "partition": 0, "subscribers_notified": 0}
    assert page(harness) == {
        "events": [
            {
                "partition": 0,
                "offset": 0,
                "event_id": "evt_1_0_0",
                "event_type": "order.created",
                "data": {"n": 1},
                "key": "k",
                "headers": {"h": [1]},
                "timestamp": START,
            }
        ],
        "oldest_offset": 0,
        "newest_offset": 0,
        "next_offset": 1,
    }
    check_recovery(harness)


@pytest.mark.parametrize("value", ["1.10", "1e999", "null", '{"a":1,"a":2}', r'"\u00e9"', "[ 1 ]", "9" * 40])
def test_data_and_headers_are_kept_byte_for_byte(harness: Harness, value: str) -> None:
    raw_payload(harness, "stream.publish", f'{{"room":"r","event_type":"e","data":{value},"headers":{{"h":{value}}}}}')
    for _ in range(2):
        found = raw_payload(harness, "stream.history", '{"room":"r"}')
        assert f'"data":{value},'.encode() in found
        assert f'"headers":{{"h":{value}}}'.encode() in found
    check_recovery(harness)


@pytest.mark.parametrize("body", [b"", b"\xff\x00", b"null", b"1" * 300_000])
def test_bytes_come_back_as_they_were(harness: Harness, body: bytes) -> None:
    text, key = base64.b64encode(body).decode(), base64.b64encode(body[:1_000]).decode()
    harness.call("stream.publish", room="r", event_type="e", data_base64=text, key_base64=key)
    (found,) = page(harness)["events"]
    assert (found["data"], found["data_base64"], found["key"], found["key_base64"]) == (None, text, None, key)
    check_recovery(harness)


@pytest.mark.parametrize("key", ["", "k", "ü", "\x00", "k" * 65_536])
def test_a_key_decides_the_partition_as_in_kafka(harness: Harness, key: str) -> None:
    harness.call("stream.create", room="r", partitions=7)
    expected = (murmur2(key.encode()) & 0x7FFFFFFF) % 7
    assert {event(harness, n, key=key)["partition"] for n in range(3)} == {expected}
    as_bytes = base64.b64encode(key.encode()).decode()
    published = harness.call("stream.publish", room="r", event_type="e", data=1, key_base64=as_bytes)
    assert published["partition"] == expected
    assert page(harness, partition=expected)["events"][0]["key"] == key
    check_recovery(harness)


def test_without_keys_the_partitions_take_turns(harness: Harness) -> None:
    harness.call("stream.create", room="r", partitions=3)
    assert [event(harness)["partition"] for _ in range(4)] == [0, 1, 2, 0]
    event(harness, key="k")
    batch = [{"event_type": "e", "data": n} for n in range(3)]
    assert harness.call("stream.publish_batch", room="r", events=batch)["partitions"] == [1, 2, 0]
    check_recovery(harness)


def test_a_partition_may_be_named_and_must_be_there(harness: Harness) -> None:
    harness.call("stream.create", room="r", partitions=2)
    assert event(harness, partition=1, key="k")["partition"] == 1
    for partition in (2, 2**31 - 1):
        error = refused(harness, "stream.publish", room="r", event_type="e", data=1, partition=partition)
        assert (error.code, error.details) == ("INVALID_PAYLOAD", {"path": "payload.partition"})
    assert event(harness, room="new", partition=0)["offset"] == 0
    assert refused(harness, "stream.publish", room="n", event_type="e", data=1, partition=1).status == 422
    assert refused(harness, "stream.history", room="r", partition=2).status == 422
    assert [each["room"] for each in harness.call("stream.rooms")["rooms"]] == ["new", "r"]


def test_a_batch_tells_where_each_event_is_and_is_one_record(harness: Harness) -> None:
    harness.call("stream.create", room="r", partitions=2)
    batch = [{"event_type": "e", "data": n, "key": str(n), "headers": {"n": n}} for n in range(20)]
    found = harness.call("stream.publish_batch", room="r", events=batch)
    assert recorded(harness) == ["stream.create", "stream.publish_batch"]
    for n, (partition, offset) in enumerate(zip(found["partitions"], found["offsets"], strict=True)):
        read = page(harness, partition=partition, from_offset=offset, limit=1)["events"][0]
        assert (read["data"], read["key"], read["headers"]) == (n, str(n), {"n": n})
    check_recovery(harness)


# History


@pytest.mark.parametrize(
    ("fields", "expected", "next_offset"),
    [
        ({}, [0, 1, 2, 3, 4], 5),
        ({"limit": 2}, [0, 1], 2),
        ({"from_offset": 3}, [3, 4], 5),
        ({"from_offset": 5}, [], 5),
        ({"reverse": True}, [4, 3, 2, 1, 0], None),
        ({"reverse": True, "limit": 2}, [4, 3], 2),
        ({"reverse": True, "from_offset": 1}, [1, 0], None),
        ({"reverse": True, "from_offset": 5, "limit": 1}, [4], 3),
        ({"reverse": True, "from_offset": 0}, [0], None),
        ({"from_timestamp": START + 2_000}, [2, 3, 4], 5),
        ({"from_timestamp": START + 1_001}, [2, 3, 4], 5),
        ({"from_timestamp": 0}, [0, 1, 2, 3, 4], 5),
        ({"from_timestamp": 9_000_000_000_000}, [], 5),
        ({"from_timestamp": START + 2_000, "reverse": True}, [2, 1, 0], None),
        ({"from_timestamp": START - 1, "reverse": True}, [], None),
        ({"from_timestamp": START + 99_000, "reverse": True, "limit": 1}, [4], 3),
        ({"from_offset": 1, "from_timestamp": START + 4_000}, [1, 2, 3, 4], 5),
        ({"event_types": ["odd"]}, [1, 3], 5),
        ({"event_types": ["odd", "even"], "limit": 3}, [0, 1, 2], 3),
        ({"event_types": ["odd"], "reverse": True, "limit": 1}, [3], 2),
        ({"event_types": ["none"]}, [], 5),
        ({"event_types": ["none"], "reverse": True}, [], None),
    ],
)
def test_history_begins_and_ends_where_asked(
    harness: Harness, fields: dict[str, Any], expected: list[int], next_offset: int | None
) -> None:
    for n in range(5):
        event(harness, n, event_type="odd" if n % 2 else "even")
        harness.clock.advance(1)
    found = page(harness, **fields)
    assert [each["data"] for each in found["events"]] == expected
    assert (found["oldest_offset"], found["newest_offset"], found["next_offset"]) == (0, 4, next_offset)


@pytest.mark.parametrize("reverse", [False, True])
def test_an_offset_beyond_the_end_is_refused(harness: Harness, reverse: bool) -> None:
    events(harness, 1, 2)
    for offset in (3, 2**63 - 1):
        error = refused(harness, "stream.history", room="r", from_offset=offset, reverse=reverse)
        assert isinstance(error, InvalidOffset)
        assert error.details == {"next_offset": 2}


@pytest.mark.parametrize("removed", [False, True])
def test_reading_an_empty_partition_backwards_ends(harness: Harness, removed: bool) -> None:
    harness.call("stream.create", room="r", retention={"max_age_secs": 1})
    if removed:
        events(harness, 1, 2)
        harness.clock.advance(1)
    for fields in ({}, {"from_offset": 2 * removed}, {"from_offset": 0}, {"from_timestamp": START}):
        found = page(harness, reverse=True, **fields)
        assert (found["events"], found["next_offset"]) == ([], None)
    assert page(harness)["next_offset"] == 2 * removed


@pytest.mark.parametrize("reverse", [False, True])
def test_paging_sees_every_event_once(harness: Harness, reverse: bool) -> None:
    events(harness, *range(25))
    seen: list[int] = []
    fields: dict[str, Any] = {}
    while True:
        found = page(harness, limit=4, reverse=reverse, **fields)
        seen += [each["data"] for each in found["events"]]
        if not found["events"] or found["next_offset"] is None:
            break
        fields = {"from_offset": found["next_offset"]}
    assert seen == sorted(range(25), reverse=reverse)


# Retention


def test_retention_by_count_is_exact(harness: Harness) -> None:
    harness.call("stream.create", room="r", retention={"max_events": 3})
    events(harness, *range(5))
    found = page(harness, from_offset=0)
    assert ([each["data"] for each in found["events"]], found["oldest_offset"]) == ([2, 3, 4], 2)
    assert event(harness)["offset"] == 5
    check_recovery(harness)


def test_retention_by_bytes_counts_what_an_event_holds_and_keeps_the_newest(harness: Harness) -> None:
    harness.call("stream.create", room="r", retention={"max_bytes": 10})
    events(harness, 11, 22, 33, 44)
    assert history(harness) == [22, 33, 44]
    event(harness, 5, key="k", headers={})
    assert history(harness) == [33, 44, 5]
    event(harness, "x" * 100)
    assert history(harness) == ["x" * 100]
    assert harness.call("stream.stats", room="r")["bytes"] == len("e") + 102
    check_recovery(harness)


@pytest.mark.parametrize(("secs", "kept_ms"), [(1e-9, 1), (0.25, 250), (9e9, 9_000_000_000_000)])
def test_retention_by_age_is_exact_to_the_millisecond(harness: Harness, secs: float, kept_ms: int) -> None:
    harness.call("stream.create", room="r", retention={"max_age_secs": secs})
    event(harness, 1)
    harness.clock.wall = START + kept_ms - 1
    assert history(harness) == [1]
    harness.clock.wall = START + kept_ms
    assert history(harness) == []
    assert page(harness)["next_offset"] == 1
    check_recovery(harness)
    tick(harness, 1)
    check_recovery(harness)


def test_what_age_has_removed_stays_gone_on_a_slower_clock(harness: Harness) -> None:
    harness.call("stream.create", room="r", retention={"max_age_secs": 10})
    for secs in (0, 4, 1):
        harness.clock.advance(secs)
        event(harness, secs)
    for secs, kept in ((5, [4, 1]), (4, [1]), (1, [])):
        harness.clock.advance(secs)
        assert history(harness) == kept
        assert history(restarted(harness, START)) == kept


def test_retention_is_changed_in_part_and_what_is_removed_stays_so(harness: Harness) -> None:
    events(harness, *range(5))
    assert harness.call("stream.retention", room="r") == {"retention": FOR_EVER}
    changed = harness.call("stream.retention", room="r", max_events=2)
    assert changed == {"retention": FOR_EVER | {"max_events": 2}}
    assert history(harness) == [3, 4]
    harness.call("stream.retention", room="r", max_age_secs=60)
    assert harness.call("stream.retention", room="r", max_events=None)["retention"] == FOR_EVER | {"max_age_secs": 60}
    assert history(harness) == [3, 4]
    harness.clock.advance(60)
    harness.call("stream.retention", room="r", max_age_secs=None)
    assert (history(harness), harness.call("stream.stats", room="r")["published_total"]) == ([], 5)
    assert recorded(harness).count("stream.retention") == 4
    check_recovery(harness)


def test_retention_holds_for_each_partition(harness: Harness) -> None:
    harness.call("stream.create", room="r", partitions=2, retention={"max_events": 2})
    events(harness, *range(8))
    assert [history(harness, partition=n) for n in range(2)] == [[4, 6], [5, 7]]
    found = harness.call("stream.stats", room="r")
    assert [each["oldest_offset"] for each in found["partitions"]] == [2, 2]
    assert (found["events"], found["published_total"]) == (4, 8)
    check_recovery(harness)


# Payloads


@pytest.mark.parametrize(
    ("command", "payload", "path"),
    [
        ("create", {"room": ""}, "payload.room"),
        ("create", {"partitions": 0}, "payload.partitions"),
        ("create", {"partitions": 1_025}, "payload.partitions"),
        ("create", {"retention": {"max_events": 0}}, "payload.retention.max_events"),
        ("create", {"retention": {"max_age_secs": 0}}, "payload.retention.max_age_secs"),
        ("create", {"retention": {"max_age": 1}}, "payload.retention.max_age"),
        ("publish", {"event_type": "e"}, "payload"),
        ("publish", {"data": 1}, "payload.event_type"),
        ("publish", {"event_type": "", "data": 1}, "payload.event_type"),
        ("publish", {"event_type": "e" * 1_025, "data": 1}, "payload.event_type"),
        ("publish", {"event_type": "e", "data": 1, "data_base64": ""}, "payload"),
        ("publish", {"event_type": "e", "data_base64": "x"}, "payload.data_base64"),
        ("publish", {"event_type": "e", "data": 1, "key": "k", "key_base64": ""}, "payload"),
        ("publish", {"event_type": "e", "data": 1, "key": "k" * 65_537}, "payload.key"),
        ("publish", {"event_type": "e", "data": 1, "key_base64": "AAAA" * 21_846}, "payload"),
        ("publish", {"event_type": "e", "data": 1, "key": 1}, "payload.key"),
        ("publish", {"event_type": "e", "data": 1, "headers": 1}, "payload.headers"),
        ("publish", {"event_type": "e", "data": 1, "partition": -1}, "payload.partition"),
        ("publish_batch", {"events": []}, "payload.events"),
        ("publish_batch", {"events": [{"event_type": "e"}]}, "payload.events[0]"),
        ("publish_batch", {"events": [{"event_type": "e", "data": 1, "partition": 0}]}, "payload.events[0].partition"),
        ("history", {"limit": 0}, "payload.limit"),
        ("history", {"limit": 10_001}, "payload.limit"),
        ("history", {"from_offset": -1}, "payload.from_offset"),
        ("history", {"from_offset": 2**63}, "payload.from_offset"),
        ("history", {"from_timestamp": 9_000_000_000_001}, "payload.from_timestamp"),
        ("history", {"event_types": []}, "payload.event_types"),
        ("history", {"event_type": "e"}, "payload.event_type"),
        ("retention", {"max_bytes": 0}, "payload.max_bytes"),
    ],
)
def test_a_wrong_field_of_a_payload_is_named_by_its_path(
    harness: Harness, command: str, payload: dict[str, Any], path: str
) -> None:
    error = refused(harness, f"stream.{command}", **{"room": "r"} | payload)
    assert (error.code, error.details["path"]) == ("INVALID_PAYLOAD", path)
    assert recorded(harness) == []
