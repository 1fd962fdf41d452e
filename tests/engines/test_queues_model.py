"""Queues against a naive twin that lives through every millisecond and looks at every message in each."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from synap.engines import queue_duplicates, queue_ledger
from synap.engines.arrivals import Arrivals
from synap.engines.queue_config import QueueConfig, RetryPolicy
from synap.engines.queues import Queue, Queues

NOW = 1_000_000
DEDUP_WINDOW_MS = 30
NAMES = ["a", "b"]
CONFIGS = [
    QueueConfig(),
    QueueConfig(max_retries=1, retry=RetryPolicy(strategy="fixed", initial_secs=0.004)),
    QueueConfig(max_retries=2, retry=RetryPolicy(initial_secs=0.003, max_secs=0.01), message_ttl_secs=0.02),
    QueueConfig(max_retries=0, retry=RetryPolicy(strategy="linear", initial_secs=0.002), max_depth=3),
    QueueConfig(max_retries=1, dead_letter=False, message_ttl_secs=0.015),
]
HOLDERS = [None, "ann", "bob"]


@dataclass
class Item:
    seq: int
    priority: int
    published_at: int
    expires_at: int | None
    state: str = "ready"
    due: int | None = None
    holder: str | None = None
    deliveries: int = 0
    headers: dict[str, Any] = field(default_factory=dict)


class TwinQueue:
    def __init__(self, config: QueueConfig) -> None:
        self.config = config
        self.last_seq = 0
        self.items: list[Item] = []
        self.dead: list[Item] = []
        self.dedup: dict[str, tuple[int, int]] = {}
        self.totals = dict.fromkeys(["published", "consumed", "acked", "nacked", "dead_lettered"], 0)

    def of(self, *states: str) -> list[Item]:
        return [item for item in self.items if item.state in states]

    def in_order(self) -> list[Item]:
        return sorted(self.of("ready"), key=lambda item: (-item.priority, item.seq))

    def add(self, priority: int, now: int, delay: int, ttl: int | None, headers: dict[str, Any]) -> Item:
        ttl = self.config.message_ttl_ms if ttl is None else ttl
        self.last_seq += 1
        item = Item(self.last_seq, priority, now, None if ttl is None else now + delay + ttl, headers=headers)
        self.items.append(item)
        self.rest(item, now + delay, now)
        return item

    def rest(self, item: Item, until: int, now: int) -> None:
        item.state, item.due, item.holder = ("delayed", until, None) if until > now else ("ready", None, None)

    def die(self, item: Item, reason: str, now: int) -> str:
        self.items.remove(item)
        item.state, item.due, item.holder = "dead", None, None
        if not self.config.dead_letter:
            return "dropped"
        for name, value in (("x-death-reason", reason), ("x-death-at", now)):
            item.headers.pop(name, None)
            item.headers[name] = value
        self.dead.append(item)
        self.totals["dead_lettered"] += 1
        return "dead_lettered"

    def fail(self, item: Item, now: int, delay: int | None) -> str:
        if item.expires_at is not None and item.expires_at <= now:
            return self.die(item, "expired", now)
        if self.config.max_retries and item.deliveries > self.config.max_retries:
            return self.die(item, "delivery_limit", now)
        delay = self.config.retry.delay_ms(item.deliveries) if delay is None else delay
        self.rest(item, now + delay, now)
        return "requeued"

    def live_through(self, now: int) -> None:
        """One millisecond; whatever happens in it happens in the order the messages were published in."""
        for item in list(self.items):
            if item.state == "leased" and item.due == now:
                self.fail(item, now, None)
            elif item.state != "leased" and item.expires_at == now:
                self.die(item, "expired", now)
            elif item.state == "delayed" and item.due == now:
                self.rest(item, now, now)
        self.dedup = {key: entry for key, entry in self.dedup.items() if entry[1] > now}


class AgainstTwin(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.limits = (queue_duplicates.DEDUP_WINDOW_MS, queue_ledger.STALE_MOMENT_SLACK, queue_ledger.MANY_MOMENTS)
        queue_duplicates.DEDUP_WINDOW_MS = DEDUP_WINDOW_MS
        queue_ledger.STALE_MOMENT_SLACK = queue_ledger.MANY_MOMENTS = 3
        self.now = NOW
        self.queues = Queues(Arrivals())
        self.twins: dict[str, TwinQueue] = {}

    def find(self, name: str, config: int = 0) -> tuple[Queue, TwinQueue]:
        queue = self.queues.find(name, self.now)
        assert (queue is not None) == (name in self.twins)
        if queue is None:
            queue = self.queues.create(name, CONFIGS[config])
            self.twins[name] = TwinQueue(CONFIGS[config])
        compare(queue, self.twins[name])
        return queue, self.twins[name]

    @rule(name=st.sampled_from(NAMES), config=st.integers(0, len(CONFIGS) - 1))
    def configure(self, name: str, config: int) -> None:
        queue, twin = self.find(name, config)
        queue.config = twin.config = CONFIGS[config]

    @rule(
        name=st.sampled_from(NAMES),
        priority=st.integers(4, 6),
        delay=st.sampled_from([0, 0, 3, 10]),
        ttl=st.none() | st.integers(1, 20),
        dedup_id=st.none() | st.sampled_from(["x", "y"]),
    )
    def publish(self, name: str, priority: int, delay: int, ttl: int | None, dedup_id: str | None) -> None:
        queue, twin = self.find(name)
        if dedup_id is not None:
            entry = twin.dedup.get(dedup_id)
            expected = None if entry is None else (f"msg_{queue.serial:x}_{entry[0]:x}", entry[0])
            assert queue.duplicate_of(dedup_id, self.now) == expected
            if entry is not None:
                return
        waiting = len(twin.of("ready", "delayed"))
        assert queue.room == (None if twin.config.max_depth is None else max(twin.config.max_depth - waiting, 0))
        if queue.room == 0:
            return
        item = twin.add(priority, self.now, delay, ttl, {"n": twin.last_seq + 1})
        twin.totals["published"] += 1
        message = queue.publish(
            b"%d" % item.seq,
            is_json=True,
            priority=priority,
            headers=json.dumps(item.headers).encode(),
            now=self.now,
            delay_ms=delay,
            ttl_ms=ttl,
            dedup_id=dedup_id,
        )
        assert message.seq == item.seq
        if dedup_id is not None:
            twin.dedup[dedup_id] = (item.seq, self.now + DEDUP_WINDOW_MS)

    @rule(name=st.sampled_from(NAMES), priorities=st.lists(st.integers(4, 6), min_size=2, max_size=5))
    def publish_several(self, name: str, priorities: list[int]) -> None:
        for priority in priorities:
            self.publish(name, priority, 0, None, None)

    @rule(
        name=st.sampled_from(NAMES),
        count=st.integers(1, 5),
        hold=st.integers(1, 15),
        holder=st.sampled_from(HOLDERS),
    )
    def lease(self, name: str, count: int, hold: int, holder: str | None) -> None:
        queue, twin = self.find(name)
        expected = twin.in_order()[:count]
        leased = queue.lease(count, self.now + hold, holder)
        assert [message.seq for message in leased] == [item.seq for item in expected]
        for item in expected:
            item.state, item.due, item.holder = "leased", self.now + hold, holder
            item.deliveries += 1
        twin.totals["consumed"] += len(expected)

    @rule(
        name=st.sampled_from(NAMES),
        pick=st.integers(0, 9),
        what=st.sampled_from(["ack", "extend", "give_back", "reject"]),
        hold=st.integers(1, 15),
        delay=st.none() | st.sampled_from([0, 5]),
    )
    def settle(self, name: str, pick: int, what: str, hold: int, delay: int | None) -> None:
        queue, twin = self.find(name)
        leased = twin.of("leased")
        if not leased:
            return
        item = leased[pick % len(leased)]
        message = queue.leased(f"msg_{queue.serial:x}_{item.seq:x}")
        assert message is not None
        if what == "ack":
            queue.ack(message)
            twin.items.remove(item)
            twin.totals["acked"] += 1
        elif what == "extend":
            queue.extend(message, self.now + hold)
            item.due = self.now + hold
        elif what == "give_back":
            assert queue.give_back(message, self.now, delay) == twin.fail(item, self.now, delay)
            twin.totals["nacked"] += 1
        else:
            assert queue.reject(message, self.now) == twin.die(item, "rejected", self.now)
            twin.totals["nacked"] += 1

    @rule(name=st.sampled_from(NAMES), holder=st.sampled_from(HOLDERS[1:]))
    def release(self, name: str, holder: str) -> None:
        queue, twin = self.find(name)
        held = [item for item in twin.of("leased") if item.holder == holder]
        assert queue.release(holder, self.now) == len(held)
        for item in held:
            twin.fail(item, self.now, 0)

    @rule(name=st.sampled_from(NAMES), pick=st.integers(0, 9))
    def replay(self, name: str, pick: int) -> None:
        queue, twin = self.find(name)
        if twin.dead:
            dead = twin.dead.pop(pick % len(twin.dead))
            letter = queue.dead_letter(f"msg_{queue.serial:x}_{dead.seq:x}")
            assert letter is not None
            item = twin.add(dead.priority, self.now, 0, None, dead.headers)
            assert queue.replay(letter, self.now).seq == item.seq

    @rule(name=st.sampled_from(NAMES))
    def purge(self, name: str) -> None:
        queue, twin = self.find(name)
        assert queue.purge() == len(twin.of("ready", "delayed"))
        twin.items = twin.of("leased")

    @rule(name=st.sampled_from(NAMES))
    def purge_dead(self, name: str) -> None:
        queue, twin = self.find(name)
        assert queue.purge_dead() == len(twin.dead)
        twin.dead.clear()

    @rule(name=st.sampled_from(NAMES))
    def remove(self, name: str) -> None:
        self.find(name)
        self.queues.remove(name)
        del self.twins[name]

    @rule(step=st.integers(1, 25))
    def let_time_pass(self, step: int) -> None:
        for _ in range(step):
            self.now += 1
            for twin in self.twins.values():
                twin.live_through(self.now)

    @rule(limit=st.none() | st.integers(0, 3))
    def advance(self, limit: int | None) -> None:
        next_due = self.queues.next_due
        changes = self.queues.advance(self.now, limit)
        assert limit is None or changes <= limit
        assert changes == 0 or next_due <= self.now
        assert self.queues.next_due > self.now or changes == limit

    @rule()
    def reload(self) -> None:
        before = list(self.queues.canonical(self.now))
        loaded = Queues(Arrivals())
        for rows in self.queues.dump(3):
            loaded.load(msgspec.msgpack.decode(msgspec.msgpack.encode(rows)))
        assert list(loaded.canonical(self.now)) == before
        self.queues = loaded

    @rule()
    def compare(self) -> None:
        assert self.queues.names() == sorted(self.twins)
        for name in self.twins:
            self.find(name)

    @invariant()
    def is_never_due_before_the_twin_changes(self) -> None:
        moments = [at for twin in self.twins.values() for item in twin.items for at in (item.due,) if at]
        assert all(self.queues.next_due <= at for at in moments)

    def teardown(self) -> None:
        self.compare()
        for name in list(self.twins):
            self.queues.remove(name)
        assert self.queues.used_bytes == Queues(Arrivals()).used_bytes
        queue_duplicates.DEDUP_WINDOW_MS, queue_ledger.STALE_MOMENT_SLACK, queue_ledger.MANY_MOMENTS = self.limits


def compare(queue: Queue, twin: TwinQueue) -> None:
    """What can be seen of a queue must be what the twin has."""
    in_order = twin.in_order()
    assert [message.seq for message in queue.peek(len(in_order) + 1)] == [item.seq for item in in_order]
    assert [queue.position(item.seq) for item in in_order] == list(range(1, len(in_order) + 1))
    assert all(queue.position(item.seq) is None for item in twin.of("delayed", "leased") + twin.dead)
    assert queue.oldest_ready_at() == min((item.published_at for item in in_order), default=None)
    assert (queue.depth, queue.delayed) == (len(in_order), len(twin.of("delayed")))
    leased = twin.of("leased")
    assert queue.in_flight == len(leased)
    assert set(queue.holders()) == {item.holder for item in leased} - {None}
    for holder in HOLDERS[1:]:
        assert holder is not None
        assert queue.in_flight_of(holder) == sum(item.holder == holder for item in leased)
    assert {name: getattr(queue, f"{name}_total") for name in twin.totals} == twin.totals
    assert queue.dlq_depth == len(twin.dead)
    rows = [row for row, _ in queue.rows()]
    messages = [row[2:] for row in rows if row[0] == "message"]
    assert messages == [shown(item) for item in twin.items + twin.dead]
    dedup = [row[2:] for row in rows if row[0] == "dedup"]
    assert dedup == [(key, *entry) for key, entry in twin.dedup.items()]
    assert [dead.seq for dead in queue.dead_letters(2)] == [item.seq for item in twin.dead[:2]]


def shown(item: Item) -> tuple[Any, ...]:
    """The twin's message as a queue dumps its own; headers that nobody died with are as they were written."""
    headers = json.dumps(item.headers, separators=(",", ":")).encode()
    if len(item.headers) == 1:
        headers = json.dumps(item.headers).encode()
    elif headers.startswith(b'{"n":'):
        headers = headers.replace(b'{"n":', b'{"n": ')
    body = b"%d" % item.headers["n"]
    numbers = (item.published_at, item.expires_at, item.deliveries)
    return (item.seq, item.priority, body, True, headers, *numbers, item.state, item.due, item.holder)


TestAgainstTwin = AgainstTwin.TestCase
TestAgainstTwin.settings = settings(max_examples=300, stateful_step_count=50, deadline=None)
