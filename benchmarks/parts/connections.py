"""What a WebSocket costs that does nothing: how much the server grows by thousands of them, and by their subscriptions.

Each is subscribed to no topic or to ten that no other is subscribed to; nothing is published.
"""

from __future__ import annotations

import resource
import tempfile
from pathlib import Path

from benchmarks import clients, report, servers
from benchmarks.clients.sockets import Idle
from benchmarks.report import Table
from benchmarks.rounds import Plan

CONNECTIONS = 5_000
PATTERNS = (0, 10)
SPARE_FILES = 500
COLUMNS = ("WebSockets, each subscribed to", "connections", "bytes each", "resident memory")
MIB = 1024 * 1024


def run(plan: Plan) -> Table:
    """Measure."""
    connections = min(CONNECTIONS, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - SPARE_FILES)
    rows = []
    with tempfile.TemporaryDirectory(prefix="synap-bench-") as directory:
        for patterns in PATTERNS:
            plan.say(f"connections: {connections:,} subscribed to {patterns} topics each")
            with servers.synap(Path(directory) / str(patterns)) as synap:
                before_bytes = synap.rss_bytes()
                with clients.holding("sockets", Idle(synap.port, connections, patterns)):
                    rss_bytes = synap.rss_bytes()
            each = report.count((rss_bytes - before_bytes) / connections)
            rows.append((f"{patterns} topics", report.count(connections), each, f"{rss_bytes / MIB:,.0f} MiB"))
    return Table("Memory of WebSockets that do nothing", COLUMNS, rows)
