"""/metrics: every line parses, and the figures are those of what has happened."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from synap.clock import Millis
from synap.commands.executor import LATENCY_COUNTS
from tests.support import START
from tests.transport.sockets import Inside, connected, wired, within
from tests.transport.wire import command, request

TRICKY = 'a "quoted" \\ back\nslash, {brace} ü🎉'

Sample = tuple[str, ...]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inside]:
    with Inside(tmp_path_factory.mktemp("metrics") / "data") as running:
        yield running


def page(server: Inside) -> str:
    with wired(server) as wire:
        answer = wire.ask(request("GET", "/metrics"))
    assert answer.status == 200
    return answer.body.decode()


def families(text: str) -> dict[str, Metric]:
    found = list(text_string_to_metric_families(text))
    assert len({family.name for family in found}) == len(found)
    return {family.name: family for family in found}


def parsed(text: str) -> dict[Sample, float]:
    """Every sample, by its name and the values of its labels in the order of their names."""
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in families(text).values()
        for sample in family.samples
    }


def samples(server: Inside) -> dict[Sample, float]:
    return parsed(page(server))


def of(server: Inside, name: str) -> dict[Sample, float]:
    """The samples of one name, by the values of their labels."""
    return {key[1:]: value for key, value in samples(server).items() if key[0] == name}


# The page


def test_every_line_is_a_sample_or_belongs_to_one(server: Inside) -> None:
    server.call("kv.set", key="a", value=1)
    server.call("queue.publish", queue="q", message=1)
    server.call("stream.consume", room=server.call("stream.create", room="r")["room"], group="g")
    text = page(server)
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    found = [sample for family in families(text).values() for sample in family.samples]
    assert len(lines) == len(found) == len({(s.name, *sorted(s.labels.items())) for s in found})
    for family in families(text).values():
        assert family.documentation
        assert family.type in ("counter", "gauge", "histogram")


def test_names_keep_their_characters(server: Inside) -> None:
    server.call("queue.publish", queue=TRICKY, message=1)
    server.call("stream.publish", room=TRICKY, event_type="e", data=1)
    server.call("stream.consume", room=TRICKY, group=TRICKY, auto_commit=False)
    found = samples(server)
    assert found["synap_queue_depth", TRICKY] == 1
    assert found["synap_room_events", TRICKY] == 1
    assert found["synap_group_lag", TRICKY, TRICKY] == 1


# Commands


def durations(server: Inside, component: str, operation: str) -> tuple[list[tuple[float, float]], float, float]:
    """Bounds with counts, the count of all, and the sum."""
    family = families(page(server))["synap_command_duration_seconds"]
    own = [s for s in family.samples if (s.labels["component"], s.labels["operation"]) == (component, operation)]
    buckets = [(float(s.labels["le"]), s.value) for s in own if s.name.endswith("_bucket")]
    [count] = [s.value for s in own if s.name.endswith("_count")]
    [total] = [s.value for s in own if s.name.endswith("_sum")]
    return buckets, count, total


def test_how_long_commands_ran_is_a_histogram_over_powers_of_two(server: Inside) -> None:
    bound = server.server._dispatcher.bound["bitmap.setbit"]

    def ran() -> None:
        bound.latencies[:] = [0] * LATENCY_COUNTS
        bound.latencies[-20], bound.latencies[-17], bound.latencies[4], bound.latencies[5] = 5, 2, 1, 4
        bound.seconds = 12.5

    server.run(ran)
    buckets, count, total = durations(server, "bitmap", "setbit")
    assert [bound for bound, _ in buckets] == [*(2.0**i for i in range(-20, 5)), float("inf")]
    assert [n for _, n in buckets] == [5, 5, 5, *[7] * 21, 8, 12]
    assert (count, total) == (12, 12.5)


def test_only_commands_that_have_run_have_a_histogram(server: Inside) -> None:
    server.call("hash.set", key="h", field="f", value=1)
    names = {s.labels["operation"] for s in families(page(server))["synap_command_duration_seconds"].samples}
    assert "set" in names
    assert "hincrbyfloat" not in names
    _, count, total = durations(server, "hash", "set")
    assert count == samples(server)["synap_operations_total", "hash", "set"]
    assert total > 0


def test_slow_commands_and_who_was_turned_away_are_counted(server: Inside) -> None:
    dispatcher = server.server._dispatcher

    def happen() -> None:
        for _ in range(3):
            dispatcher.slowlog.note(START, "kv.keys", None, 1.0, "127.0.0.1:1")
        dispatcher.audit.counts.update({("denied", "FORBIDDEN"): 2, ("login", "failure"): 1, ("changed", "auth.x"): 4})

    server.run(happen)
    found = samples(server)
    assert found["synap_slow_commands_total",] == 3
    assert found["synap_denials_total", "FORBIDDEN"] == 2
    assert found["synap_logins_total", "failure"] == 1
    assert found["synap_account_changes_total", "auth.x"] == 4


# Queues, rooms, groups


def test_a_queue_has_its_depth_what_is_in_flight_and_the_age_of_its_oldest_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Inside(tmp_path / "data") as server:
        for number in range(3):
            server.call("queue.publish", queue="busy", message=number)
        server.call("queue.consume", queue="busy")
        server.call("queue.create", queue="idle")
        found = samples(server)
        assert (found["synap_queue_depth", "busy"], found["synap_queue_in_flight", "busy"]) == (2, 1)
        assert (found["synap_queue_depth", "idle"], found["synap_queue_in_flight", "idle"]) == (0, 0)
        assert found["synap_queue_oldest_message_age_seconds", "busy"] >= 0
        assert found["synap_queue_oldest_message_age_seconds", "idle"] == 0
        assert (found["synap_queue_messages", "depth"], found["synap_queue_messages", "in_flight"]) == (2, 1)
        oldest_at = server.run(lambda: oldest(server, "busy"))
        monkeypatch.setattr(server.server._live, "now", lambda: oldest_at + 5_500)
        assert samples(server)["synap_queue_oldest_message_age_seconds", "busy"] == 5.5


def oldest(server: Inside, name: str) -> Millis:
    queue = server.server._state.queues.find(name, 0)
    assert queue is not None
    at = queue.oldest_ready_at()
    assert at is not None
    return at


def test_a_room_has_its_events_bytes_and_subscribers_and_the_lag_of_its_groups(tmp_path: Path) -> None:
    with Inside(tmp_path / "data") as server, connected(server) as socket:
        server.call("stream.create", room="room", partitions=2)
        for number in range(6):
            server.call("stream.publish", room="room", event_type="e", data=number)
        socket.call("stream.subscribe", room="room")
        server.call("stream.consume", room="room", group="reader", max_events=4)
        server.call("stream.create", room="empty")
        found = samples(server)
        stats = {room: server.call("stream.stats", room=room) for room in ("room", "empty")}
        for room, told in stats.items():
            assert found["synap_room_events", room] == told["events"]
            assert found["synap_room_bytes", room] == told["bytes"]
            assert found["synap_room_subscribers", room] == told["subscribers"]
        assert (stats["room"]["events"], stats["room"]["subscribers"]) == (6, 1)
        assert found["synap_group_lag", "reader", "room"] == 2


@pytest.fixture
def crowded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Inside]:
    """A server with more queues, rooms and groups than are shown; "x3" is the largest of each."""
    monkeypatch.setattr("synap.transport.metrics.SHOWN_MAX", 2)
    with Inside(tmp_path / "data") as server:
        for size in (2, 4, 3, 1):
            name = f"x{size - 1}"
            for _ in range(size):
                server.call("queue.publish", queue=name, message=1)
                server.call("stream.publish", room=name, event_type="e", data=1)
            server.call("stream.consume", room=name, group="g", auto_commit=False)
        yield server


def test_everything_is_counted_once_however_many_turns_it_takes(
    crowded: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = ("synap_queues", "synap_queue_messages", "synap_streams", "synap_group_lag", "synap_groups_not_shown")
    pages = []
    for portion in (1_000, 1, 3):
        monkeypatch.setattr("synap.transport.metrics._PORTION", portion)
        pages.append({key: value for key, value in samples(crowded).items() if key[0] in told})
    assert pages[0] == pages[1] == pages[2]
    assert pages[0]["synap_queues",] == 4


def test_only_the_largest_are_shown_and_the_others_are_counted(crowded: Inside) -> None:
    found = samples(crowded)
    for name in ("synap_queue_depth", "synap_queue_in_flight", "synap_room_events", "synap_room_bytes"):
        assert {key[1] for key in found if key[0] == name} == {"x3", "x2"}
    assert {key[1:] for key in found if key[0] == "synap_group_lag"} == {("g", "x3"), ("g", "x2")}
    for kind in ("queues", "rooms", "groups"):
        assert found[f"synap_{kind}_not_shown",] == 2
    assert (found["synap_queues",], found["synap_streams",]) == (4, 4)
    assert found["synap_queue_messages", "depth"] == 1 + 2 + 3 + 4


# The server itself


def test_connections_are_counted_by_what_they_speak(server: Inside) -> None:
    with wired(server) as wire, connected(server):
        wire.ask(command(b'{"command":"kv.dbsize"}'))
        found = of(server, "synap_connections_by_transport")
    assert set(found) == {("http",), ("websocket",), ("sse",)}
    assert (found["http",] >= 2, found["websocket",], found["sse",]) == (True, 1, 0)


def test_the_process_tells_its_memory_files_and_how_long_it_has_run(server: Inside) -> None:
    found = samples(server)
    assert found["process_resident_memory_bytes",] > 1_000_000
    assert found["process_open_fds",] > 3
    assert found["synap_uptime_seconds",] > 0


def test_the_snapshots_are_told_once_there_is_one(server: Inside) -> None:
    assert [key for key in samples(server) if key[0].startswith("synap_snapshot")] == [
        ("synap_snapshot_failures_total",)
    ]
    record = server.server._snapshots
    record.last_at, record.last_secs, record.failures = START, 1.5, 2
    found = samples(server)
    assert found["synap_snapshot_timestamp_seconds",] == START / 1000
    assert found["synap_snapshot_duration_seconds",] == 1.5
    assert found["synap_snapshot_failures_total",] == 2


def test_a_server_knows_when_the_snapshot_it_began_with_was_made(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with Inside(data) as server:
        server.call("kv.set", key="a", value=1)
        server.call("admin.snapshot")
        record = server.server._snapshots
        within(30, lambda: record.last_secs is not None, True)
        made_at = samples(server)["synap_snapshot_timestamp_seconds",]
    with Inside(data) as again:
        found = samples(again)
        assert found["synap_snapshot_timestamp_seconds",] == made_at
        assert ("synap_snapshot_duration_seconds",) not in found
