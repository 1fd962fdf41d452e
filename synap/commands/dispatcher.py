"""The live path: request bytes in, reply out, and what changed the state handed to the journal.

    decode ─▶ gates (phase, disk, memory, key length) ─▶ handler ─▶ journal ─▶ reply

A reply may leave once the journal has reached `reply.lsn` at the level `reply.ack`; the transport waits for
that (journal/committer.py). A read waits for the same: what it saw may have been written in the same tick.

`answer` serves a whole request body, `call` one command whose payload the caller has at hand. Both are
synchronous, so nothing comes between the commands of a batch. A blocking command that finds nothing raises
`WouldBlock` (waiting.py); whoever waits is served right after the request, or the batch, that brought something.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import msgspec
import orjson

from synap.clock import Clock, Millis
from synap.commands import envelope, packed
from synap.commands.envelope import Batch, Entry, decode_entry
from synap.commands.executor import CLOCK, TRANSACTION, Bound, Call, Executor, Memory, Transaction
from synap.commands.gates import Gates, Limits, Log
from synap.commands.session import Session
from synap.commands.table import NothingYet, Unchanged
from synap.commands.waiting import Wait, WouldBlock
from synap.engines.arrivals import Topic
from synap.engines.collection import Collection
from synap.errors import (
    DiskFull,
    Internal,
    InvalidRequest,
    NeedsWebSocket,
    PayloadTooLarge,
    SynapError,
    Unavailable,
    UnknownCommand,
)

log = logging.getLogger("synap.dispatcher")

# A batch that reads the same large value ten thousand times must not take the server down.
REPLY_BYTES_MAX = 256 * 1024 * 1024

# Keys whose time is over are mostly gone before a command runs; a rush of them is left to the sweep in between.
SWEPT_BY_COMMAND_MAX = 200

WRITTEN, SYNCED = 0, 1
ACKS = ("written", "synced")

A = TypeVar("A")

encode_json = msgspec.json.Encoder().encode


class Reply(msgspec.Struct, gc=False):
    """A rendered answer, and what must be durable before it leaves."""

    status: int
    body: bytes
    lsn: int
    ack: int
    wrote: bool
    is_packed: bool = False

    def refused(self, error: SynapError) -> Reply:
        """The answer instead, when the journal did not get that far."""
        body = packed.to_json(self.body) if self.is_packed else self.body
        body = envelope.failure(error, orjson.dumps(envelope.request_id_of(body)))
        return Reply(
            error.status, packed.from_json(body) if self.is_packed else body, 0, WRITTEN, False, self.is_packed
        )


class Outcome(NamedTuple):
    """A command's result as JSON, and what must be durable before it is told."""

    payload: bytes
    lsn: int
    ack: int
    wrote: bool
    missing: bool
    """The result says `found: false`."""


class _NothingFound(Exception):
    """A blocking command has found nothing."""

    def __init__(self, bound: Bound, found: NothingYet) -> None:
        super().__init__(bound.name)
        self.bound = bound
        self.found = found

    def empty(self) -> bytes:
        """The result that says so, when the time is over or there is none."""
        self.bound.succeeded += 1
        return encode_json(self.found.result)


class _Transaction:
    """What an atomic batch or an idempotent request gathers for its one record."""

    __slots__ = ("calls", "memories")

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.memories: list[Memory] = []


class _BatchRun:
    """A batch on its way through: the strongest acknowledgement asked for, and whether it may have written."""

    __slots__ = ("level", "now", "result_bytes", "transaction", "wrote")

    def __init__(self, level: int, now: Millis) -> None:
        self.result_bytes = 0
        self.level = level
        self.now = now
        self.transaction: _Transaction | None = None
        self.wrote = False


class Dispatcher:
    """Executes requests. One per server."""

    def __init__(
        self, executor: Executor, journal: Log, clock: Clock, limits: Limits, default_ack: int = WRITTEN
    ) -> None:
        self.refusal: Unavailable | None = None
        """Set while the server starts or drains: every command is answered with it."""
        self.errors_by_code: dict[str, int] = {}
        self.bound = {name: b for name, b in executor.bound.items() if not b.command.internal}
        self.line = executor.state.line
        """Blocking commands that wait, and subscriptions."""
        self._executor = executor
        self._state = executor.state
        self._keyspace = executor.state.keyspace
        self._queues = executor.state.queues
        self._streams = executor.state.streams
        self._journal = journal
        self._clock = clock
        self._limits = limits
        self._arrived = self.line.arrived
        self._gates = Gates(executor, journal, limits)
        self._unchecked_bytes = self._gates.unchecked_bytes
        self._has_memory_limit = limits.memory_bytes > 0
        self._session: Session | None = None
        """Of the request being answered, when it came on a connection that stays open."""
        self._default_ack = default_ack
        self._noticed_at: Millis = 0
        """When something was last found to have expired. The journal must know that it was so late."""
        self._requests = 0
        self._templates = envelope.ReplyTemplates(secrets.token_hex(8).encode(), [a.encode() for a in ACKS])

    def answer(self, body: bytes, idempotency_key: str | None = None, ack: str | None = None) -> Reply:
        """The reply to a JSON body; the header values stand in for absent envelope fields. Raises only WouldBlock."""
        request: Entry | Batch | None = None
        try:
            if not body.isascii():
                envelope.check_utf8(body)
            try:
                request = decode_entry(body)
            except envelope.UNREADABLE as error:
                request = envelope.decode_other(body, error)
                return self._answer_batch(request, idempotency_key, ack)
            key = request.idempotency_key or idempotency_key
            ack = ack if request.ack is None else request.ack
            level = self._default_ack if ack is None else _level(ack)
            bound = self.bound.get(request.command) or self._find(request.command)
            if key is None or not bound.writes:
                payload = encode_json(self._run(bound, request.payload, self._clock.held or self._clock.hold(), None))
            else:
                payload = envelope.payload_of_entry(self._once(bound, request.payload, key, self._clock.hold(), None))
            lsn = self._state.lsn
            if self._arrived:
                self._serve()
            if request.request_id is not None:
                return self._named_reply(orjson.dumps(request.request_id), payload, lsn, level, bound.writes)
            self._requests = number = self._requests + 1
            if bound.writes:
                return Reply(200, self._templates.write[level] % (number, lsn, payload), lsn, level, True)
            return Reply(200, self._templates.read % (number, payload), lsn, level, False)
        except _NothingFound as nothing:
            raise self._blocked_answer(nothing, cast(Entry, request), key, level) from None
        except Exception as error:
            given = envelope.request_id_of(body) if request is None else request.request_id
            reply = self._answer_failure(error, self._request_id(given))
            if self._arrived:  # the failure is remembered, and somebody waits under the same idempotency key
                self._serve()
            return reply

    def answer_packed(self, body: bytes, idempotency_key: str | None = None, ack: str | None = None) -> Reply:
        """`answer` for a MessagePack body."""
        try:
            reply = self.answer(packed.to_json(body), idempotency_key, ack)
        except InvalidRequest as error:
            reply = self.refuse(error)
        except WouldBlock as blocked:
            blocked.wait.render = _packed
            raise
        return _packed(reply)

    def refuse(self, error: SynapError) -> Reply:
        """The reply to a request that never got as far as a command."""
        return self._answer_failure(error, self._request_id(None))

    def call(self, command: str, payload: bytes, idempotency_key: str | None = None, ack: str | None = None) -> Outcome:
        """Run one command whose `payload` is UTF-8 JSON. Raises SynapError; WouldBlock, and a wait may bring one."""
        try:
            level = self._default_ack if ack is None else _level(ack)
            bound = self._find(command)
            key = idempotency_key if bound.writes else None
            outcome = self._outcome(bound, payload, key, level)
            if self._arrived:
                self._serve()
            return outcome
        except _NothingFound as nothing:
            raise self._blocked_call(nothing, payload, key, level) from None
        except Exception as error:
            failure = self._failure(error)
            if self._arrived:
                self._serve()
            raise failure from None

    def sweep(self, limit: int) -> None:
        """Do up to `limit` of each kind of change that time has brought, and journal how late it is if there are any.

        Nobody has been told of them yet; after this, no restart on a slower clock can undo them.
        """
        now, keyspace, queues, streams = self._clock.hold(), self._keyspace, self._queues, self._streams
        changed = keyspace.sweep(now, limit) + queues.advance(now, limit) + streams.sweep(now, limit)
        if changed or min(keyspace.next_due, queues.next_due, streams.next_due) <= now:
            self._noticed_at = now
        if self._noticed_at > self._state.time and self._journal.failure is None:
            self._append(CLOCK.encode(), b"{}", now)
        self._state.idempotency.sweep(now)

    def tick(self, limit: int) -> None:
        """`sweep`, and serve those who have waited for what it brought."""
        if self.refusal is None:
            self.sweep(limit)
            self._serve()

    def perform(self, command: str, payload: Any) -> None:
        """Run a command that only the server itself runs, past all gates but the journal's."""
        if self._journal.failure is None:
            bound, now = self._executor.bound[command], self._clock.hold()
            if type(bound.handler(self._state, payload, now)) is not Unchanged:
                self._append(bound.tag, encode_json(payload), now)
            self._serve()

    def record_time(self) -> None:
        """Journal how late it is, so that a restart on a slower clock does not turn it back."""
        if self._journal.failure is None:
            self._append(CLOCK.encode(), b"{}", self._clock.hold())

    def ready(self) -> None:
        """The state is recovered: begin to execute commands."""
        self._clock.advance_to(self._state.time)
        self.refusal = None

    # Connections that stay open

    def answer_on(self, session: Session, body: bytes, *, is_packed: bool = False) -> Reply:
        """`answer`, or `answer_packed`, for a request on a connection that can be pushed to."""
        self._session = session
        try:
            return self.answer_packed(body) if is_packed else self.answer(body)
        finally:
            self._session = None

    def call_on(self, session: Session, command: str, payload: bytes) -> Outcome:
        """`call` on a connection that can be pushed to."""
        self._session = session
        try:
            return self.call(command, payload)
        finally:
            self._session = None

    # Blocking commands (apart from `answer`: variables of a closure would slow down every request)

    def _blocked_answer(self, nothing: _NothingFound, entry: Entry, key: str | None, level: int) -> WouldBlock:
        name = self._request_id(entry.request_id)

        def wrap(payload: bytes) -> Reply:
            return self._named_reply(name, payload, self._state.lsn, level, True)

        return self._would_block(nothing, entry.payload, key, wrap, lambda error: self._answer_failure(error, name))

    def _blocked_call(self, nothing: _NothingFound, raw: bytes, key: str | None, level: int) -> WouldBlock:
        def wrap(payload: bytes) -> Outcome:
            return Outcome(payload, self._state.lsn, level, True, False)

        return self._would_block(nothing, raw, key, wrap, self._failure)

    def _would_block(
        self,
        nothing: _NothingFound,
        raw: bytes,
        key: str | None,
        wrap: Callable[[bytes], A],
        fail: Callable[[Exception], A],
    ) -> WouldBlock:
        """A wait for the request `raw`; `wrap` makes the answer of a result, `fail` of an error."""
        nothing.__traceback__ = None  # it may be kept for long, and would keep the frames of this request
        found, topics = nothing.found, list(nothing.found.topics)
        if key is not None:  # the same request, sent again, may come to its end first
            topics.append((Memory, key))

        def attempt(topic: Topic) -> A | None:
            try:
                return wrap(self._retry(nothing, topic, raw, key))
            except _NothingFound:
                return None
            except Exception as error:
                return fail(error)

        seconds = min(found.seconds, self._limits.max_wait_secs)
        wait = Wait(self.line, topics, seconds, attempt, lambda: wrap(nothing.empty()), found.name, found.for_all)
        return WouldBlock(wait)

    def _serve(self) -> None:
        """Serve the line. Those in it are not on the connection whose request has brought something."""
        session, self._session = self._session, None
        try:
            self.line.serve()
        finally:
            self._session = session

    def _retry(self, nothing: _NothingFound, topic: Topic, raw: bytes, key: str | None) -> bytes:
        """The result of a command that has waited for a topic, instead of the one to the request `raw`."""
        now, bound = self._clock.hold(), nothing.bound
        kind, name = cast(tuple[type, str], topic)
        if kind is Memory:
            return envelope.payload_of_entry(self._once(bound, raw, name, now, None))
        if issubclass(kind, Collection) and not self._keyspace.holds(name, kind, now):  # came and went in one batch
            raise _NothingFound(bound, nothing.found)
        form = encode_json(nothing.found.form(topic))
        if key is None:
            return encode_json(self._run(bound, form, now, None))
        return envelope.payload_of_entry(self._once(bound, raw, key, now, None, form))

    # One command

    def _outcome(self, bound: Bound, raw: bytes, key: str | None, level: int) -> Outcome:
        now = self._clock.hold()
        if key is not None:
            entry = self._once(bound, raw, key, now, None)
            return Outcome(envelope.payload_of_entry(entry), self._state.lsn, level, True, False)
        result = self._run(bound, raw, now, None)
        missing = getattr(result, "found", True) is False
        return Outcome(encode_json(result), self._state.lsn, level, bound.writes, missing)

    def _named_reply(self, request_id: bytes, payload: bytes, lsn: int, level: int, wrote: bool) -> Reply:
        if wrote:
            return Reply(200, self._templates.write_named[level] % (request_id, lsn, payload), lsn, level, True)
        return Reply(200, self._templates.read_named % (request_id, payload), lsn, level, False)

    def _answer_failure(self, error: Exception, request_id: bytes) -> Reply:
        failure = self._failure(error)
        seen_lsn = self._state.lsn if self.refusal is None else 0
        return Reply(failure.status, envelope.failure(failure, request_id), seen_lsn, self._default_ack, False)

    def _run(self, bound: Bound, raw: bytes, now: Millis, transaction: _Transaction | None) -> Any:
        """Validate, pass the gates, execute, and journal what changed something. Returns the result."""
        try:
            payload = bound.decode(raw)
            if len(raw) > self._unchecked_bytes:
                self._gates.check_large(bound, raw, payload)
            if self.refusal is not None:
                raise self.refusal
            if bound.attaches and self._session is None:
                raise NeedsWebSocket(
                    f"{bound.name} needs a connection to push to: send it on a WebSocket at /api/v1/ws"
                )
            if bound.writes and (self._has_memory_limit or self._journal.failure is not None):
                self._admit_write(bound, now, transaction)
        except (SynapError, *envelope.UNREADABLE) as error:
            bound.rejected += 1
            raise error if isinstance(error, SynapError) else bound.refusal(error) from None
        if bound.looks_at.next_due <= now:
            self.sweep(SWEPT_BY_COMMAND_MAX)
        if bound.admit is not None:
            payload = bound.admit(payload, self._session)
            raw = encode_json(payload)
        try:
            if bound.attaches:
                result = bound.handler(self._state, payload, now, self._session)
            else:
                result = bound.handler(self._state, payload, now)
        except SynapError:
            bound.failed += 1
            raise
        bound.succeeded += 1
        if bound.writes:
            if type(result) is Unchanged:
                return result.result
            if type(result) is NothingYet:
                bound.succeeded -= 1
                if result.changed:
                    self._record(bound, raw, now, transaction)
                raise _NothingFound(bound, result)
            self._record(bound, raw, now, transaction)
        return result

    def _once(
        self,
        bound: Bound,
        raw: bytes,
        key: str,
        now: Millis,
        transaction: _Transaction | None,
        form: bytes | None = None,
    ) -> bytes:
        """The batch entry for a command with an idempotency key: remembered, or run (as `form`) and remembered now."""

        def run(transaction: _Transaction) -> bytes:
            failed = bound.failed
            try:
                return envelope.entry_success(encode_json(self._run(bound, form or raw, now, transaction)))
            except SynapError as error:
                if bound.failed == failed:  # refused before it ran: the next try may succeed
                    raise
                return envelope.entry_failure(error)

        return self._remembered(bound.tag + b"\0" + raw, key, now, transaction, run)

    def _remembered(
        self,
        request: bytes,
        key: str,
        now: Millis,
        transaction: _Transaction | None,
        run: Callable[[_Transaction], bytes],
    ) -> bytes:
        envelope.check_idempotency_key(key)
        fingerprint = hashlib.blake2b(request, digest_size=16).digest()
        found = self._state.idempotency.find(key, fingerprint, now)
        if found is not None:
            return found
        outer, transaction = transaction, transaction or _Transaction()
        try:
            reply = run(transaction)
        except Exception:
            if outer is None:  # refused, but perhaps after others were evicted for it
                self._append_transaction(transaction, now)
            raise
        memory = Memory(key, fingerprint, msgspec.Raw(reply))
        self._executor.remember([memory], now)
        self._state.arrivals.note((Memory, key))
        transaction.memories.append(memory)
        if outer is None:
            self._append_transaction(transaction, now)
        return reply

    # Batches

    def _answer_batch(self, batch: Batch, key: str | None, ack: str | None) -> Reply:
        key, ack = batch.idempotency_key or key, ack if batch.ack is None else batch.ack
        if len(batch.commands) > self._limits.max_batch:
            raise PayloadTooLarge(
                f"commands: expected at most {self._limits.max_batch} in a batch, got {len(batch.commands)}",
                limit=self._limits.max_batch,
            )
        if self.refusal is not None:
            raise self.refusal
        run = _BatchRun(self._default_ack if ack is None else _level(ack), self._clock.hold())
        if key is not None:
            results = self._batch_once(batch.commands, key, run)
        else:
            if batch.atomic:
                run.transaction = _Transaction()
            results = b",".join([self._run_entry(raw, run) for raw in batch.commands])
            if run.transaction is not None:
                self._append_transaction(run.transaction, run.now)
        lsn = self._state.lsn
        if self._arrived:
            self._serve()
        ack = ACKS[run.level] if run.wrote else None
        body = envelope.batch_response(results, self._request_id(batch.request_id), ack, lsn)
        return Reply(200, body, lsn, run.level, run.wrote)

    def _batch_once(self, commands: list[msgspec.Raw], key: str, run: _BatchRun) -> bytes:
        def execute(transaction: _Transaction) -> bytes:
            if self._journal.failure is not None:
                raise DiskFull.because(self._journal.failure)
            run.transaction = transaction
            return b"[%b]" % b",".join([self._run_entry(raw, run) for raw in commands])

        run.wrote = True
        return self._remembered(b"\0".join((b"batch", *commands)), key, run.now, None, execute)[1:-1]

    def _run_entry(self, raw: msgspec.Raw, run: _BatchRun) -> bytes:
        try:
            entry = envelope.decode_single(raw)
            bound = self.bound.get(entry.command) or self._find(entry.command)
            if run.result_bytes > REPLY_BYTES_MAX:
                raise PayloadTooLarge(
                    f"the reply is longer than {REPLY_BYTES_MAX} bytes already", limit=REPLY_BYTES_MAX
                )
            if bound.attaches:
                raise NeedsWebSocket(f"{bound.name} cannot stand in a batch: send it on its own")
            if entry.ack is not None:
                run.level = max(run.level, _level(entry.ack))
            run.wrote = run.wrote or bound.writes
            if entry.idempotency_key is not None and bound.writes:
                result = self._once(bound, entry.payload, entry.idempotency_key, run.now, run.transaction)
            else:
                payload = encode_json(self._run(bound, entry.payload, run.now, run.transaction))
                result = envelope.entry_success(payload)
        except _NothingFound as nothing:  # inside a batch a timeout counts as 0
            result = envelope.entry_success(nothing.empty())
        except Exception as error:
            result = envelope.entry_failure(self._failure(error))
        run.result_bytes += len(result)
        return result

    # Journal

    def _append(self, name: bytes, payload: bytes, now: Millis) -> None:
        state = self._state
        state.lsn = lsn = state.lsn + 1
        state.time = now
        self._journal.append(lsn, now, name, payload)

    def _record(self, bound: Bound, raw: bytes, now: Millis, transaction: _Transaction | None) -> None:
        if transaction is None:
            self._append(bound.tag, raw, now)
        else:
            transaction.calls.append(Call(bound.name, msgspec.Raw(raw)))

    def _append_transaction(self, transaction: _Transaction, now: Millis) -> None:
        if transaction.calls or transaction.memories:
            payload = encode_json(Transaction(transaction.calls, transaction.memories))
            self._append(TRANSACTION.encode(), payload, now)

    # Gates and failures

    def _find(self, name: str) -> Bound:
        bound = self.bound.get(name)
        if bound is None:
            suggestion = envelope.nearest(name, self.bound)
            hint = f"; did you mean {suggestion}?" if suggestion else "; GET /api/v1/commands lists them all"
            raise UnknownCommand(f"there is no command {name[:100]!r}{hint}", suggestion=suggestion)
        return bound

    def _admit_write(self, bound: Bound, now: Millis, transaction: _Transaction | None) -> None:
        self._gates.admit_write(bound, now, lambda evict, raw, at: self._record(evict, raw, at, transaction))

    def _failure(self, error: Exception) -> SynapError:
        """The error to tell, counted; a bug is logged under an incident id and told only by that."""
        if isinstance(error, RecursionError):
            error = envelope.too_deep()
        if not isinstance(error, SynapError):
            incident = secrets.token_hex(8)
            log.error("incident %s", incident, exc_info=error)
            error = Internal(f"an unexpected error, logged as incident {incident}", incident=incident)
        self.errors_by_code[error.code] = self.errors_by_code.get(error.code, 0) + 1
        return error

    def _request_id(self, given: str | None) -> bytes:
        if given is not None:
            return orjson.dumps(given)
        self._requests += 1
        return self._templates.request_id(self._requests)


def _packed(reply: Reply) -> Reply:
    reply.body = packed.from_json(reply.body)
    reply.is_packed = True
    return reply


def _level(ack: str) -> int:
    try:
        return ACKS.index(ack)
    except ValueError:
        raise InvalidRequest(f"ack: expected one of {', '.join(ACKS)}, got {ack[:40]!r}") from None
