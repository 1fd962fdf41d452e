"""What one server has for replication: its node, the link to the one it follows, and who follows it.

The server around it is a `Machine` (link.py) that also changes its own ways when the role changes. Everything here
runs on the server's event loop.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from synap.config import is_server_url
from synap.errors import InvalidPayload, Unavailable
from synap.journal import segment, snapshot
from synap.journal.committer import Committer
from synap.journal.log import FileJournal
from synap.journal.record import Lsn
from synap.replication.link import INCOMING, Link, Machine
from synap.replication.node import HEARTBEAT_MS, Node
from synap.replication.replicas import Replica
from synap.replication.standing import StandingFile
from synap.replication.terms import term_at, up_to
from synap.replication.wire import CLAIM_PATH, SECRET_HEADER, Claim, Publication, SnapshotOffer, pack, public

log = logging.getLogger("synap.replication")

ANNOUNCE_SECS = 1.0
ANNOUNCE_SECS_MAX = 2.0
OFFER_SECS_MAX = 600.0
"""How long a snapshot is kept for somebody who has begun to copy it and is not heard of."""
OFFERS = "offers"
PUBLISHED_BYTES_MAX = 1024 * 1024
"""Pub/sub messages that wait for one replica; the oldest are dropped."""
HANDING_OVER_SECS_MAX = 3.0


class OnDisk:
    """A journal as a node sees it."""

    def __init__(self, journal: FileJournal) -> None:
        self._journal = journal

    @property
    def last_lsn(self) -> Lsn:
        """Of the last record."""
        return self._journal.last_lsn

    @property
    def oldest_lsn(self) -> Lsn:
        """The first record in a segment."""
        return self._journal.oldest_lsn()

    @property
    def snapshot_lsn(self) -> Lsn:
        """The last record in the newest snapshot."""
        snapshots = snapshot.list_snapshots(self._journal.directory)
        return snapshot.lsn_of(snapshots[-1]) if snapshots else 0


class Stream:
    """One replica's stream, while it is open."""

    def __init__(self, replica: Replica, generation: int) -> None:
        self.replica = replica
        self.generation = generation
        self.wake = asyncio.Event()
        """There may be something to send."""
        self.heartbeat: bytes | None = None
        """The next one, when it is due."""
        self._published: deque[bytes] = deque()
        self._published_bytes = 0

    def publish(self, message: bytes) -> int:
        """Have a pub/sub message sent. While too many wait the oldest are dropped: returns how many were."""
        dropped = 0
        self._published.append(message)
        self._published_bytes += len(message)
        while self._published_bytes > PUBLISHED_BYTES_MAX and len(self._published) > 1:
            self._published_bytes -= len(self._published.popleft())
            dropped += 1
        self.wake.set()
        return dropped

    def beat(self, heartbeat: bytes) -> None:
        """Have a heartbeat sent, before all else."""
        self.heartbeat = heartbeat
        self.wake.set()

    def messages(self) -> Iterator[bytes]:
        """Everything that waits and is not in the journal, as it is taken."""
        if self.heartbeat is not None:
            heartbeat, self.heartbeat = self.heartbeat, None
            yield heartbeat
        while self._published:
            message = self._published.popleft()
            self._published_bytes -= len(message)
            yield message

    @property
    def has_messages(self) -> bool:
        """Whether something waits that is not in the journal."""
        return self.heartbeat is not None or bool(self._published)


@dataclass(frozen=True)
class Options:
    """How to replicate. URLs begin with http:// or https:// and may hold a name and a password."""

    master: str = ""
    """The one to follow, unless it was decided otherwise since that was set."""
    url: str | None = None
    """Where this server can be reached by the others."""
    secret: str = ""
    keep_bytes: int = 1 << 30
    """Journal kept for replicas that are behind, beyond the newest snapshot."""
    ack_level: int = 0
    """How far a record must be in this server's journal before it is confirmed to its master."""
    ssl: Any = field(default=True)


class Replication:
    """One per server. `on_turn` is called whenever the node's role may have changed."""

    def __init__(
        self,
        options: Options,
        machine: Machine,
        journal: FileJournal,
        committer: Committer,
        on_turn: Callable[[], None],
        new_id: Callable[[], str],
    ) -> None:
        self.options = options
        self.journal = journal
        self.committer = committer
        self.streams: set[Stream] = set()
        self.published_dropped = 0
        """Pub/sub messages that a replica was not sent because it was too slow."""
        self.is_parting = False
        file = StandingFile(journal.directory)
        self.node = Node(file.load(), OnDisk(journal), file.save, new_id, f"{journal.directory.stat().st_ino:x}")
        self.node.url = options.url
        self.link = Link(
            self.node,
            machine,
            journal,
            committer,
            ack_level=options.ack_level,
            secret=options.secret,
            ssl=options.ssl,
        )
        self._on_turn = on_turn
        self._loop = asyncio.get_running_loop()
        self._offers: dict[Path, SnapshotOffer] = {}
        """Snapshots that somebody copies."""
        self._kept_until: dict[Path, float] = {}
        self._announced = asyncio.Event()
        self.node.on_turn = self._turned
        self.node.on_part = self._wake
        shutil.rmtree(journal.directory / OFFERS, ignore_errors=True)

    @property
    def now_ms(self) -> float:
        """Of a clock that does not jump."""
        return self._loop.time() * 1000

    def start(self) -> None:
        """The journal is open: be what was decided last, and know from now on how far it is."""
        incoming, directory = self.node.incoming, self.journal.directory
        is_replaced = (
            incoming is not None
            and not any(directory.glob(f"*{INCOMING}"))  # it is renamed when all else is out of the way
            and incoming.lsn == OnDisk(self.journal).snapshot_lsn
        )
        self.node.start(self.options.master, is_replaced=is_replaced)
        self.committer.on_progress = self.progressed

    def jobs(self) -> list[Any]:
        """What is to run beside the server."""
        return [self.link.run(), self._announce(), self._beat()]

    def progressed(self) -> None:
        """More of the journal is written or synced."""
        self.node.replicas.wrote(self.journal.written_lsn, self.now_ms)
        self.link.progressed()
        self._wake()

    # Being followed

    def acknowledged(self, replica: Replica, lsn: Lsn) -> None:
        """A replica has everything up to `lsn` in its journal."""
        if self.node.replicas.acknowledge(replica, min(lsn, self.journal.written_lsn), self.now_ms):
            self.committer.replicated(self.node.replicas.reached)

    def joined(self, stream: Stream) -> None:
        """A stream begins. All who follow hear at once who else does: any of them may have to tell the others."""
        self.streams.add(stream)
        self.node.joined(stream.replica.url)
        self._tell_all()

    def publish(self, topic: str, body: bytes, metadata: bytes) -> None:
        """Send a pub/sub message to all replicas, as far as they take it."""
        if self.streams:
            message = pack(Publication(topic, body, metadata))
            self.published_dropped += sum(stream.publish(message) for stream in self.streams)

    def offer(self, begun: str) -> SnapshotOffer:
        """The newest snapshot, kept for a while under a name of its own; or the one that somebody has `begun` to copy,
        if it is still there. Raises OSError.
        """
        directory, node = self.journal.directory, self.node
        for path, offer in self._offers.items():
            if path.name == begun:
                self._keep(path, offer)
                return offer
        snapshots = snapshot.list_snapshots(directory)
        if not snapshots:
            return SnapshotOffer(name="", lsn=0, bytes=0, terms=(), epoch=node.epoch)
        newest = snapshots[-1]
        lsn = snapshot.lsn_of(newest)
        term = term_at(node.terms, lsn)
        name = f"{lsn:020d}-{term.id if term is not None else 'unknown'}"
        kept = directory / OFFERS / name
        kept.parent.mkdir(mode=0o750, exist_ok=True)
        if not kept.exists():
            os.link(newest, kept)
        terms = up_to(node.terms, lsn)
        offer = SnapshotOffer(name=name, lsn=lsn, bytes=kept.stat().st_size, terms=terms, epoch=node.epoch)
        self._keep(kept, offer)
        return offer

    def offered(self, name: str) -> Path | None:
        """The file of a snapshot that was offered, if it is still there."""
        path = next((path for path in self._offers if path.name == name), None)
        if path is not None:
            self._keep(path, self._offers[path])
        return path

    def needed_from(self) -> Lsn | None:
        """The first record that somebody who is behind needs, as far as so much is kept."""
        wanted = [offer.lsn + 1 for offer in self._offers.values()]
        oldest = self.node.replicas.needs_from(self.now_ms)
        if oldest is not None:
            wanted.append(oldest)
        if not wanted:
            return None
        budget = self.options.keep_bytes
        for path in reversed(segment.list_segments(self.journal.directory)):
            budget -= path.stat().st_size
            if budget < 0:
                return max(min(wanted), segment.first_lsn_of(path) + 1)
        return min(wanted)

    async def hand_over(self) -> None:
        """Before this server stops: let those who keep up have everything it has."""
        deadline = self._loop.time() + HANDING_OVER_SECS_MAX
        self.committer.commit()
        last = self.journal.written_lsn
        while self._loop.time() < deadline:
            if all(stream.replica.acked_lsn >= last for stream in self.streams):
                break
            await asyncio.sleep(0.01)

    async def part(self, _: object = None) -> None:
        """End all streams to replicas."""
        self.is_parting = True
        self._wake()

    # Others

    def follow(self, url: str) -> None:
        """Be a replica of the server at `url`. Raises InvalidPayload."""
        if not is_server_url(url):
            raise InvalidPayload(
                f"payload.master: expected http://HOST:PORT, got {public(url)[:100]!r}", path="payload.master"
            )
        self.check_link()
        if url.rstrip("/") == self.node.url:
            raise InvalidPayload("payload.master: that is this server itself", path="payload.master")
        self.node.follow(url.rstrip("/"))

    def check_link(self) -> None:
        """Raise Unavailable when this server cannot follow anybody any more."""
        if self.link.state == "failed":
            raise Unavailable("replication has stopped for good, see the log; this server needs a restart first")

    async def close(self) -> None:
        """End the link."""
        await self.link.close()
        shutil.rmtree(self.journal.directory / OFFERS, ignore_errors=True)

    def _turned(self) -> None:
        self.link.turned()
        self._announced.set()
        self._on_turn()

    def _tell_all(self) -> None:
        heartbeat = pack(self.node.heartbeat())
        for stream in self.streams:
            stream.beat(heartbeat)

    def _wake(self) -> None:
        for stream in self.streams:
            stream.wake.set()

    async def _beat(self) -> None:
        """Have every stream say something now and then, and forget offers that nobody takes."""
        while True:
            await asyncio.sleep(HEARTBEAT_MS / 1000)
            self._tell_all()
            for path, until in list(self._kept_until.items()):
                if until < self._loop.time():
                    del self._offers[path], self._kept_until[path]
                    path.unlink(missing_ok=True)

    async def _announce(self) -> None:
        """Tell those who followed the same master that this is the master now, until each of them has answered."""
        delay = ANNOUNCE_SECS
        while True:
            self._announced.clear()
            for url in self.node.announce_to:
                await self._tell(url)
            if not self.node.announce_to:
                delay = ANNOUNCE_SECS
                await self._announced.wait()
            else:
                await asyncio.sleep(delay)
                delay = min(delay * 2, ANNOUNCE_SECS_MAX)

    async def _tell(self, url: str) -> None:
        headers = {SECRET_HEADER: self.options.secret} if self.options.secret else None
        timeout = aiohttp.ClientTimeout(total=ANNOUNCE_SECS_MAX)
        body = msgspec.json.encode(self.node.claim())
        try:
            async with (
                aiohttp.ClientSession(
                    headers=headers, timeout=timeout, connector=aiohttp.TCPConnector(ssl=self.options.ssl)
                ) as session,
                session.post(url + CLAIM_PATH, data=body) as response,
            ):
                response.raise_for_status()
                answer = msgspec.json.decode(await response.read(), type=Claim)
        except (aiohttp.ClientError, TimeoutError, OSError, msgspec.DecodeError) as error:
            log.debug("%s has not been told that this is the master: %s", url, error)
        else:
            log.info("%s knows that this is the master: it is a %s now", url, answer.role)
            self.node.answered(url, answer)

    def _keep(self, path: Path, offer: SnapshotOffer) -> None:
        self._offers[path], self._kept_until[path] = offer, self._loop.time() + OFFER_SECS_MAX
