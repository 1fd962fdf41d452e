"""Queues, streams and pub/sub beside brokers, each driven by its own tool: RabbitMQ by PerfTest, NATS by nats bench.

- A queue: of 50 connections some publish, and others consume and acknowledge at the same time. RabbitMQ's queue is
  durable, its messages persistent, publications confirmed, acknowledgements by hand; Synap has no other way. Either one
  message at a time, or a hundred unconfirmed and a prefetch of a hundred; for Synap batches of a hundred.
- A stream in a file: 50 connections publish and wait for each answer, or eight publish a hundred at a time. nats bench
  sends those asynchronously, as it does by default, and waits for a hundred answers; Synap gets stream.publish_batch.
- Pub/sub: one connection publishes as fast as it can to ten subscribers, or to a thousand; deliveries count. Synap's
  client has 20 messages on their way at a time, so that nobody drops any; nats bench just sends.

Synap runs on one CPU, the brokers on all. What Synap gets is HTTP and JSON, with pub/sub on WebSockets.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks import clients, load, report, servers
from benchmarks.clients.pubsub import MESSAGE_BYTES, FanOut
from benchmarks.clients.queues import Flow
from benchmarks.load import CONNECTIONS, LoadFailed, Meter, Sample, Workload
from benchmarks.report import Table
from benchmarks.rounds import Contender, Plan, disturbance, take_turns
from benchmarks.servers import Server

BATCH = 100
BATCH_CONNECTIONS = 8
PUBLISHERS, TAKERS = 17, 33
"""Connections to Synap's queue: taking a message needs two requests, publishing it one."""
BROKER_CONNECTIONS = 25
"""Of publishers to RabbitMQ's, and as many of consumers, who are pushed messages."""
BODY_BYTES = 100
SUBSCRIBERS = (10, 1_000)
FIRST_MESSAGES = 20_000
COLUMNS = ("messages per second", "Synap", "broker", "Synap is", "server CPU", "client busy", "broker's CPU")
PERF_TEST_MAIN = "com.rabbitmq.perf.PerfTest"

_RECEIVED = re.compile(r"receiving rate avg: (\d+) msg/s")
_PUBLISHED = re.compile(r"Pub stats: ([\d,]+) msgs/sec")
_DELIVERED = re.compile(r"Sub stats: ([\d,]+) msgs/sec")


@dataclass(frozen=True)
class Race:
    """Synap and a broker."""

    name: str
    broker: str
    ours: Contender
    theirs: Contender


class NatsBench:
    """nats bench with these options, for about as long as told, judging by the time before."""

    def __init__(self, server: Server, options: Sequence[str], pattern: re.Pattern[str], deliveries: int = 1) -> None:
        self._server = server
        self._options = options
        self._pattern = pattern
        self._deliveries = deliveries
        """Of each message."""
        self._messages = FIRST_MESSAGES // deliveries * 10

    def drive(self, seconds: float) -> Sample:
        """Load the server. Raises LoadFailed."""
        program = servers.nats_cli()
        assert program is not None
        address, count = f"nats://127.0.0.1:{self._server.port}", self._messages
        meter = Meter(self._server)
        output = load.run(
            [program, "-s", address, "bench", "bench", "--no-progress", f"--msgs={count}", *self._options]
        )
        elapsed_secs, server_secs, client_secs, others_secs = meter.read()
        found = self._pattern.search(output)
        if found is None:
            raise LoadFailed(f"nats bench printed no result: {output[-1000:]}")
        rate = float(found[1].replace(",", ""))
        self._messages = max(round(rate / self._deliveries * seconds), BATCH)
        cpu_us = server_secs / (count * self._deliveries) * 1e6
        return Sample(rate, cpu_us, client_secs / elapsed_secs, others_secs / elapsed_secs)


def run(plan: Plan) -> Table:
    """Measure."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="synap-bench-")))
        synap = stack.enter_context(servers.synap(directory / "synap"))
        races, notes = [], []
        if servers.has_rabbitmq():
            plan.say("brokers: starting RabbitMQ")
            races += _queues(synap, stack.enter_context(servers.rabbitmq(directory)))
        else:
            notes.append("skipped RabbitMQ: the server, Java or PerfTest is not installed")
        if servers.is_installed("nats-server") and servers.nats_cli() is not None:
            nats = stack.enter_context(servers.nats(directory))
            races += [*_streams(synap, nats), *_pubsub(synap, nats)]
        else:
            notes.append("skipped NATS: nats-server or nats (natscli) is not installed")
        contenders = [contender for race in races for contender in (race.ours, race.theirs)]
        take_turns("brokers", contenders, plan, plan.short_round_secs)
        load.check_errors(synap)
    notes.append(
        "server CPU: per message, for a queue per one taken, for pub/sub per delivery; client busy: Synap's client"
    )
    if contenders:
        notes.append(disturbance([sample.others_cpus for c in contenders for sample in c.samples], "round"))
    return Table("Beside brokers", COLUMNS, [_row(race) for race in races], tuple(notes))


def _queues(synap: Server, rabbitmq: Server) -> list[Race]:
    return [
        Race(
            f"queue, {name}",
            "RabbitMQ",
            Contender(f"Synap, queue, {name}", partial(_flow, synap, batch)),
            Contender(f"RabbitMQ, {name}", partial(_perf_test, rabbitmq, batch)),
        )
        for name, batch in (("one at a time", 1), (f"{BATCH} at a time", BATCH))
    ]


def _flow(synap: Server, batch: int, seconds: int) -> Sample:
    job = Flow(synap.pid, synap.port, seconds, PUBLISHERS, TAKERS, batch)
    return clients.run("queues", job, dict[str, Sample])["flow"]


def _perf_test(rabbitmq: Server, batch: int, seconds: int) -> Sample:
    queue = f"--queue=bench-{batch}"
    shape = [f"--producers={BROKER_CONNECTIONS}", f"--consumers={BROKER_CONNECTIONS}", f"--size={BODY_BYTES}", queue]
    safety = ["--flag=persistent", "--auto-delete=false", f"--confirm={batch}", f"--qos={batch}"]
    if batch > 1:
        safety.append(f"--multi-ack-every={batch}")
    address = f"--uri=amqp://127.0.0.1:{rabbitmq.port}"
    java = ["java", "-cp", f"{servers.PERF_TEST}/*", PERF_TEST_MAIN]
    meter = Meter(rabbitmq)
    output = load.run([*java, address, *shape, *safety, f"--time={seconds}"])
    elapsed_secs, server_secs, client_secs, others_secs = meter.read()
    found = _RECEIVED.search(output)
    if found is None or not int(found[1]):
        raise LoadFailed(f"PerfTest printed no result: {output[-1000:]}")
    rate = float(found[1])
    cpu_us = server_secs / (rate * seconds) * 1e6
    return Sample(rate, cpu_us, client_secs / elapsed_secs, others_secs / elapsed_secs)


def _streams(synap: Server, nats: Server) -> list[Race]:
    event = {"event_type": "e", "data": BODY_BYTES * "x"}
    single = _command("stream.publish", {"room": "one", **event})
    several = _command("stream.publish_batch", {"room": "several", "events": [event] * BATCH})
    common = ("--js", "--purge", f"--size={BODY_BYTES}")
    one_by_one = NatsBench(nats, (*common, "--syncpub", f"--pub={CONNECTIONS}"), _PUBLISHED)
    together = NatsBench(nats, (*common, f"--pubbatch={BATCH}", f"--pub={BATCH_CONNECTIONS}"), _PUBLISHED)
    return [
        _race("stream, one at a time", _wrk(synap, Workload("template", template=single)), one_by_one),
        _race(
            f"stream, {BATCH} at a time",
            _wrk(synap, Workload("template", BATCH, connections=BATCH_CONNECTIONS, template=several)),
            together,
        ),
    ]


def _pubsub(synap: Server, nats: Server) -> list[Race]:
    races = []
    for count in SUBSCRIBERS:
        benchmark = NatsBench(nats, ("--pub=1", f"--sub={count}", f"--size={MESSAGE_BYTES}"), _DELIVERED, count)
        races.append(_race(f"pub/sub, deliveries to {count:,}", partial(_fan_out, synap, count), benchmark))
    return races


def _race(name: str, drive: Callable[[int], Sample], benchmark: NatsBench) -> Race:
    return Race(name, "NATS", Contender(f"Synap, {name}", drive), Contender(f"NATS, {name}", benchmark.drive))


def _command(name: str, payload: dict[str, object]) -> str:
    return json.dumps({"command": name, "payload": payload}, separators=(",", ":"))


def _wrk(synap: Server, workload: Workload) -> Callable[[int], Sample]:
    return lambda seconds: load.wrk(workload, seconds, synap)


def _fan_out(synap: Server, subscribers: int, seconds: int) -> Sample:
    return clients.run("pubsub", FanOut(synap.pid, synap.port, subscribers, seconds), Sample)


def _row(race: Race) -> tuple[str, ...]:
    ours, theirs = race.ours, race.theirs
    return (
        race.name,
        report.count(median(ours.rates)),
        f"{race.broker} {report.count(median(theirs.rates))}",
        f"{ours.times(theirs):.2f}x",
        f"{ours.server_cpu_us:.1f} us",
        f"{ours.client_busy:.0%}",
        f"{theirs.server_cpu_us:.1f} us",
    )
