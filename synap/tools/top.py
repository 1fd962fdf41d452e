"""`synap top`: a live view of a server. It asks for /metrics, replication.status and admin.stats, as anybody may who
has the permissions; what they do not allow is left out.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from synap.tools.client import Refused, Server, Unreachable
from synap.tools.figures import Difference, Look, read_samples

ROWS_MAX = 8
PLAIN_COLUMNS = 120
OK = 0
_UNITS = "BKMGTP"


def run(server: Server, interval_secs: float, *, once: bool) -> int:
    """Show it until Ctrl-C, or one frame as plain text. Raises Unreachable, and Refused without admin.metrics."""
    before = look(server)
    if once:
        time.sleep(interval_secs)
        console = Console(width=PLAIN_COLUMNS, no_color=True, highlight=False, emoji=False)
        console.print(frame(server.url, before, look(server)))
        return OK
    try:
        with Live(frame(server.url, None, before), screen=True, auto_refresh=False) as live:
            while True:
                time.sleep(interval_secs)
                try:
                    after = look(server)
                except (Unreachable, Refused) as error:
                    lost = Text(f"{error}; trying again", style="yellow")
                    live.update(Group(lost, frame(server.url, None, before)), refresh=True)
                else:
                    live.update(frame(server.url, before, after), refresh=True)
                    before = after
    except KeyboardInterrupt:
        return OK


def look(server: Server) -> Look:
    """How the server is now. Raises Unreachable and Refused."""
    page = server.get("/metrics")
    try:
        samples = read_samples(page)
    except ValueError:
        raise server.stranger() from None
    status, stats = _allowed(server, "replication.status"), _allowed(server, "admin.stats")
    return Look(time.monotonic(), samples, status, stats)


def frame(url: str, before: Look | None, now: Look) -> RenderableType:
    """One picture. Rates need the look before."""
    change = Difference(before, now)
    parts: list[RenderableType] = [_head(url, now), _resources(now, change)]
    rows = [
        [each.name, _rate(each.per_sec), _rate(each.failed_per_sec), _within(each.p99_secs)]
        for each in change.namespaces()
    ]
    parts.append(_table(["commands", "per second", "failed", "p99"], rows))
    parts += _data(now)
    return Group(*(part for part in parts if not isinstance(part, Table) or part.row_count))


def _head(url: str, now: Look) -> Text:
    """Who it is, and how it stands to others."""
    role = "master" if now.value("synap_replication_is_master") else "replica"
    server = (now.stats or {}).get("server", {})
    told = [f"Synap {server.get('version', '')}".rstrip() + f" at {url}", role]
    told.append(f"epoch {now.value('synap_replication_epoch'):.0f}, LSN {now.value('synap_journal_lsn'):.0f}")
    master = (now.status or {}).get("master")
    if master:
        behind = "" if master["lag_ms"] is None else f", {master['lag_ms']:.0f} ms behind"
        told.append(f"follows {master['address']} ({master['state']}{behind})")
    told.append(f"up {_duration(now.value('synap_uptime_seconds'))}")
    return Text("  ".join(told), style="bold")


def _resources(now: Look, change: Difference) -> Table:
    limit = (now.stats or {}).get("memory", {}).get("limit_bytes", 0)
    memory = f"{_size(now.value('synap_memory_bytes'))} of data" + (f" of {_size(limit)}" if limit else "")
    fsync = (now.stats or {}).get("journal", {}).get("fsync", "")
    mean_secs = change.mean("synap_journal_fsync_seconds_total", "synap_journal_fsyncs_total")
    connections = ", ".join(
        f"{count:.0f} {transport}"
        for (transport,), count in now.labelled("synap_connections_by_transport", "transport").items()
        if count
    )
    written = change.per_sec("synap_journal_written_bytes_total")
    journal = f"{_size(now.value('synap_journal_bytes'))}, {_size(written)}/s"
    if now.value("synap_journal_failing"):
        journal += ", TAKES NO WRITES"
    syncs = f"{change.per_sec('synap_journal_fsyncs_total'):.1f}/s of {mean_secs * 1000:.1f} ms"
    table = Table.grid(padding=(0, 2))
    resident = _size(now.value("process_resident_memory_bytes"))
    cpu = change.per_sec("process_cpu_seconds_total")
    table.add_row("memory", memory, f"{resident} resident, CPU {cpu:.0%}")
    table.add_row("journal", journal, f"fsync {fsync}: {syncs}" if fsync else f"fsync {syncs}")
    waiting = f"{now.value('synap_waiting_commands'):.0f} commands wait"
    slow = f"{now.value('synap_outbox_messages'):.0f} messages wait for slow clients"
    table.add_row("connections", connections or "none", f"{waiting}, {slow}")
    keys = f"{now.value('synap_keys'):,.0f}"
    table.add_row("keys", keys, f"pub/sub {_rate(change.per_sec('synap_pubsub_delivered_total'))} deliveries/s")
    return table


def _data(now: Look) -> Iterable[Table]:
    """The largest queues, rooms and lags, and all replicas."""
    depth = now.labelled("synap_queue_depth", "queue")
    in_flight = now.labelled("synap_queue_in_flight", "queue")
    ages = now.labelled("synap_queue_oldest_message_age_seconds", "queue")
    queues = sorted(depth, key=lambda name: -(depth[name] + in_flight.get(name, 0)))
    yield _table(
        ["queues", "ready", "in flight", "oldest"],
        [
            [name[0], f"{depth[name]:,.0f}", f"{in_flight.get(name, 0):,.0f}", _duration(ages.get(name, 0))]
            for name in queues
        ],
        hidden=now.value("synap_queues_not_shown"),
    )
    events = now.labelled("synap_room_events", "room")
    sizes, subscribers = now.labelled("synap_room_bytes", "room"), now.labelled("synap_room_subscribers", "room")
    rooms = sorted(events, key=lambda name: -events[name])
    yield _table(
        ["rooms", "events", "size", "subscribers"],
        [[n[0], f"{events[n]:,.0f}", _size(sizes.get(n, 0)), f"{subscribers.get(n, 0):,.0f}"] for n in rooms],
        hidden=now.value("synap_rooms_not_shown"),
    )
    lags = sorted(now.labelled("synap_group_lag", "room", "group").items(), key=lambda item: -item[1])
    yield _table(
        ["groups", "room", "lag"],
        [[group, room, f"{lag:,.0f}"] for (room, group), lag in lags],
        hidden=now.value("synap_groups_not_shown"),
    )
    replicas: list[dict[str, Any]] = (now.status or {}).get("replicas", [])
    yield _table(
        ["replicas", "address", "state", "behind", "changes"],
        [[r["id"], r["address"], r["state"], f"{r['lag_ms']:.0f} ms", f"{r['lag_ops']:,}"] for r in replicas],
    )


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]], hidden: float = 0) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), title_justify="left", header_style="cyan")
    for position, title in enumerate(titles):
        is_number = bool(rows) and position > 0 and rows[0][position][:1].isdigit()
        table.add_column(title, justify="right" if is_number else "left", no_wrap=True)
    for row in rows[:ROWS_MAX]:
        table.add_row(*(Text(_showable(cell)) for cell in row))
    more = len(rows[ROWS_MAX:]) + round(hidden)
    if more:
        table.add_row(Text(f"and {more:,} more", style="dim"))
    return table


def _allowed(server: Server, command: str) -> dict[str, Any] | None:
    """What a command answers; None for somebody who may not ask."""
    try:
        payload: dict[str, Any] = server.payload(command)
    except Refused as refused:
        if refused.failure.code in ("FORBIDDEN", "UNAUTHORIZED"):
            return None
        raise
    return payload


def _rate(per_sec: float) -> str:
    return f"{per_sec:,.0f}" if per_sec >= 10 or not per_sec else f"{per_sec:.1f}"


def _within(seconds: float) -> str:
    """A time that was not exceeded."""
    if math.isinf(seconds):
        return "over 16 s"
    return f"{seconds * 1e6:,.0f} µs" if seconds < 0.001 else f"{seconds * 1000:,.1f} ms"


def _duration(seconds: float) -> str:
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _size(count: float) -> str:
    power = min(int(math.log(count, 1024)), len(_UNITS) - 1) if count >= 1 else 0
    return f"{count:.0f} B" if not power else f"{count / 1024**power:.1f} {_UNITS[power]}iB"


def _showable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)
