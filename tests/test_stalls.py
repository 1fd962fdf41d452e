"""How long the event loop was busy at a stretch, as the metrics tell it."""

from __future__ import annotations

import re
from pathlib import Path

from synap.stalls import BOUNDS_SECS, LATE_SECS, REMEMBERED_SECS, Stalls
from tests.support import ServerProcess


def test_the_longest_stretch_of_the_last_minute_is_told() -> None:
    stalls = Stalls()
    assert stalls.longest() == 0
    stalls.note(0.004)
    stalls.note(0.002)
    assert stalls.longest() == 0.004
    for _ in range(REMEMBERED_SECS):
        stalls.second_over()
        stalls.note(0.001)
    assert stalls.longest() == 0.004
    stalls.second_over()
    assert stalls.longest() == 0.001


def test_stretches_are_counted_by_their_length() -> None:
    stalls = Stalls()
    for secs in (0.0, BOUNDS_SECS[0], 0.0011, 0.015, BOUNDS_SECS[-1], 3.0):
        stalls.note(secs)
    assert stalls.counts == [2, 1, 0, 0, 1, 0, 0, 0, 0, 1, 1]
    assert stalls.total_secs == sum((BOUNDS_SECS[0], 0.0011, 0.015, BOUNDS_SECS[-1], 3.0))


def test_a_timer_that_is_a_little_late_is_no_stall() -> None:
    stalls = Stalls()
    stalls.late(LATE_SECS / 2)
    assert (sum(stalls.counts), stalls.longest()) == (0, 0.0)
    stalls.late(LATE_SECS)
    assert (sum(stalls.counts), stalls.longest()) == (1, LATE_SECS)


def test_a_command_that_keeps_the_server_busy_shows_in_the_metrics(tmp_path: Path) -> None:
    def told(server: ServerProcess) -> tuple[float, float]:
        page = server.http("GET", "/metrics")[2].decode()
        (longest,) = re.findall(r"^synap_event_loop_stall_seconds_max (\S+)", page, re.MULTILINE)
        counts = re.findall(r'^synap_event_loop_busy_seconds_bucket{le="(?:0.01|\+Inf)"} (\S+)', page, re.MULTILINE)
        short, every = map(float, counts)
        return float(longest), every - short

    value = "x" * 1_000_000
    with ServerProcess(tmp_path / "data") as server:
        longest, count = told(server)
        commands = [{"command": "kv.set", "payload": {"key": f"k{n}", "value": value}} for n in range(30)]
        server.send({"type": "batch", "commands": commands})
        after = told(server)
        assert after[1] > count
        assert after[0] >= max(longest, LATE_SECS)
