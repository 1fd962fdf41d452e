"""Queues of messages that are leased to consumers until they acknowledge them.

A message is in one state at a time:

    publish ─▶ delayed ─▶ ready ─▶ leased ─▶ acknowledged and gone
                  ▲         ▲         │
                  └─────────┴─ failed ┴─▶ dead

1. Ready messages come by priority (9 first), then by sequence number; one that is taken back finds its old place.
2. A delivery fails when its lease runs out (at the deadline itself), when it is given back, or when its holder goes.
   The message rests as the retry policy says and comes again, until it has failed more than `max_retries` times.
3. A message whose time to live is over dies as soon as it is not leased; that goes before the limit of deliveries.
4. Dead messages are kept apart, in order of death, or dropped where the queue keeps none.
5. What time changes in a queue happens in `Queue.come_to`, in the order of its time, as of the moment it was due:
   however often it is called on the way to `now`, the result is the same. `find` calls it for one, `advance` for all.

Costs: an operation on a message O(log n); removing a queue O(holders), the bin frees its messages; purging is O(n) only
while messages are in flight. n are the messages of the queue.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Iterator, KeysView
from itertools import chain, islice
from typing import Any, Literal

import msgspec

from synap.clock import Millis
from synap.engines.arrivals import Arrivals
from synap.engines.bin import Bin
from synap.engines.chunks import chunked
from synap.engines.collection import text_bytes
from synap.engines.queue_config import QueueConfig
from synap.engines.queue_duplicates import Duplicates, remembered_until
from synap.engines.queue_holders import Holders
from synap.engines.queue_ledger import Agenda, Ledger, Moment
from synap.engines.queue_lines import Lines
from synap.engines.queue_message import NO_HEADERS, Message, Reason, Stage, with_death

Outcome = Literal["requeued", "dead_lettered", "dropped"]

# Measured on CPython 3.11: what each takes beside texts and the content of messages.
_DEAD_BYTES = 115
_QUEUE_BYTES = 1_000

_COUNTERS = ("published_total", "consumed_total", "acked_total", "nacked_total", "dead_lettered_total")
# In the place of a sequence number: the oldest entry that recognises duplicates is to be forgotten.
_DEDUP = 0

Row = tuple[Any, ...]


class Queues:
    """All queues of one server."""

    def __init__(self, arrivals: Arrivals, waste: Bin | None = None) -> None:
        self._arrivals = arrivals
        self._bin = Bin() if waste is None else waste
        self.clear()

    @property
    def next_due(self) -> float:
        """No message changes by time before this; one may then."""
        return self._ledger.next_due

    @property
    def used_bytes(self) -> int:
        """Estimated memory of all queues."""
        return self._ledger.used_bytes

    def find(self, name: str, now: Millis) -> Queue | None:
        """The queue as it is at `now`; None when there is none."""
        queue = self._queues.get(name)
        if queue is not None and queue.agenda.next_due <= now:
            queue.come_to(now)
        return queue

    def create(self, name: str, config: QueueConfig) -> Queue:
        """A new queue under a name that is free."""
        self._last_serial += 1
        return self._insert(name, self._last_serial, config)

    def remove(self, name: str) -> None:
        """Drop a queue that is there, with all it holds."""
        queue = self._queues.pop(name)
        del self._by_serial[queue.serial]
        queue.close()

    def __len__(self) -> int:
        """How many queues there are."""
        return len(self._queues)

    def names(self) -> list[str]:
        """The names of all queues, sorted."""
        return sorted(self._queues)

    def advance(self, now: Millis, limit: int | None = None) -> int:
        """Let happen up to `limit` (default all) changes that time brings until `now`; returns how many."""
        changes = 0
        while self._ledger.next_due <= now and (limit is None or changes < limit):
            serial = self._ledger.next_turn()
            if serial is not None:
                queue = self._by_serial[serial]
                changes += queue.come_to(now, None if limit is None else limit - changes)
        return changes

    def clear(self) -> None:
        """Forget everything: as before the first record. A queue that somebody still has is in no books any more."""
        self._queues: dict[str, Queue] = {}
        self._by_serial: dict[int, Queue] = {}
        self._last_serial = 0
        self._ledger = Ledger(self._arrivals, self._bin)

    def dump(self, chunk_rows: int) -> Iterator[list[Any]]:
        """The content in chunks of up to `chunk_rows` rows; one ends early when its messages are large."""
        return chunked(self._rows(), chunk_rows)

    def load(self, rows: list[Any]) -> None:
        """Add the rows of one chunk of `dump`."""
        for kind, *row in rows:
            if kind == "serial":
                (self._last_serial,) = row
            elif kind == "queue":
                serial, name, config, last_seq, counters = row
                self._insert(name, serial, msgspec.convert(config, QueueConfig)).restore(last_seq, counters)
            elif kind == "message":
                serial, *fields = row
                self._by_serial[serial].restore_message(Message(*fields))
            elif kind == "dedup":
                serial, dedup_id, seq, until = row
                self._by_serial[serial].remember(dedup_id, seq, until)
            else:
                raise LookupError(f"this version knows no rows of kind {kind!r}")

    def canonical(self, now: Millis) -> Iterator[Any]:
        """The content at `now` as data: equal histories give equal sequences."""
        self.advance(now)
        for row, _ in self._rows():
            yield row

    def _rows(self) -> Iterator[tuple[Row, int]]:
        """Rows of a dump, and about how much memory each takes."""
        yield ("serial", self._last_serial), 0
        for name in self.names():
            yield from self._queues[name].rows()

    def _insert(self, name: str, serial: int, config: QueueConfig) -> Queue:
        queue = Queue(name, serial, config, self._ledger)
        self._queues[name] = self._by_serial[serial] = queue
        return queue


class Queue:
    """One queue as of the time it was found at."""

    def __init__(self, name: str, serial: int, config: QueueConfig, ledger: Ledger) -> None:
        self.name = name
        self.serial = serial
        """No other queue has it, not even one of the same name after this one is gone."""
        self.config = config
        """To be replaced as a whole; what has happened by then stays."""
        self.depth = 0
        """How many messages are ready."""
        self.delayed = 0
        self.in_flight = 0
        self.published_total = 0
        """Without those replayed."""
        self.consumed_total = 0
        self.acked_total = 0
        self.nacked_total = 0
        self.dead_lettered_total = 0
        self._last_seq = 0
        self._messages: dict[int, Message] = {}
        """All but the dead, by sequence number and in that order."""
        self._message_bytes = 0
        """What they take; part of what the ledger counts, as `_dead_bytes` is."""
        self._dead_bytes = 0
        self._ready = Lines(ledger)
        self._dead: OrderedDict[int, Message] = OrderedDict()
        self._duplicates = Duplicates(ledger)
        self._holders = Holders(name, ledger)
        self._ledger = ledger
        self.agenda = Agenda(serial, ledger, self._is_live)
        self._id_prefix = f"msg_{serial:x}_"
        self._topic = Queue, name
        ledger.content_bytes += self._own_bytes

    # Publishing

    @property
    def room(self) -> int | None:
        """How many more messages it takes; None when there is no limit. Those that come back are always taken."""
        max_depth = self.config.max_depth
        return None if max_depth is None else max(max_depth - self.depth - self.delayed, 0)

    def message_id(self, message: Message) -> str:
        """What clients call the message."""
        return f"{self._id_prefix}{message.seq:x}"

    def duplicate_of(self, dedup_id: str, now: Millis) -> tuple[str, int] | None:
        """Message id and sequence number of what was published with the `dedup_id` in the last five minutes."""
        seq = self._duplicates.find(dedup_id, now)
        return None if seq is None else (f"{self._id_prefix}{seq:x}", seq)

    def publish(
        self,
        body: bytes,
        *,
        is_json: bool,
        priority: int,
        headers: bytes,
        now: Millis,
        delay_ms: Millis = 0,
        ttl_ms: Millis | None = None,
        dedup_id: str | None = None,
    ) -> Message:
        """Add a message that lives for `ttl_ms` (at least 1; default the queue's) once its delay is over.

        The queue must have room, and the `dedup_id` must not be that of a duplicate.
        """
        ready_at = now + delay_ms
        message = self._add(body, is_json, priority, headers, now, self._expiry(ready_at, ttl_ms))
        if delay_ms:
            self._enter(message, "delayed", ready_at)
        else:
            self._enter(message, "ready")
        self.published_total += 1
        if dedup_id is not None:
            self.remember(dedup_id, message.seq, remembered_until(now))
        return message

    # Looking at what is ready

    def position(self, seq: int) -> int | None:
        """When it is this message's turn: 1 is the next to be leased; None unless it is ready."""
        message = self._messages.get(seq)
        return None if message is None else self.place(message)

    def place(self, message: Message) -> int | None:
        """The same for a message that is at hand."""
        return self._ready.place(message.priority, message.seq) if message.state == "ready" else None

    def peek(self, count: int) -> list[Message]:
        """The next `count` messages to be leased."""
        return [self._messages[seq] for seq in islice(self._ready, count)]

    def oldest_ready_at(self) -> Millis | None:
        """When the oldest ready message was published; None when none is ready."""
        oldest = self._ready.oldest()
        return None if oldest is None else self._messages[oldest].published_at

    def purge(self) -> int:
        """Drop what is ready or delayed; returns how many messages."""
        count = self.depth + self.delayed
        leased: dict[int, Message] = {}
        if self.in_flight:
            leased = {seq: message for seq, message in self._messages.items() if message.state == "leased"}
        self._throw_messages()
        self._messages, self._message_bytes = leased, sum(message.used_bytes for message in leased.values())
        self._ledger.content_bytes += self._message_bytes
        self.depth = self.delayed = 0
        self.agenda.unschedule(self.agenda.live - self.in_flight - (self._duplicates.next_due is not None))
        return count

    # Delivering

    def lease(self, count: int, deadline: Millis, holder: str | None) -> list[Message]:
        """Hand out up to `count` messages until `deadline`, which is ahead."""
        leased = [self._messages[seq] for seq in self._ready.take(count)]
        for message in leased:
            if message.expires_at is not None:
                self.agenda.unschedule()
            message.deliveries += 1
            message.holder = holder
            self._enter(message, "leased", deadline)
        self.depth -= len(leased)
        self.consumed_total += len(leased)
        return leased

    def leased(self, message_id: str, delivery: int | None = None) -> Message | None:
        """The message with this id if it is in flight, by that delivery where one is named."""
        message = self._named(message_id, self._messages)
        if message is None or message.state != "leased" or delivery not in (None, message.deliveries):
            return None
        return message

    def in_flight_of(self, holder: str) -> int:
        """How many messages a holder has in flight."""
        return self._holders.count(holder)

    def holders(self) -> KeysView[str]:
        """Those who have messages in flight. O(1)."""
        return self._holders.names()

    def ack(self, message: Message) -> None:
        """A leased message is done with."""
        self._end_lease(message)
        self._forget(message)
        self.acked_total += 1

    def extend(self, message: Message, deadline: Millis) -> None:
        """Let the lease of a leased message run until `deadline`, which is ahead."""
        self.agenda.unschedule()
        message.due = deadline
        self.agenda.schedule(deadline, message.seq)

    def give_back(self, message: Message, now: Millis, delay_ms: Millis | None) -> Outcome:
        """The delivery of a leased message has failed; it rests for `delay_ms`, None: as the retry policy says."""
        self.nacked_total += 1
        return self._fail(message, now, delay_ms)

    def reject(self, message: Message, now: Millis) -> Outcome:
        """A leased message is not to be delivered again."""
        self.nacked_total += 1
        self._leave(message)
        return self._die(message, "rejected", now)

    def release(self, holder: str, now: Millis) -> int:
        """The deliveries to a holder have failed, and what it has in flight comes again at once; returns how many."""
        seqs = self._holders.held_by(holder)
        self._ready.gather()
        for seq in seqs:
            self._fail(self._messages[seq], now, 0)
        self._ready.line_up()
        return len(seqs)

    # Dead letters

    @property
    def dlq_depth(self) -> int:
        """How many dead letters are kept."""
        return len(self._dead)

    def dead_letters(self, count: int) -> list[Message]:
        """The `count` dead letters that died first."""
        return list(islice(self._dead.values(), count))

    def dead_letter(self, message_id: str) -> Message | None:
        """The dead letter with this id."""
        return self._named(message_id, self._dead)

    def replay(self, dead: Message, now: Millis) -> Message:
        """Publish a dead letter anew, with the headers that tell of its death; it is none any longer."""
        self._forget_dead(dead)
        expires_at = self._expiry(now)
        replayed = self._add(dead.body, dead.is_json, dead.priority, dead.headers, now, expires_at)
        self._enter(replayed, "ready")
        return replayed

    def replay_all(self, now: Millis) -> int:
        """`replay` all dead letters, those that died first first; returns how many."""
        count, first = len(self._dead), self._last_seq + 1
        replayed = list(self._dead.values())
        expires_at = self._expiry(now)
        self._ready.gather()
        for seq, message in enumerate(replayed, first):
            message.seq, message.state, message.deliveries = seq, "ready", 0
            message.published_at, message.expires_at = now, expires_at
            self._ready.add(message.priority, seq)
        self._ready.line_up()
        self._messages.update(zip(range(first, first + count), replayed, strict=True))
        self._message_bytes += self._dead_bytes - _DEAD_BYTES * count
        self._ledger.content_bytes -= _DEAD_BYTES * count
        self._dead, self._dead_bytes = OrderedDict(), 0
        self._last_seq += count
        self.depth += count
        if expires_at is not None:
            for seq in range(first, first + count):
                self.agenda.schedule(expires_at, seq)
        if count:
            self._ledger.note(self._topic)
        return count

    def purge_dead(self) -> int:
        """Drop the dead letters; returns how many."""
        count = len(self._dead)
        self._ledger.content_bytes -= self._dead_bytes
        self._ledger.bin.throw(self._dead, count)
        self._dead, self._dead_bytes = OrderedDict(), 0
        return count

    # For Queues

    def come_to(self, now: Millis, limit: int | None = None) -> int:
        """Let happen up to `limit` (default all) changes that time brings until `now`; returns how many."""
        agenda = self.agenda
        coming = agenda.pop_all(now) if limit is None else []
        self._ready.gather()
        changes = 0
        while (coming or agenda.next_due <= now) and (limit is None or changes < limit):
            # What has changed may change again before the others do.
            moment = coming.pop() if coming and not agenda.is_before(coming[-1]) else agenda.pop()
            if self._is_live(moment):
                at, seq = moment
                self._change(seq, at)
                changes += 1
        self._ready.line_up()
        agenda.expect()
        return changes

    def close(self) -> None:
        """The queue is removed: give back all it takes, and tell those who wait."""
        self._throw_messages()
        self.purge_dead()
        self._holders.clear()
        self._duplicates.throw()
        self._ledger.content_bytes -= self._own_bytes
        self.agenda.unschedule(self.agenda.live)
        self._ledger.note(self._topic)

    def rows(self) -> Iterator[tuple[Row, int]]:
        """Rows of a dump, and about how much memory each takes."""
        counters = {name: getattr(self, name) for name in _COUNTERS}
        config = msgspec.to_builtins(self.config)
        yield ("queue", self.serial, self.name, config, self._last_seq, counters), 0
        for message in chain(self._messages.values(), self._dead.values()):
            yield ("message", self.serial, *msgspec.structs.astuple(message)), message.used_bytes
        for entry, used_bytes in self._duplicates.rows():
            yield ("dedup", self.serial, *entry), used_bytes

    def restore(self, last_seq: int, counters: dict[str, int]) -> None:
        """Take over from a dump what `restore_message` and `remember` do not tell."""
        self._last_seq = last_seq
        for name in _COUNTERS:
            setattr(self, name, counters[name])

    def restore_message(self, message: Message) -> None:
        """Add a message of a dump."""
        if message.state == "dead":
            self._bury(message)
        else:
            self._keep(message)
            self._enter(message, message.state, message.due)

    def remember(self, dedup_id: str, seq: int, until: Millis) -> None:
        """Recognise duplicates of a message until then."""
        if self._duplicates.next_due is None:
            self.agenda.schedule(until, _DEDUP)
        self._duplicates.add(dedup_id, seq, until)

    # Changing state

    def _is_live(self, moment: Moment) -> bool:
        at, seq = moment
        if seq == _DEDUP:
            return self._duplicates.next_due == at
        message = self._messages.get(seq)
        return message is not None and message.changes_at == at

    def _change(self, seq: int, at: Millis) -> None:
        """It is `at`, when time changes a message."""
        if seq == _DEDUP:
            self._duplicates.forget_oldest()
            self.agenda.unschedule()
            if self._duplicates.next_due is not None:
                self.agenda.schedule(self._duplicates.next_due, _DEDUP)
            return
        message = self._messages[seq]
        if message.state == "leased":
            self._fail(message, at, None)
            return
        self._leave(message)
        if message.expires_at is not None and message.expires_at <= at:
            self._die(message, "expired", at)
        else:
            self._enter(message, "ready")

    def _enter(self, message: Message, state: Stage, due: Millis | None = None) -> None:
        """Give a state to a message that has left its last one."""
        message.state, message.due = state, due
        at = message.changes_at if state == "delayed" else due
        if state == "ready":
            self.depth += 1
            self._ready.add(message.priority, message.seq)
            self._ledger.note(self._topic)
            at = message.expires_at
        elif state == "delayed":
            self.delayed += 1
        else:
            self.in_flight += 1
            if message.holder is not None:
                # The messages of a holder share the text of its name.
                message.holder = sys.intern(message.holder)
                self._holders.add(message.holder, message.seq)
        if at is not None:
            self.agenda.schedule(at, message.seq)

    def _leave(self, message: Message) -> None:
        """Take a message out of its state."""
        if message.state == "leased":
            self._end_lease(message)
        elif message.state == "delayed":
            self.delayed -= 1
            self.agenda.unschedule()
        else:
            self.depth -= 1
            self._ready.remove(message.priority, message.seq)
            if message.expires_at is not None:
                self.agenda.unschedule()

    def _end_lease(self, message: Message) -> None:
        self.in_flight -= 1
        if message.holder is not None:
            self._holders.remove(message.holder, message.seq)
            message.holder = None
        self.agenda.unschedule()

    def _fail(self, message: Message, at: Millis, delay_ms: Millis | None) -> Outcome:
        """End a lease in vain."""
        self._leave(message)
        config = self.config
        if message.expires_at is not None and message.expires_at <= at:
            return self._die(message, "expired", at)
        if config.max_retries and message.deliveries > config.max_retries:
            return self._die(message, "delivery_limit", at)
        rest_ms = config.retry.delay_ms(message.deliveries) if delay_ms is None else delay_ms
        if rest_ms > 0:
            self._enter(message, "delayed", at + rest_ms)
        else:
            self._enter(message, "ready")
        return "requeued"

    def _die(self, message: Message, reason: Reason, at: Millis) -> Outcome:
        """Put a message that has left its state among the dead."""
        self._forget(message)
        if not self.config.dead_letter:
            return "dropped"
        message.state, message.due = "dead", None
        message.headers = with_death(message.headers, reason, at)
        self._bury(message)
        self.dead_lettered_total += 1
        return "dead_lettered"

    def _bury(self, message: Message) -> None:
        used_bytes = message.used_bytes + _DEAD_BYTES
        self._dead[message.seq] = message
        self._dead_bytes += used_bytes
        self._ledger.content_bytes += used_bytes

    # Books

    @property
    def _own_bytes(self) -> int:
        return _QUEUE_BYTES + text_bytes(self.name)

    def _add(
        self, body: bytes, is_json: bool, priority: int, headers: bytes, now: Millis, expires_at: Millis | None
    ) -> Message:
        """A new message that is in no state yet."""
        self._last_seq = seq = self._last_seq + 1
        message = Message(seq, priority, body, is_json, headers, now, expires_at)
        self._keep(message)
        return message

    def _throw_messages(self) -> None:
        """Have all but the dead freed later, and count them out."""
        self._ready.throw()
        self._ledger.bin.throw(self._messages, len(self._messages))
        self._ledger.content_bytes -= self._message_bytes

    def _expiry(self, ready_at: Millis, ttl_ms: Millis | None = None) -> Millis | None:
        ttl_ms = self.config.message_ttl_ms if ttl_ms is None else ttl_ms
        return None if ttl_ms is None else ready_at + ttl_ms

    def _keep(self, message: Message) -> None:
        """Take a message into the books."""
        if message.headers == NO_HEADERS:
            message.headers = NO_HEADERS
        used_bytes = message.used_bytes
        self._messages[message.seq] = message
        self._message_bytes += used_bytes
        self._ledger.content_bytes += used_bytes

    def _forget(self, message: Message) -> None:
        """Take a message that has left its state off the books."""
        del self._messages[message.seq]
        if not self._messages:
            # A table keeps the size it once had; one that has held a million messages is worth giving back.
            self._messages = {}
        used_bytes = message.used_bytes
        self._message_bytes -= used_bytes
        self._ledger.content_bytes -= used_bytes

    def _forget_dead(self, dead: Message) -> None:
        used_bytes = dead.used_bytes + _DEAD_BYTES
        del self._dead[dead.seq]
        self._dead_bytes -= used_bytes
        self._ledger.content_bytes -= used_bytes

    def _named(self, message_id: str, messages: dict[int, Message]) -> Message | None:
        """The one of `messages` that goes by this id, letter for letter."""
        try:
            seq = int(message_id[len(self._id_prefix) :], 16)
        except ValueError:
            return None
        message = messages.get(seq)
        return message if message is not None and f"{self._id_prefix}{seq:x}" == message_id else None
