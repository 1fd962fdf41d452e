"""The replica's end: gets the records of the node it follows, or a snapshot first, and hands them on.

What is to be done is decided in node.py; here it is done. Whatever goes wrong on the way ends the attempt and is tried
again: nothing is taken before it is whole and in order. Only a record that cannot be repeated stops it for good, since
this server's code and its data disagree then.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import aiohttp
import msgspec

from synap.errors import DiskFull
from synap.journal import JournalDamaged, aside, snapshot
from synap.journal.committer import Committer
from synap.journal.directory import DirectoryInUse
from synap.journal.log import FileJournal
from synap.journal.record import BODY_BYTES_MAX, Lsn, Record
from synap.replication.node import SILENCE_MS, Fetch, Node, NotFollowed, RollBack
from synap.replication.standing import Incoming
from synap.replication.terms import common_lsn, term_at
from synap.replication.wire import (
    RECORDS_BYTES_MAX,
    SECRET_HEADER,
    SNAPSHOT_PATH,
    STREAM_PATH,
    Ack,
    Heartbeat,
    Message,
    NotUnderstood,
    Publication,
    Records,
    SnapshotOffer,
    Welcome,
    pack,
    public,
    records_behind,
    unpack,
)

log = logging.getLogger("synap.replication")

RETRY_SECS = 0.2
RETRY_SECS_MAX = 2.0
CONNECT_SECS_MAX = 5.0
READ_BYTES = 256 * 1024
MESSAGE_BYTES_MAX = BODY_BYTES_MAX + RECORDS_BYTES_MAX
OFFER_BYTES_MAX = 1024 * 1024
INCOMING = ".snapshot.incoming"
_PASSING = (
    aiohttp.ClientError,
    DirectoryInUse,
    DiskFull,
    JournalDamaged,
    NotFollowed,
    NotUnderstood,
    OSError,
    TimeoutError,
    msgspec.DecodeError,
)


class Machine(Protocol):
    """The server around: what records and messages are for."""

    @property
    def lsn(self) -> Lsn:
        """The last record applied."""

    def take(self, records: Sequence[Record]) -> None:
        """Apply records that are about to be journalled. Raises when one cannot be repeated."""

    def published(self, message: Publication) -> None:
        """Give a message to those who are subscribed here."""

    async def rebuild(self, change: Callable[[], object]) -> None:
        """Close the journal, have `change` put other files in its place, and load what is there then."""


class Link:
    """Follows whomever the node says, for as long as `run` does."""

    def __init__(
        self,
        node: Node,
        machine: Machine,
        journal: FileJournal,
        committer: Committer,
        *,
        ack_level: int,
        secret: str,
        ssl: Any = True,
    ) -> None:
        self.state = "connecting"
        """connecting, streaming, copying, waiting (see `reason`) or failed."""
        self.reason: str | None = None
        self.behind_since: float | None = None
        """When it was last known to have all that the master had then; None before the first time. Loop time, secs."""
        self._node = node
        self._machine = machine
        self._journal = journal
        self._committer = committer
        self._ack_level = ack_level
        self._secret = secret
        self._ssl = ssl
        self._loop = asyncio.get_running_loop()
        self._attempt: asyncio.Task[None] | None = None
        self._is_rebuilding = False
        self._turned = asyncio.Event()
        self._progressed = asyncio.Event()
        self._marks: list[tuple[Lsn, float]] = []
        """Where the master's journal ended, and when it was heard."""

    @property
    def now_ms(self) -> float:
        """Of a clock that does not jump."""
        return self._loop.time() * 1000

    @property
    def lag_ms(self) -> float | None:
        """How long ago this replica had everything that the master had then; None when it never had."""
        self._look_back()
        if self.behind_since is None:
            return None
        heard_all = self.state == "streaming" and not self._marks
        late = (self._loop.time() - self.behind_since) * 1000
        return 0.0 if heard_all and late <= SILENCE_MS else late

    def turned(self) -> None:
        """The node has changed its mind: what is under way is of no use any more."""
        self._turned.set()
        if self._attempt is not None and not self._is_rebuilding:
            self._attempt.cancel()

    def progressed(self) -> None:
        """More is in the journal."""
        self._progressed.set()

    async def run(self) -> None:
        """Follow, for ever."""
        delay = RETRY_SECS
        while self.state != "failed":
            self._turned.clear()
            url = self._node.upstream
            if url is None:
                self.behind_since, self._marks = None, []
                await self._turned.wait()
                continue
            begun = self._loop.time()
            self._attempt = asyncio.create_task(self._try(url))
            await asyncio.wait([self._attempt])
            self._node.parted()
            if self._attempt.cancelled() or self._loop.time() - begun > RETRY_SECS_MAX:
                delay = RETRY_SECS
            try:
                async with asyncio.timeout(delay):
                    await self._turned.wait()
            except TimeoutError:
                delay = min(delay * 2, RETRY_SECS_MAX)

    async def close(self) -> None:
        """End what is under way, unless it is changing files: that is waited for."""
        while self._attempt is not None and not self._attempt.done():
            if not self._is_rebuilding:
                self._attempt.cancel()
            await asyncio.wait([self._attempt], timeout=0.1)

    async def _try(self, url: str) -> None:
        try:
            async with aiohttp.ClientSession(
                headers={SECRET_HEADER: self._secret} if self._secret else None,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECS_MAX, sock_read=SILENCE_MS / 1000),
                connector=aiohttp.TCPConnector(ssl=self._ssl),
            ) as session:
                await self._follow(session, url)
        except aiohttp.ClientConnectorError as error:
            self._node.unreachable()
            self._wait_because(f"cannot connect: {error.strerror or error}")
        except aiohttp.WSServerHandshakeError as error:
            self._node.heard(self.now_ms)
            self._wait_because(f"it answers {error.status}; is replication.secret the same there?")
        except aiohttp.ClientResponseError as error:
            self._node.heard(self.now_ms)
            self._wait_because(f"it answers {error.status} {error.message}")
        except TimeoutError:
            self._wait_because("it is silent")
        except _PASSING as error:
            self._wait_because((str(error) or type(error).__name__).replace(url, public(url)))
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self._set_state("failed", f"{type(error).__name__}: {error}")
            log.critical("replication has stopped for good, this server needs a restart", exc_info=error)

    async def _follow(self, session: aiohttp.ClientSession, url: str) -> None:
        greeting = {name: str(value) for name, value in msgspec.to_builtins(self._node.greeting()).items()}
        async with session.ws_connect(
            _under(url, STREAM_PATH), params=greeting, max_msg_size=MESSAGE_BYTES_MAX, compress=0
        ) as socket:
            welcome = await self._receive(socket)
            if not isinstance(welcome, Welcome):
                raise NotUnderstood("expected a welcome")
            step = self._node.welcomed(welcome, self.now_ms)
            if step is None:
                await self._take(socket)
                self._wait_because("the stream has ended")
        match step:
            case RollBack(lsn):
                await self._roll_back(lsn)
            case Fetch(diverged):
                await self._copy(session, url, diverged)

    # Records

    async def _take(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        node, generation = self._node, self._node.generation
        self._set_state("streaming", None)
        acks = asyncio.create_task(self._acknowledge(socket))
        try:
            while node.generation == generation and not acks.done():
                message = await self._receive(socket)
                match message:
                    case Records(data):
                        if not node.may_take_records():
                            raise NotFollowed("a higher epoch has been heard of")
                        node.heard(self.now_ms)
                        self._append(data)
                        await self._write()
                    case Heartbeat():
                        node.beat(message, self.now_ms)
                        self._mark(message.lsn)
                        self._progressed.set()
                    case Publication():
                        self._machine.published(message)
        finally:
            acks.cancel()

    def _append(self, data: bytes) -> None:
        records = records_behind(data, self._journal.last_lsn)
        if not records:
            return
        try:
            self._machine.take(records)
            self._journal.append_encoded(data, records[-1].lsn)
        except Exception:
            for record in records:  # what is in the state must be in the journal, too
                if record.lsn <= self._machine.lsn:
                    self._journal.append(record.lsn, record.time, record.command.encode(), record.payload)
            raise
        finally:
            self._committer.schedule()

    async def _write(self) -> None:
        """Let the journal be written, and others have their turn. While the disk refuses, nothing more is read."""
        await asyncio.sleep(0)
        while self._journal.failure is not None:
            await asyncio.sleep(RETRY_SECS)

    async def _acknowledge(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        """Tell how far the journal is, whenever there is something to tell."""
        with suppress(ConnectionError, aiohttp.ClientError):
            while True:
                await self._progressed.wait()
                self._progressed.clear()
                await socket.send_bytes(pack(Ack(self._committer.reached[self._ack_level])))

    async def _receive(self, socket: aiohttp.ClientWebSocketResponse) -> Message:
        message = await socket.receive(SILENCE_MS / 1000)
        if message.type is aiohttp.WSMsgType.BINARY:
            return unpack(message.data)
        if message.type is aiohttp.WSMsgType.ERROR and isinstance(message.data, Exception):
            raise NotUnderstood(str(message.data))
        raise aiohttp.ClientConnectionResetError("the stream has ended")

    # Lag

    def _mark(self, lsn: Lsn) -> None:
        self._marks.append((lsn, self._loop.time()))
        self._look_back()

    def _look_back(self) -> None:
        while self._marks and self._marks[0][0] <= self._journal.last_lsn:
            self.behind_since = self._marks.pop(0)[1]

    # Other files

    async def _roll_back(self, lsn: Lsn) -> None:
        """Take back what the master does not have; it stays in a directory of its own."""
        directory, last = self._journal.directory, self._journal.last_lsn
        self._set_state("copying", None)
        name = self._name_aside(lsn)
        kept: list[Path | None] = []

        def change() -> None:
            kept.append(aside.copy_behind(directory, lsn, name))
            aside.cut_behind(directory, lsn)

        await self._rebuild(change)
        self._node.rolled_back()
        log.error(
            "records %d to %d of this server are not in the master's history. They are taken back and kept in %s:"
            " `synap journal dump --data` with that directory prints them",
            *(lsn + 1, last, kept[0]),
        )

    async def _copy(self, session: aiohttp.ClientSession, url: str, diverged: bool) -> None:
        """Begin anew from a snapshot of the node that is followed."""
        directory = self._journal.directory
        self._set_state("copying", None)
        begun = next((path.name.removesuffix(INCOMING) for path in directory.glob(f"*{INCOMING}")), "")
        async with session.get(_under(url, SNAPSHOT_PATH), params={"begun": begun}) as response:
            response.raise_for_status()
            offer = msgspec.json.decode(await response.content.read(OFFER_BYTES_MAX), type=SnapshotOffer)
        node, last = self._node, self._journal.last_lsn
        diverged = diverged or common_lsn(node.terms, last, offer.terms) < min(last, offer.lsn)
        if offer.lsn < last and not (diverged or node.begins_anew):
            raise NotFollowed(f"its newest snapshot ends with record {offer.lsn}, this server has {last}")
        log.info("copying the data of %s: a snapshot up to record %d, %d bytes", public(url), offer.lsn, offer.bytes)
        downloaded = await self._download(session, url, offer) if offer.lsn else None
        if downloaded is not None:
            await asyncio.to_thread(_check, downloaded, offer)
        name = self._name_aside(0)
        kept: list[Path] = []

        def change() -> None:
            if diverged:
                kept.append(aside.set_aside(directory, name))
            else:
                aside.wipe(directory)
            if downloaded is not None:
                aside.install(directory, downloaded)

        self._node.replacing(Incoming(lsn=offer.lsn, epoch=offer.epoch, terms=offer.terms))
        await self._rebuild(change)
        self._node.installed()
        for path in kept:
            log.error("this server had data of another history: all of it is kept in %s", path)

    async def _download(self, session: aiohttp.ClientSession, url: str, offer: SnapshotOffer) -> Path:
        """The snapshot, as a file; what came of it in an earlier attempt is not asked for again."""
        directory = self._journal.directory
        path = directory / f"{offer.name}{INCOMING}"
        for other in directory.glob(f"*{INCOMING}"):
            if other != path:
                other.unlink()
        with path.open("ab") as file:
            begun = file.tell()
            if begun < offer.bytes:
                headers = {"Range": f"bytes={begun}-"} if begun else {}
                async with session.get(_under(url, f"{SNAPSHOT_PATH}/{offer.name}"), headers=headers) as response:
                    response.raise_for_status()
                    if begun and response.status != 206:
                        file.truncate(0)
                    async for part in response.content.iter_chunked(READ_BYTES):
                        self._node.heard(self.now_ms)
                        file.write(part)
                        if file.tell() > offer.bytes:
                            break
        if path.stat().st_size != offer.bytes:
            path.unlink()
            raise NotUnderstood(f"the snapshot has another length than the {offer.bytes} bytes announced")
        return path

    async def _rebuild(self, change: Callable[[], object]) -> None:
        self._is_rebuilding = True
        try:
            await self._machine.rebuild(change)
        finally:
            self._is_rebuilding = False
        self.behind_since, self._marks = None, []

    def _name_aside(self, lsn: Lsn) -> str:
        """A name for what is put aside: from which record on, and who had written it."""
        term = term_at(self._node.terms, self._journal.last_lsn)
        return f"diverged-{lsn + 1:020d}-{term.id if term is not None else 'unknown'}"

    # What it is doing

    def _wait_because(self, reason: str) -> None:
        self._set_state("waiting", reason)

    def _set_state(self, state: str, reason: str | None) -> None:
        if (state, reason) != (self.state, self.reason):
            self.state, self.reason = state, reason
            url = public(self._node.upstream or "nobody")
            log.log(
                logging.WARNING if reason else logging.INFO,
                "following %s: %s%s",
                url,
                state,
                f": {reason}" if reason else "",
            )


def _check(path: Path, offer: SnapshotOffer) -> None:
    """Raise JournalDamaged, NotUnderstood unless the file is the snapshot that was offered."""
    snapshot.check(path)
    if snapshot.head(path)[0] != offer.lsn:
        raise NotUnderstood(f"the snapshot is not one of record {offer.lsn}")


def _under(url: str, path: str) -> str:
    return url.rstrip("/") + path
