"""A server of the simulation: the real `Node`, and around it what moves bytes on a real one, in memory.

What is on its `Disk` outlives a crash. All that takes time or can be cut off is an event of the world, so that
anything may come between any two steps, a crash above all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

import msgspec

from synap.journal.record import Lsn, encode
from synap.replication.node import SILENCE_MS, Fetch, Node, NotFollowed, RollBack
from synap.replication.replicas import Replica
from synap.replication.standing import Incoming, Standing
from synap.replication.terms import Terms, up_to
from synap.replication.wire import (
    Ack,
    Claim,
    Greeting,
    Heartbeat,
    Message,
    NotUnderstood,
    Records,
    Welcome,
    pack,
    records_behind,
    unpack,
)
from tests.replication.simulation_witness import require

if TYPE_CHECKING:
    from tests.replication.simulation import World

BATCH_MAX = 4


class Offer(NamedTuple):
    """A snapshot: the state after record `lsn` (which is the list of all writes), and what to know about it."""

    lsn: Lsn
    writes: list[int]
    digest: int
    terms: Terms
    epoch: int


class Disk:
    """What a server keeps: its standing, a snapshot, the records behind that, and what it has put aside."""

    def __init__(self) -> None:
        self.standing = msgspec.json.encode(Standing())
        self.snapshot_lsn: Lsn = 0
        self.oldest_lsn: Lsn = 1
        self.records: list[bytes] = []
        self.writes: list[int] = []
        """The state: number n - 1 was written by record n."""
        self.digests: list[int] = [0]
        self.synced_lsn: Lsn = 0
        self.aside: list[int] = []
        self.is_replaced = False
        """Its journal is another's, and it has not been said yet."""

    @property
    def last_lsn(self) -> Lsn:
        return len(self.writes)

    def append(self, record: bytes, lsn: Lsn, write: int) -> None:
        """Write a record and apply it."""
        require(lsn == self.last_lsn + 1, f"record {lsn} is applied after {self.last_lsn}")
        self.records.append(record)
        self.writes.append(write)
        self.digests.append(crc32(record, self.digests[-1]))

    def data(self, from_lsn: Lsn, count: int) -> bytes:
        at = from_lsn - self.oldest_lsn
        return b"".join(self.records[at : at + count])

    def cut(self, lsn: Lsn) -> None:
        """Drop all records behind `lsn`."""
        del self.records[max(lsn + 1 - self.oldest_lsn, 0) :], self.writes[lsn:], self.digests[lsn + 1 :]
        self.synced_lsn = min(self.synced_lsn, lsn)

    def take_snapshot(self, lsn: Lsn, keep_from: Lsn) -> None:
        """Keep the state after record `lsn`, and of the records those from `keep_from` on."""
        self.snapshot_lsn, self.synced_lsn = lsn, max(self.synced_lsn, lsn)
        keep_from = min(keep_from, lsn + 1)
        if keep_from > self.oldest_lsn:
            del self.records[: keep_from - self.oldest_lsn]
            self.oldest_lsn = keep_from

    def replace(self, offer: Offer) -> None:
        """Be what another's snapshot says."""
        self.is_replaced = True
        self.records, self.writes = [], list(offer.writes)
        self.digests = [*[0] * offer.lsn, offer.digest]
        self.snapshot_lsn, self.oldest_lsn, self.synced_lsn = offer.lsn, offer.lsn + 1, offer.lsn


class Stream:
    """A connection between a replica, `below`, and the one it follows, `above`. Each end may be the only one left."""

    def __init__(self, below: Server, above: Server) -> None:
        self.below = below
        self.above = above
        self.is_open_below = True
        self.is_open_above = False
        self.was_greeted = False
        self.arrival = 0.0
        """When the last message comes down: the next one does not overtake it, as a rule."""
        self.replica: Replica
        self.next_lsn: Lsn = 0
        self.generation = -1
        self.heard_at = 0.0
        self.stuck = 0
        """Heartbeats in a row that spoke of records that have not come."""


class Server:
    """One of the world's nodes."""

    node: Node

    def __init__(self, world: World, name: str, *, knows_url: bool) -> None:
        self.world = world
        self.name = name
        self.disk = Disk()
        self.is_up = False
        self.is_rebuilding = False
        self.is_cut_off = False
        self.has_failed = False
        self.run = 0
        self.link: Stream | None = None
        self.streams: list[Stream] = []
        self.configured = ""
        self._knows_url = knows_url
        self._generation = 0
        self._pending: list[tuple[Lsn, int, int]] = []
        self._wants_anew = False
        self._attempts = 0

    def __str__(self) -> str:
        node, disk = self.node, self.disk
        state = "rebuilding" if self.is_rebuilding else "up" if self.is_up else "down"
        return (
            f"{self.name} ({state}): {node.role} of {node.upstream}, epoch {node.epoch}, {node.terms},"
            f" records {disk.oldest_lsn} to {disk.last_lsn}, snapshot {disk.snapshot_lsn}"
        )

    @property
    def is_connected(self) -> bool:
        """Whether it follows somebody, and both ends know it."""
        return self.node.is_following and self.link is not None and self.link.is_open_above

    # Running

    def start(self) -> None:
        """Recover from what is on the disk."""
        self.is_up, self.is_rebuilding, self._wants_anew = True, False, False
        standing = msgspec.json.decode(self.disk.standing, type=Standing)
        self.node = Node(standing, self.disk, self._save, self.world.new_id)
        self.node.url = self.name if self._knows_url else None
        self._generation = self.node.generation
        self.node.start(self.configured, is_replaced=self.disk.is_replaced and self.node.incoming is not None)
        if self.disk.is_replaced:
            self.world.witness.receives(self.name, self.disk.writes)
        self.disk.is_replaced = False
        self.world.witness.holds(self.node.terms, self.disk.writes)
        self.world.note(self, "starts", self.node.role, self.disk.last_lsn, self.node.terms)
        self.settle()
        self.soon(self.tick, self.world.random.uniform(0, 300))

    def crash(self, *, power: bool) -> None:
        """Kill -9, or a power cut, which takes what was not synced as well."""
        self.world.note(self, "loses power" if power else "is killed")
        if power:
            safe = max(self.disk.snapshot_lsn, self.disk.synced_lsn)
            self.disk.cut(self.world.random.randint(safe, self.disk.last_lsn))
        self.is_up = False
        self.run += 1
        self._pending.clear()
        for stream in self.streams:
            stream.is_open_above = False
            if not power:
                self.world.send(self, stream.below, stream.below.hung_up, stream)
        self.streams.clear()
        if self.link is not None:
            self.link.is_open_below = False
            if not power:
                self.world.send(self, self.link.above, self.link.above.dropped, self.link)
            self.link = None

    def soon(self, action: Callable[[], None], delay: float) -> None:
        """Do it later, unless this run of the server has ended by then."""
        run = self.run

        def act() -> None:
            if self.is_up and self.run == run:
                action()

        self.world.at(self.world.now + delay, act)

    def tick(self) -> None:
        """What a server does every now and then."""
        world = self.world
        self.soon(self.tick, world.random.uniform(500, 1100))
        if world.random.random() < 0.3:
            self.disk.synced_lsn = self.disk.last_lsn
        if world.random.random() < world.snapshots and not self.is_rebuilding:
            self._take_snapshot()
        self._look_after_link()
        heartbeat = self.node.heartbeat()
        for stream in list(self.streams):
            if world.now - stream.replica.heard_at > 2 * SILENCE_MS:
                self._drop(stream)
            else:
                self._tell(stream, heartbeat)
        self._pump()
        if self.node.is_master:
            for url in self.node.announce_to:
                self._announce(url)

    # What clients and operators ask

    def write(self, writes: list[int], acks: int) -> None:
        """A client writes and waits until so many replicas have it."""
        term = self.node.terms[-1]
        for write in writes:
            lsn = self.disk.last_lsn + 1
            self.world.witness.writes(term, lsn, write)
            record = encode([(lsn, int(self.world.now), b"write", b"%d" % write)])
            self.disk.append(record, lsn, write)
            self._pending.append((lsn, acks, write))
        self.world.note(self, "writes", writes, acks)
        self.node.replicas.wrote(self.disk.last_lsn, self.world.now)
        self._acknowledge()
        self._pump()

    def promote(self, *, force: bool = False) -> None:
        """Raises MasterAlive."""
        self.node.promote(self.world.now, force=force)
        self.world.note(self, "is promoted", self.node.epoch, self.node.terms)
        self.settle()

    def follow(self, url: str) -> None:
        self.world.note(self, "is told to follow", url)
        self.node.follow(url)
        self.settle()

    def resync(self) -> None:
        self.world.note(self, "begins anew")
        self._wants_anew = True
        self.node.begin_anew()
        self.settle()

    # The replica's end

    def _look_after_link(self) -> None:
        link = self.link
        if link is not None:
            if self.world.now - link.heard_at > SILENCE_MS:
                self._hang_up()
        elif self.node.upstream is not None and not self.is_rebuilding:
            self._connect(self.node.upstream)

    def _connect(self, url: str) -> None:
        above = self.world.servers[url]
        if not above.is_up or not self.world.is_reachable(self, above):
            self.node.unreachable()
            return
        self._attempts += 1
        stream = self.link = Stream(self, above)
        stream.heard_at = self.world.now
        stream.generation = self.node.generation
        greeting = self.node.greeting()
        self.world.send(self, above, above.greeted, stream, greeting)

    def hung_up(self, stream: Stream) -> None:
        """The other end says that it is over."""
        if stream is self.link:
            self._hang_up()

    def _hang_up(self) -> None:
        stream = self.link
        if stream is not None:
            self.link = None
            stream.is_open_below = False
            self.node.parted()
            self.world.send(self, stream.above, stream.above.dropped, stream)

    def received(self, stream: Stream, data: bytes) -> None:
        """Something has come from the one that is followed."""
        if stream is not self.link:
            return
        stream.heard_at = self.world.now
        message = unpack(data)
        if isinstance(message, Welcome):
            if not self.node.is_following:
                self._welcomed(stream, message)
        elif not self.node.is_following:
            self._hang_up()
        elif isinstance(message, Records):
            self._take(stream, message.data)
        elif isinstance(message, Heartbeat):
            self.node.beat(message, self.world.now)
            stream.stuck = stream.stuck + 1 if message.lsn > self.disk.last_lsn else 0
            if stream.stuck > 2:
                self._hang_up()
            else:
                self._ack(stream)

    def _welcomed(self, stream: Stream, welcome: Welcome) -> None:
        before = msgspec.json.decode(self.disk.standing, type=Standing)
        try:
            step = self.node.welcomed(welcome, self.world.now)
        except NotFollowed:
            self._hang_up()
            return
        self.world.note(self, "is welcomed by", stream.above.name, welcome.epoch, welcome.terms, welcome.last_lsn, step)
        stream.generation = self.node.generation
        if not self._wants_anew:
            self.world.witness.believes(before, welcome)
        if (isinstance(step, RollBack) or step == Fetch(diverged=True)) and not self._wants_anew:
            self.world.witness.gives_up(self.node.terms, self.disk.last_lsn, welcome)
        if step is None:
            self.world.witness.holds(self.node.terms, self.disk.writes)
            self._ack(stream)
        elif isinstance(step, RollBack):
            self._hang_up()
            self._roll_back(step.lsn)
        else:
            self._hang_up()
            self._fetch(stream.above, step)
        self.settle()

    def _take(self, stream: Stream, data: bytes) -> None:
        if not self.node.may_take_records():
            self._hang_up()
            return
        last_lsn = self.disk.last_lsn
        try:
            records = records_behind(data, last_lsn)
        except NotUnderstood:
            self._hang_up()
            return
        self.node.heard(self.world.now)
        for record in records:
            self.disk.append(
                encode([(record.lsn, record.time, b"write", record.payload)]), record.lsn, int(record.payload)
            )
        self.world.witness.receives(self.name, self.disk.writes[last_lsn:])
        self.world.note(self, "takes", last_lsn + 1, self.disk.last_lsn, "from", stream.above.name)
        self.world.witness.holds(self.node.terms, self.disk.writes, last_lsn + 1)
        stream.stuck = 0
        self._ack(stream)
        self._pump()

    def _ack(self, stream: Stream) -> None:
        self.world.send(self, stream.above, stream.above.acked, stream, pack(Ack(self.disk.last_lsn)))

    def _roll_back(self, lsn: Lsn) -> None:
        generation = self.node.generation
        self.is_rebuilding = True

        def cut() -> None:
            if self.node.generation != generation:
                self.is_rebuilding = False
                return
            self.disk.cut(lsn)
            self._then(end)

        def end() -> None:
            self.node.rolled_back()
            self.is_rebuilding = False
            self.settle()
            self._look_after_link()

        self.world.note(self, "rolls back to", lsn)
        self.disk.aside += self.disk.writes[lsn:]
        self._then(cut)

    def _fetch(self, above: Server, step: Fetch) -> None:
        """Ask for a snapshot, and have it copied; it may be cut off at any time."""
        asked_in = (self.run, self.node.generation, self._attempts)
        is_anew = self._wants_anew

        def arrived(offer: Offer) -> None:
            is_wanted = (self.run, self.node.generation, self._attempts) == asked_in
            if is_wanted and not self.is_rebuilding:
                self._install(offer, diverged=step.diverged, is_anew=is_anew)

        def asked() -> None:
            if above.is_up and not above.is_rebuilding:
                self.world.send(above, self, arrived, above.offer(), slow=True)

        self.world.send(self, above, asked)

    def _install(self, offer: Offer, *, diverged: bool, is_anew: bool) -> None:
        self.is_rebuilding = True
        self._attempts += 1

        def put_aside() -> None:
            if diverged:
                self.disk.aside += self.disk.writes
            self._then(replace)

        def replace() -> None:
            self.disk.replace(offer)
            self._then(end)

        def end() -> None:
            self.world.witness.receives(self.name, self.disk.writes)
            self.node.installed()
            self.disk.is_replaced = False
            self.is_rebuilding = self._wants_anew = False
            self.world.witness.holds(self.node.terms, self.disk.writes)
            self.settle()
            self._look_after_link()

        self.world.note(self, "installs", offer.lsn, offer.terms, offer.epoch, "anew" if is_anew else "")
        self.node.replacing(Incoming(lsn=offer.lsn, epoch=offer.epoch, terms=offer.terms))
        self.settle()
        self._then(put_aside)

    def _then(self, step: Callable[[], None]) -> None:
        """Go on with a change of files, unless it is interrupted here."""
        if self.world.random.random() < 0.04:
            self.world.operator.restart(self, power=False)
        else:
            self.soon(step, self.world.random.choice((0.0, 0.0, 5.0, 200.0)))

    # The end of who is followed

    def greeted(self, stream: Stream, greeting: Greeting) -> None:
        """Somebody wants to follow."""
        if not stream.is_open_below or stream.was_greeted:
            return
        stream.was_greeted = True
        if self.is_rebuilding:
            self.world.send(self, stream.below, stream.below.hung_up, stream)
            return
        welcome = self.node.admit(greeting)
        self.settle()
        self._tell(stream, welcome)
        if welcome.accepted:
            stream.is_open_above = True
            stream.next_lsn = greeting.from_lsn
            stream.replica = self.node.replicas.join(greeting, stream.below.name, self.world.now)
            self.node.joined(stream.replica.url)
            self.streams.append(stream)
            self._pump()

    def dropped(self, stream: Stream) -> None:
        """The replica says that it is over."""
        if stream in self.streams:
            self._drop(stream)

    def _drop(self, stream: Stream) -> None:
        stream.is_open_above = False
        self.streams.remove(stream)
        self.node.replicas.leave(stream.replica, self.world.now)
        self.world.send(self, stream.below, stream.below.hung_up, stream)

    def _pump(self) -> None:
        """Send what is new to all who follow."""
        if self.is_rebuilding:
            return
        for stream in list(self.streams):
            if stream.next_lsn < self.disk.oldest_lsn or not self.node.replicas.is_joined(stream.replica):
                self._drop(stream)
                continue
            while stream.next_lsn <= self.disk.last_lsn:
                count = min(self.world.random.randint(1, BATCH_MAX), self.disk.last_lsn + 1 - stream.next_lsn)
                self._tell(stream, Records(self.disk.data(stream.next_lsn, count)))
                stream.next_lsn += count

    def _tell(self, stream: Stream, message: Message) -> None:
        stream.arrival = self.world.send(
            self, stream.below, stream.below.received, stream, pack(message), not_before=stream.arrival
        )

    def acked(self, stream: Stream, data: bytes) -> None:
        """A replica says how far it is."""
        message = unpack(data)
        if stream.is_open_above and isinstance(message, Ack):
            self.node.replicas.acknowledge(stream.replica, message.lsn, self.world.now)
            self._acknowledge()

    def _acknowledge(self) -> None:
        """Tell the clients whose writes are on as many replicas as they asked for."""
        reached = self.node.replicas.reached
        waiting = []
        for lsn, acks, write in self._pending:
            if acks and reached[acks - 1] < lsn:
                waiting.append((lsn, acks, write))
            else:
                self.world.witness.acknowledges(self.name, write, acks)
                self.world.note(self, "acknowledges", write, lsn, acks)
        self._pending = waiting

    def offer(self) -> Offer:
        """The newest snapshot."""
        lsn = self.disk.snapshot_lsn
        return Offer(lsn, self.disk.writes[:lsn], self.disk.digests[lsn], up_to(self.node.terms, lsn), self.node.epoch)

    # Among masters

    def _announce(self, url: str) -> None:
        other, run = self.world.servers[url], self.run
        claim = self.node.claim()

        def told() -> None:
            if other.is_up:
                answer = other.node.told(claim, self.world.now)
                self.world.note(other, "is told", claim, "and says", answer)
                self.world.witness.meets(answer, claim)
                other.settle()
                self.world.send(other, self, answered, answer)

        def answered(answer: Claim) -> None:
            if self.is_up and self.run == run:
                self.node.answered(url, answer)
                self.world.witness.meets(self.node.claim(), answer)
                self.settle()

        self.world.send(self, other, told)

    # Itself

    def _take_snapshot(self) -> None:
        random = self.world.random
        lsn = random.randint(self.disk.snapshot_lsn, self.disk.last_lsn)
        if lsn > self.disk.snapshot_lsn:
            needed = lsn + 1 if random.random() < 0.3 else self.node.replicas.needs_from(self.world.now) or lsn + 1
            self.disk.take_snapshot(lsn, needed)

    def _save(self, standing: Standing) -> None:
        before = msgspec.json.decode(self.disk.standing, type=Standing)
        if standing.role == "master" and standing.terms != before.terms:
            term = standing.terms[-1]
            self.world.witness.begins(term, self.disk.writes[term.first_lsn - 1 :])
        self.world.witness.saves(before, standing, begins_anew=self._wants_anew)
        self.disk.standing = msgspec.json.encode(standing)

    def settle(self) -> None:
        """Close what is of the past."""
        generation = self.node.generation
        if generation == self._generation:
            return
        self._generation = generation
        self._pending.clear()
        for stream in list(self.streams):
            self._drop(stream)
        if self.link is not None and self.link.generation != generation:
            self._hang_up()
