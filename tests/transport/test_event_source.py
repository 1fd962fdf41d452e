"""Server-sent events on real connections: the form, coming back with Last-Event-ID, and clients that go away."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from synap.transport import event_source
from synap.transport.head import JSON_TYPE
from tests.support import ServerProcess
from tests.transport.sockets import EventSource, Inside, listening, wired, within

LEAVES_WITHIN_SECS = 5.0
PUBLISHED, SIZE = 2_000, 200


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inside]:
    limits = {"outbox_messages": 300}
    with Inside(tmp_path_factory.mktemp("sources") / "data", limits=limits) as running:
        yield running


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A room or topic that no other test uses."""
    return str(request.node.name).replace("[", "-").replace("]", "")


def publish(server: Inside | ServerProcess, room: str, count: int, first: int = 0, **more: Any) -> None:
    events = [{"event_type": "n", "data": number, **more} for number in range(first, first + count)]
    server.call("stream.publish_batch", room=room, events=events)


def room_path(room: str, query: str = "") -> str:
    return f"/stream/{quote(room, safe='')}/events?{query}"


# The form


def test_an_event_has_its_offset_as_id_its_type_and_the_frame(server: Inside, name: str) -> None:
    publish(server, name, 2)
    with listening(server, room_path(name, "replay=true")) as source:
        assert (source.status, source.headers["content-type"]) == (200, "text/event-stream")
        assert source.headers["cache-control"] == "no-store"
        first, second = source.events(2)
        assert [(event.id, event.kind) for event in (first, second)] == [("0", "n"), ("1", "n")]
        frame = first.json
        assert (frame["type"], frame["room"], frame["offset"], frame["data"]) == ("event", name, 0, 0)
        publish(server, name, 1, first=2)
        assert source.event().json["data"] == 2


def test_live_only_unless_asked(server: Inside, name: str) -> None:
    publish(server, name, 3)
    for query, expected in (("", []), ("replay=true", [0, 1, 2]), ("from_offset=1", [1, 2])):
        with listening(server, room_path(name, query)) as source:
            source.first_id()
            publish(server, name + "2", 1)
            assert [event.json["data"] for event in source.events(len(expected))] == expected
    with listening(server, room_path(name)) as source:
        source.first_id()
        publish(server, name, 1, first=3)
        assert source.event().json["data"] == 3


def test_stored_values_with_line_breaks_arrive_whole(server: Inside, name: str) -> None:
    bodies = ['{\n  "a": 1,\r\n  "b": [\r1\n\n]}', '["\\n", "\u2028\u0085"]', '"\\r\\n: "']
    for body in bodies:
        payload = f'{{"room":{json.dumps(name)},"event_type":"t","data":{body}}}'
        assert server.send(f'{{"command":"stream.publish","payload":{payload}}}'.encode())["success"]
    with listening(server, room_path(name, "replay=true")) as source:
        assert [event.json["data"] for event in source.events(3)] == [json.loads(body) for body in bodies]


@pytest.mark.parametrize(
    "kind", ["a b", " x", "x:y", "é\u2028", "a\nb", "a\r\nid: 99\n\ndata: x", "\n", "\r", "\0", ":"]
)
def test_no_event_type_breaks_the_form(server: Inside, name: str, kind: str) -> None:
    server.call("stream.publish", room="kinds " + name, event_type=kind, data=1)
    publish(server, "kinds " + name, 1)
    with listening(server, room_path("kinds " + name, "replay=true")) as source:
        event, after = source.events(2)
        assert (event.id, event.json["event_type"], after.id, after.kind) == ("0", kind, "1", "n")
        if kind.isprintable():
            assert event.kind == kind


def test_messages_of_topics_are_events_too(server: Inside, name: str) -> None:
    with listening(server, f"/pubsub/events?topics={name}.*,{name}&topics=other.%23") as source:
        source.first_id()
        for topic in (name, f"{name}.a", "other.x.y", "elsewhere"):
            server.call("pubsub.publish", topic=topic, message={"from": topic})
        events = source.events(3)
        assert [(event.kind, event.json["message"]["from"]) for event in events] == [
            ("message", name),
            ("message", f"{name}.a"),
            ("message", "other.x.y"),
        ]


def test_silence_is_broken_by_comments(server: Inside, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_source, "KEEP_ALIVE_SECS", 0.05)
    with listening(server, f"/pubsub/events?topics={name}") as source:
        source.first_id()
        for _ in range(3):
            source.comment()
        server.call("pubsub.publish", topic=name, message=1)
        assert source.event().json["message"] == 1


# Coming back


@pytest.mark.parametrize("partitions", [1, 3])
def test_who_comes_back_goes_on_right_behind(server: Inside, name: str, partitions: int) -> None:
    server.call("stream.create", room=name, partitions=partitions)
    publish(server, name, 100)
    seen: list[int] = []
    last: str | None = None
    while len(seen) < 300:
        with listening(server, room_path(name, "replay=true"), last) as source:
            if len(seen) < 200:
                publish(server, name, 20, first=100 + len(seen))
            for event in source.events(20):
                seen.append(event.json["data"])
                last = event.id
    assert sorted(seen) == list(range(300))
    assert last is not None
    assert last.count(",") == partitions - 1


def test_the_first_id_lets_one_come_back_who_has_seen_nothing(server: Inside, name: str) -> None:
    server.call("stream.create", room=name, partitions=2)
    server.call("stream.create", room=name + "1")
    for path in (
        room_path(name),
        room_path(name + "1"),
        room_path(name, "partition=1"),
        f"/pubsub/events?topics={name}",
    ):
        with listening(server, path) as source:
            first = source.first_id()
        publish(server, name, 4)
        publish(server, name + "1", 2)
        server.call("pubsub.publish", topic=name, message=1)
        with listening(server, path, first) as source:
            events = source.events(1 if "pubsub" in path else 2)
            assert len({event.id for event in events}) == len(events)


def test_who_comes_back_after_kill_9_misses_nothing(tmp_path: Path) -> None:
    seen: list[int] = []
    last: str | None = None
    for turn in range(2):
        with ServerProcess(tmp_path / "data") as server:
            if not turn:
                server.call("stream.create", room="r", partitions=2)
            publish(server, "r", 10, first=10 * turn)
            with listening(server, room_path("r", "replay=true"), last) as source:
                for event in source.events(6 if turn == 0 else 14):
                    seen.append(event.json["data"])
                    last = event.id
                server.kill()
    assert sorted(seen) == list(range(20))


def test_messages_missed_meanwhile_are_sent_again_or_told_to_be_gone(server: Inside, name: str) -> None:
    path = f"/pubsub/events?topics={name}"
    with listening(server, path) as source:
        source.first_id()
        for number in range(3):
            server.call("pubsub.publish", topic=name, message=number)
        last = source.events(2)[-1].id
    with listening(server, path, last) as source:
        assert source.event().json["message"] == 2
    commands = [{"command": "pubsub.publish", "payload": {"topic": name, "message": n}} for n in range(3, 503)]
    server.send({"type": "batch", "commands": commands})
    with listening(server, path, last) as source:
        gap, *events = source.events(257)
        assert (gap.kind, gap.json["missed"], gap.json["at_least"]) == ("gap", 501 - 256, False)
        assert gap.id == last
        assert [event.json["message"] for event in events] == list(range(503 - 256, 503))
    with listening(server, path, "another-1") as source:
        gap = source.event()
        assert (gap.kind, gap.json["missed"], gap.json["reason"]) == ("gap", None, "restart")
        server.call("pubsub.publish", topic=name, message="after")
        assert source.event().json["message"] == "after"


@pytest.mark.parametrize("partitions", [1, 2])
def test_what_retention_has_removed_is_told_as_a_gap(server: Inside, name: str, partitions: int) -> None:
    server.call("stream.create", room=name, partitions=partitions, retention={"max_events": 10})
    publish(server, name, 10 * partitions)
    with listening(server, room_path(name, "from_offset=0")) as source:
        last = source.events(partitions * 2)[-1].id
    publish(server, name, 50 * partitions, first=10 * partitions)
    with listening(server, room_path(name), last) as source:
        found = source.events(11 * partitions)
        gaps = [event for event in found if event.kind == "gap"]
        assert len(gaps) == partitions
        assert all(gap.json["missed"] == gap.json["to"] - gap.json["from"] + 1 for gap in gaps)
        assert sorted(event.json["offset"] for event in found if event.kind == "n") == sorted(
            [*range(50, 60)] * partitions
        )
    with listening(server, room_path(name), gaps[-1].id) as source:  # the id of a gap is as good as any
        assert source.event().json["offset"] == 50


# Errors


@pytest.mark.parametrize(
    ("path", "last", "status", "code"),
    [
        ("/stream/nowhere/events", None, 404, "ROOM_NOT_FOUND"),
        ("/stream/there/events?from_offset=99", None, 422, "INVALID_OFFSET"),
        ("/stream/there/events?partition=1", None, 422, "INVALID_PAYLOAD"),
        ("/stream/there/events?from_offset=x", None, 422, "INVALID_PAYLOAD"),
        ("/stream/there/events?nonsense=1", None, 422, "INVALID_PAYLOAD"),
        ("/pubsub/events", None, 422, "INVALID_PAYLOAD"),
        ("/pubsub/events?topics=,", None, 422, "INVALID_PAYLOAD"),
        ("/pubsub/events?topics=a&policy=never", None, 422, "INVALID_PAYLOAD"),
        *(
            ("/stream/there/events", last, 400, "INVALID_REQUEST")
            for last in ("x", "1:2:3", "5,1:3", "1:3,5", "-5", "1_0", " 1x", "9" * 5_000, "\u00b2", "0:-2", "a:1")
        ),
        *(
            ("/pubsub/events?topics=a", last, 400, "INVALID_REQUEST")
            for last in ("x", "-3", "x-", "x-\u00b2", "x-" + "9" * 5_000)
        ),
        ("/stream/there/events", "9" * 18, 422, "INVALID_OFFSET"),
        ("/stream/there/events", "7:0", 422, "INVALID_PAYLOAD"),
    ],
)
def test_a_bad_request_is_answered_as_json(server: Inside, path: str, last: str | None, status: int, code: str) -> None:
    server.call("stream.publish", room="there", event_type="t", data=1)
    with listening(server, path, last) as source:
        assert (source.status, source.headers["content-type"]) == (status, JSON_TYPE)
        assert source.body()["error"]["code"] == code
    assert server.leftovers().get("clients") is None


# Ends


def test_the_deletion_of_the_room_ends_the_events(server: Inside, name: str) -> None:
    publish(server, name, 1)
    with listening(server, room_path(name, "replay=true")) as source:
        source.event()
        server.call("stream.delete", room=name)
        end = source.event()
        assert (end.kind, end.json["type"]) == ("end", "end")
        with pytest.raises(EOFError):
            source.event()


@pytest.mark.parametrize("end", ["gone", "half-closed", "pipelined"])
@pytest.mark.parametrize("is_idle", [True, False])
def test_a_client_that_goes_away_is_noticed(server: Inside, name: str, end: str, is_idle: bool) -> None:
    publish(server, name, 1)
    with listening(server, room_path(name), receive_buffer=4_096) as source:
        source.first_id()
        assert server.leftovers()["clients"] == 1
        if not is_idle:
            publish(server, name, PUBLISHED, key="k" * SIZE)
        if end == "gone":
            source.connection.close()
        elif end == "half-closed":
            source.connection.shutdown(socket.SHUT_WR)
            source.connection.close()
        else:
            source.connection.sendall(b"x" * 1_000_000)
            source.connection.close()
        within(LEAVES_WITHIN_SECS, lambda: bool(server.leftovers()), False)


def test_who_reads_slowly_gets_everything_in_the_end(server: Inside, name: str) -> None:
    publish(server, name, 1)
    with listening(server, room_path(name), receive_buffer=16_384) as source:
        source.first_id()
        publish(server, name, PUBLISHED, first=1, key="k" * SIZE)
        time.sleep(0.1)
        assert [event.json["data"] for event in source.events(PUBLISHED)] == list(range(1, PUBLISHED + 1))


def test_what_a_slow_client_misses_of_topics_is_told_in_its_place(server: Inside, name: str) -> None:
    with listening(server, f"/pubsub/events?topics={name}", receive_buffer=16_384) as source:
        source.first_id()
        for at in range(0, 6_000, 200):
            commands = [
                {"command": "pubsub.publish", "payload": {"topic": name, "message": [n, "x" * 1_000]}}
                for n in range(at, at + 200)
            ]
            server.send({"type": "batch", "commands": commands})
        expected = missed = 0
        while expected < 6_000:
            event = source.event()
            if event.kind == "gap":
                missed += event.json["missed"]
                expected += event.json["missed"]
            else:
                assert event.json["message"][0] == expected
                expected += 1
        assert missed > 0


def test_a_client_that_wants_all_and_reads_nothing_is_cut_off(
    server: Inside, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_source, "CLOSE_SECS_MAX", 0.1)
    path = f"/pubsub/events?topics={name}&policy=disconnect"
    with listening(server, path, receive_buffer=4_096) as source:
        source.first_id()
        publish = {"command": "pubsub.publish", "payload": {"topic": name, "message": "x" * 2_000}}
        for _ in range(50):
            server.send({"type": "batch", "commands": [publish] * 200})
        within(LEAVES_WITHIN_SECS, lambda: bool(server.leftovers()), False)


def test_replay_hands_over_to_live_while_others_publish(server: Inside, name: str) -> None:
    server.call("stream.create", room=name, partitions=2)

    def run() -> None:
        for at in range(0, 3_000, 50):
            publish(server, name, 50, first=at)

    with ExitStack() as stack:
        thread = threading.Thread(target=run)
        thread.start()
        sources: list[EventSource] = []
        for _ in range(3):
            sources.append(stack.enter_context(listening(server, room_path(name, "replay=true"))))
            time.sleep(0.02)
        for source in sources:
            seen: dict[int, list[int]] = {}
            for event in source.events(3_000):
                seen.setdefault(event.json["partition"], []).append(event.json["offset"])
            assert all(offsets == list(range(len(offsets))) for offsets in seen.values())
        thread.join()


def test_other_requests_on_a_connection_are_answered_before_the_events_begin(server: Inside, name: str) -> None:
    publish(server, name, 1)
    get = f"GET {room_path(name, 'replay=true')} HTTP/1.1\r\nHost: synap\r\n\r\n".encode()
    with wired(server) as wire:
        wire.send(b"GET /health HTTP/1.1\r\nHost: synap\r\n\r\n" + get)
        assert wire.answer().status == 200
        wire.expect(b"HTTP/1.1 200 OK\r\n")
    within(LEAVES_WITHIN_SECS, lambda: bool(server.leftovers()), False)
