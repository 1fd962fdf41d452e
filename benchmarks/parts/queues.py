"""Messages per second through a queue, at a thousand and at a million waiting, beside beanstalkd.

50 connections publish, then consume, then acknowledge the same number of messages of 100 bytes, so that the queue
keeps its length; then they ask for its figures. In batches of 100, Synap gets one request (a batch, `max_messages`,
`message_ids`), beanstalkd gets 100 operations one behind the other. There is no tool for beanstalkd, so the clients are
alike: clients/queues.py. Every publication tells Synap's consumers-to-be its position, which the other does not work
out. Both keep messages in files. RabbitMQ: see `brokers`.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from benchmarks import clients, report, servers
from benchmarks.clients.queues import Job
from benchmarks.load import Sample, check_errors
from benchmarks.report import Table
from benchmarks.rounds import CLIENT_IS_LIMIT, Contender, Plan, disturbance
from benchmarks.servers import Server

SMALL = 1_000
BATCH = 100
FILL_BATCH, FILL_CONNECTIONS = 500, 2
PHASES = ["publish", "consume", "ack", "stats"]
# Tenths of a second a phase, which keeps the part at about a minute. What is consumed waits for its acknowledgement
# until the phase is over; beanstalkd looks through all of a connection's for each, so many more would wrong it.
MESSAGES = {1: 15_000, BATCH: 30_000}
COLUMNS = ("operation", "server", "at 1,000", "at {n}", "kept", "Synap is", "server CPU", "client busy")
SYNAP = "Synap"

Key = tuple[str, int, int, str]
"""Server, messages waiting, batch, phase."""


def run(plan: Plan) -> Table:
    """Measure."""
    found: dict[Key, Contender] = {}
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="synap-bench-")))
        targets = {}
        is_alone = not servers.is_installed("beanstalkd")
        names = [SYNAP] if is_alone else [SYNAP, "beanstalkd"]
        notes = ["skipped beanstalkd: it is not installed"] if is_alone else []
        for size in (SMALL, plan.keys):
            home = directory / str(size)
            home.mkdir()
            for name in names:
                plan.say(f"queues: filling {name} with {size:,}")
                targets[name, size] = _start(stack, name, home, size)
        for batch in (1, BATCH):
            for number in range(plan.rounds + 1):
                for (name, size), server in targets.items():
                    plan.say(f"queues: batches of {batch}, round {number} of {plan.rounds}, {name} at {size:,}")
                    for phase, sample in _drive(name, server, batch).items():
                        contender = found.setdefault((name, size, batch, phase), Contender(name, _not_driven))
                        if number:  # the first one warms up
                            contender.samples.append(sample)
        for size in (SMALL, plan.keys):
            check_errors(targets[SYNAP, size])
    rows = [_row(found, phase, batch, name, plan.keys) for batch, phase in _operations() for name in names]
    columns = tuple(column.format(n=f"{plan.keys:,}") for column in COLUMNS)
    return Table("Messages per second through a queue", columns, rows, (*notes, *_notes(list(found.values()))))


def _start(stack: ExitStack, name: str, home: Path, size: int) -> Server:
    """A server with `size` messages in its queue."""
    server = stack.enter_context(servers.synap(home / "synap") if name == SYNAP else servers.beanstalkd(home))
    job = Job(name.lower(), server.pid, server.port, size, ["publish"], FILL_CONNECTIONS, min(FILL_BATCH, size // 2))
    clients.run("queues", job, dict[str, Sample])
    return server


def _drive(name: str, server: Server, batch: int) -> dict[str, Sample]:
    phases = PHASES if batch == 1 else PHASES[:-1]
    job = Job(name.lower(), server.pid, server.port, MESSAGES[batch], phases, batch=batch)
    return clients.run("queues", job, dict[str, Sample])


def _operations() -> list[tuple[int, str]]:
    return [*((1, phase) for phase in PHASES), *((BATCH, phase) for phase in PHASES[:-1])]


def _row(found: dict[Key, Contender], phase: str, batch: int, name: str, size: int) -> tuple[str, ...]:
    small, large = (found[name, waiting, batch, phase] for waiting in (SMALL, size))
    ours = found[SYNAP, size, batch, phase]
    operation = phase if batch == 1 else f"{phase}, {batch} at a time"
    rates = (report.count(median(contender.rates)) for contender in (small, large))
    times = "" if name == SYNAP else f"{ours.times(large):.2f}x"
    return (
        operation,
        name,
        *rates,
        f"{large.times(small):.0%}",
        times,
        f"{large.server_cpu_us:.1f} us",
        f"{large.client_busy:.0%}",
    )


def _notes(contenders: list[Contender]) -> tuple[str, ...]:
    limited = sum(contender.client_busy >= CLIENT_IS_LIMIT for contender in contenders)
    return (
        f"in {limited} of {len(contenders)} measurements the client was the limit: go by the CPU time of the server",
        "Synap is: how many times that server's rate Synap reaches with the long queue; server CPU there, per message",
        disturbance([sample.others_cpus for c in contenders for sample in c.samples], "stretch"),
    )


def _not_driven(seconds: int) -> Sample:
    raise NotImplementedError("one run of the client brings the samples of all its phases")
