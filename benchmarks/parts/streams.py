"""Streams: publishing a hundred events to a room at a time, reading a hundred back, and bytes per event. One at a time:
`hot`.

The room holds a million events when it is read, from offsets all over it. Memory is how much the process grows by
these events, less what is in them: the type, the data and nothing else.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import load, report, servers
from benchmarks.load import NUMBER, Sample, Workload
from benchmarks.report import Table
from benchmarks.rounds import Contender, Plan, caveats, take_turns
from benchmarks.servers import Server

BATCH = 100
FILL_BATCH = 1_000
DATA = {"user": "u-0123456789", "action": "click", "at": [640, 480]}
EVENT = {"event_type": "click", "data": DATA}
EVENT_BYTES = len("click") + len(json.dumps(DATA, separators=(",", ":")))
BATCH_CONNECTIONS = 8
COLUMNS = ("operation", "events/s", "min to max", "requests/s", "server CPU", "client busy")


def run(plan: Plan) -> Table:
    """Measure."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="synap-bench-")))
        synap = stack.enter_context(servers.synap(directory / "synap"))
        plan.say(f"streams: filling {plan.keys:,}")
        before_bytes = synap.rss_bytes()
        load.run_synap(synap, _fill(plan.keys), commands_at_once=1)
        each_bytes = (synap.rss_bytes() - before_bytes) / plan.keys
        contenders = _contenders(synap, plan.keys)
        take_turns("streams", [contender for contender, _ in contenders], plan, plan.short_round_secs)
        load.check_errors(synap)
    notes = (
        f"memory: the process grew by {each_bytes:,.0f} bytes an event at {plan.keys:,} events, {EVENT_BYTES} of them"
        f" its content: {each_bytes - EVENT_BYTES:,.0f} over it",
        "server CPU: per event",
        *caveats([contender for contender, _ in contenders]),
    )
    return Table("Streams", COLUMNS, [_row(contender, events) for contender, events in contenders], notes)


def _contenders(synap: Server, events: int) -> list[tuple[Contender, int]]:
    """What is measured, and how many events a request of it has."""
    batch = {"room": "written", "events": [EVENT] * BATCH}
    history = {"room": "read", "from_offset": NUMBER, "limit": BATCH}
    shapes: list[tuple[str, str, dict[str, Any], int, int]] = [
        (f"publish_batch of {BATCH}", "stream.publish_batch", batch, BATCH, BATCH_CONNECTIONS),
        (f"history of {BATCH}", "stream.history", history, BATCH, BATCH_CONNECTIONS),
    ]
    found = []
    for name, command, payload, size, connections in shapes:
        body = json.dumps({"command": command, "payload": payload}, separators=(",", ":"))
        template = body.replace(f'"{NUMBER}"', NUMBER)
        workload = Workload("template", size, connections=connections, template=template, numbers=events - BATCH)
        found.append((Contender(name, partial(_drive, synap, workload)), size))
    return found


def _drive(server: Server, workload: Workload, seconds: int) -> Sample:
    return load.wrk(workload, seconds, server)


def _row(contender: Contender, events: int) -> tuple[str, ...]:
    middle, extent = report.spread(contender.rates)
    requests = report.spread([rate / events for rate in contender.rates])[0]
    cpu, busy = f"{contender.server_cpu_us:.2f} us", f"{contender.client_busy:.0%}"
    return (contender.name, middle, extent, requests, cpu, busy)


def _fill(events: int) -> Iterator[tuple[str, dict[str, Any]]]:
    payload = {"room": "read", "events": [EVENT] * FILL_BATCH}
    for _ in range(events // FILL_BATCH):
        yield "stream.publish_batch", payload
