"""What is counted for streams, beside what the process grows by. Each case is a process of its own.

python -m tests.engines.test_streams_memory 1000 1 1000 100 0    1,000 streams of 1 partition with 1,000 events of 100
                                                                 bytes each, and no groups
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from synap.engines.arrivals import Arrivals
from synap.engines.streams import Retention, Streams
from tests.engines.growth import STATM, resident_bytes

ROOT = Path(__file__).parents[2]
NOW = 1_700_000_000_000

CASES = [
    "1 1 300000 100 0",
    "1 1 300000 0 0",
    "20 3 200 20000 0",
    "2000 1 50 100 0",
    "20000 1 3 8 0",
    "50000 1 0 0 0",
    "500 64 1 8 0",
    "20000 1 0 0 1",
    "10 16 0 0 3000",
]


@pytest.mark.skipif(not STATM.exists(), reason="the system does not tell a process its size")
@pytest.mark.parametrize("streams_partitions_events_width_groups", CASES)
def test_counted_memory_is_within_a_fifth_of_the_growth(streams_partitions_events_width_groups: str) -> None:
    command = [
        sys.executable,
        "-m",
        "tests.engines.test_streams_memory",
        *streams_partitions_events_width_groups.split(),
    ]
    output = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout
    measured = json.loads(output)
    assert 0.8 <= measured["counted"] / measured["grown"] <= 1.2, measured


def fill(streams: Streams, count: int, partitions: int, events: int, width: int, groups: int) -> None:
    for number in range(count):
        stream = streams.create(f"room {number}", partitions, Retention(max_age_secs=1_000))
        for index in range(partitions):
            for event in range(events):
                stream.append(index, "type", b"x" * width, now=NOW + event)
        for group in range(groups):
            stream.commit(f"group {group} of {number}", 0, 1_000 + group)


def main(count: int, partitions: int, events: int, width: int, groups: int) -> None:
    fill(Streams(Arrivals()), 2, partitions, 2, width, 2)
    streams = Streams(Arrivals())
    streams.names()
    before = resident_bytes()
    fill(streams, count, partitions, events, width, groups)
    print(json.dumps({"counted": streams.used_bytes, "grown": resident_bytes() - before}))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
