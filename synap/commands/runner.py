"""One command at a time: gates, handler, journal.

    who asks ─▶ decode ─▶ gates (permission, phase, disk, memory, key length) ─▶ handler ─▶ journal

The dispatcher (dispatcher.py) makes requests of it. What waits - for data, or for work in another thread - leaves as
`NothingFound`, and the dispatcher sees to it.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import Callable
from time import perf_counter
from typing import Any

import msgspec
import orjson

from synap.clock import Clock, Millis, Moments
from synap.commands import envelope
from synap.commands.admission import Admission, Later, Revealing, add_trace
from synap.commands.audit import caller_fields
from synap.commands.caller import SERVER, Caller
from synap.commands.credentials import Credentials
from synap.commands.executor import CLOCK, TRANSACTION, Bound, Call, Executor, Memory, Transaction
from synap.commands.gates import Gates, Limits, Log, lacking, unauthorized
from synap.commands.permissions import named_keys
from synap.commands.reply import ACKS, WRITTEN
from synap.commands.slices import Sliced
from synap.commands.slowlog import SlowLog
from synap.commands.state import State
from synap.commands.table import Command, NothingYet, Unchanged
from synap.errors import (
    CredentialExpired,
    Internal,
    InvalidRequest,
    NeedsWebSocket,
    SynapError,
    Unavailable,
    UnknownCommand,
)

log = logging.getLogger("synap.dispatcher")

# Keys whose time is over are mostly gone before a command runs; a rush of them is left to the sweep in between.
SWEPT_BY_COMMAND_MAX = 200

# How long work in another thread may take.
WORKING_SECS_MAX = 30.0

DENIALS = (401, 403, 429)

# A command whose cost does not depend on the data takes less than this: it need not be timed each time to be noticed.
STEADY_SECS_MAX = 0.001

KEY_CHARS_SHOWN_MAX = 200

encode_json = msgspec.json.Encoder().encode


class NothingFound(Exception):
    """A blocking command has found nothing."""

    def __init__(self, bound: Bound, found: NothingYet) -> None:
        super().__init__(bound.name)
        self.bound = bound
        self.found = found

    def empty(self) -> bytes:
        """The result that says so, when the time is over or there is none."""
        if isinstance(self.found.result, Work):
            raise Unavailable("the server was too busy for this command; try again later")
        if isinstance(self.found.result, Sliced):
            return self.found.result.finish()
        self.bound.succeeded += 1
        return encode_json(self.found.result)


class Work:
    """Work in another thread, and what came of it."""

    __slots__ = ("came_of_it", "then")

    def __init__(self, later: Later) -> None:
        self.then = later.then
        self.came_of_it: Any = None

    def admitted(self, now: Millis) -> Any:
        """What the command is run with. Raises what the work raised."""
        if isinstance(self.came_of_it, BaseException):
            raise self.came_of_it
        return self.then(self.came_of_it, now)


class TimeOfRecords:
    """On a replica nothing comes of its own: time is that of the last record, and so it stands still between two."""

    def __init__(self, state: State) -> None:
        self._state = state

    @property
    def held(self) -> Millis:
        """When the last record was made."""
        return self._state.time

    def hold(self) -> Millis:
        """When the last record was made."""
        return self._state.time


class PendingTransaction:
    """What an atomic batch or an idempotent request gathers for its one record."""

    __slots__ = ("calls", "memories")

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.memories: list[Memory] = []


class Runner:
    """Runs single commands. One per server."""

    def __init__(
        self,
        executor: Executor,
        journal: Log,
        clock: Clock,
        limits: Limits,
        default_ack: int = WRITTEN,
        credentials: Credentials | None = None,
        slowlog: SlowLog | None = None,
    ) -> None:
        self._refusal: Unavailable | None = None
        self._write_refusal: Callable[[], SynapError] | None = None
        """Where no records are made: why."""
        self._bar: Callable[[Bound], None] | None = None
        """Raises for commands that are refused at present; None while none are."""
        self.errors_by_code: dict[str, int] = {}
        self.bound = {name: b for name, b in executor.bound.items() if not b.command.internal}
        self._names = frozenset(self.bound)
        self._hints = True
        """Whether a refusal says what may have been meant: the search takes longer than most commands."""
        self.line = executor.state.line
        """Blocking commands that wait, and subscriptions."""
        self._executor = executor
        self._state = executor.state
        self._journal = journal
        self._clock = clock
        self._time: Moments = clock
        """When commands are run: now, or on a replica, when the last record was made."""
        self._limits = limits
        self._arrived = self.line.arrived
        self._gates = Gates(executor, journal, limits)
        self._unchecked_bytes = self._gates.unchecked_bytes
        self._has_memory_limit = limits.memory_bytes > 0
        self.credentials = credentials or Credentials(executor.state.accounts)
        self.audit = self.credentials.audit
        self.slowlog = slowlog or SlowLog()
        self.offload: Callable[[Callable[[], Any], Callable[[Any], None]], None] | None = None
        """Does work in another thread and calls back with what came of it, be it an exception; None: at once, here.

        Raises Unavailable.
        """
        self.take_turns: Callable[[Sliced, Callable[[], bool], Callable[[], None]], None] | None = None
        """Does the work for a result in slices as long as the function says that it is wanted, and calls back; None: at
        once.
        """
        self._caller = SERVER
        """Who has sent the request being answered."""
        self._asked_as: str | None = None
        """The id its client has given it."""
        self._noted_secs = 0.0 if log.isEnabledFor(logging.DEBUG) else limits.slow_secs
        if self._noted_secs < STEADY_SECS_MAX:
            for bound in self.bound.values():
                bound.is_steady = False
        self.default_ack = default_ack
        """How far a write must be before its reply, unless its request says."""
        self._noticed_at: Millis = 0
        """When something was last found to have expired. The journal must know that it was so late."""
        self._swept_at: Millis = -1  # once a moment is enough for all commands
        self._requests = 0
        self._templates = envelope.ReplyTemplates(secrets.token_hex(8).encode(), [a.encode() for a in ACKS])

    @property
    def refusal(self) -> Unavailable | None:
        """Set while the server starts or drains: every command is answered with it."""
        return self._refusal

    @refusal.setter
    def refusal(self, refusal: Unavailable | None) -> None:
        self._refusal = refusal
        self._bar = None if refusal is None and self._write_refusal is None else self._refuse

    @property
    def is_replica(self) -> bool:
        """Whether no records are made here."""
        return self._write_refusal is not None

    def be_replica(self, refusal: Callable[[], SynapError]) -> None:
        """From now on records come from elsewhere, if at all: what would make one is answered with a `refusal`."""
        self._write_refusal = refusal
        self._time = TimeOfRecords(self._state)
        self.refusal = self._refusal

    def be_master(self) -> None:
        """From now on records are made here; time goes on where the last one has left it."""
        self._clock.advance_to(self._state.time)
        self._write_refusal = None
        self._time = self._clock
        self.refusal = self._refusal

    def now(self) -> Millis:
        """The moment at which commands of this tick run."""
        return self._time.hold()

    def sweep(self, limit: int) -> bool:
        """Do up to `limit` of each kind of change that time has brought, and journal how late it is if there are any.

        Nobody has been told of them yet; after this, no restart on a slower clock can undo them. Says whether it did
        as many of one kind, so that there may be more.
        """
        now, state = self._time.hold(), self._state
        keyspace, queues, streams = state.keyspace, state.queues, state.streams
        changes = (keyspace.sweep(now, limit), queues.advance(now, limit), streams.sweep(now, limit))
        self._swept_at = now
        if any(changes) or state.next_due <= now:
            self._noticed_at = now
        self._record_lateness()
        return max(*changes, state.idempotency.sweep(now, limit)) >= limit

    def tick(self, limit: int, secs: float = 0.0) -> bool:
        """`sweep`, again and again for about `secs` if need be; serve those who have waited for what it brought, and
        free for as long what is in the bin. Says whether there is more to do.
        """
        if self.refusal is not None:
            return False
        until = perf_counter() + secs
        while (is_behind := self.sweep(limit)) and perf_counter() < until:
            pass
        self._serve()
        waste, until = self._state.bin, perf_counter() + secs
        while waste and perf_counter() < until:
            waste.free()
        return is_behind or bool(waste)

    def perform(self, command: str, payload: Any) -> None:
        """Run a command that only the server itself runs, past all gates but the journal's."""
        self.note(command, payload)
        self._serve()

    def note(self, command: str, payload: Any) -> None:
        """`perform` a command that brings nothing anybody waits for; may be called while they are served."""
        if self._may_append():
            bound, now = self._executor.bound[command], self._time.hold()
            if type(bound.handler(self._state, payload, now)) is not Unchanged:
                self._append(bound.tag, encode_json(payload), now)

    def enter(self, caller: Caller, command: Command | None = None) -> None:
        """Check a caller before its request is looked at: the bare connection, or one for a command.

        Raises Unauthorized, Forbidden, RateLimitExceeded.
        """
        try:
            if caller.is_checked:
                caller.check(self._clock.now())
            if caller.is_nobody and not (command is not None and command.is_open):
                raise unauthorized()
        except SynapError as error:
            self._caller = caller
            raise self._failure(error) from None

    def permit(self, caller: Caller, permission: str) -> None:
        """Check that a caller may see what is no command. Raises Unauthorized, Forbidden, RateLimitExceeded."""
        self.enter(caller)
        if caller.identity is not None and caller.identity.rules[permission] is not None:
            self._caller = caller
            raise self._failure(lacking(caller, permission))

    def record_time(self) -> None:
        """Journal how late it is, so that a restart on a slower clock does not turn it back."""
        if self._may_append():
            self._append(CLOCK.encode(), b"{}", self._time.hold())

    def ready(self) -> None:
        """The state is recovered: begin to execute commands."""
        self._clock.advance_to(self._state.time)
        self.refusal = None

    def serve(self) -> None:
        """Serve those who have waited for what has come from elsewhere."""
        if self._arrived:
            self._serve()

    # One command

    def _run(self, bound: Bound, raw: bytes, now: Millis, transaction: PendingTransaction | None) -> Any:
        """Validate, pass the gates, execute, and journal what changed something. Returns the result."""
        caller, decode = self._caller, bound.decode
        try:
            payload = decode(raw) if caller.is_plain else self._permitted(bound, raw)
            if len(raw) > self._unchecked_bytes:
                self._gates.check_large(bound, raw, payload)
            if self._bar is not None:
                self._bar(bound)
            if bound.attaches and caller.session is None:
                raise NeedsWebSocket(
                    f"{bound.name} needs a connection to push to: send it on a WebSocket at /api/v1/ws"
                )
            if bound.writes and (self._has_memory_limit or self._journal.failure is not None):
                self._admit_write(bound, now, transaction)
        except (SynapError, *envelope.UNREADABLE) as error:
            bound.rejected += 1
            raise error if isinstance(error, SynapError) else bound.refusal(error, hints=self._hints) from None
        if bound.looks_at.next_due <= now and now != self._swept_at:
            self.sweep(SWEPT_BY_COMMAND_MAX)
        if not caller.is_plain and add_trace(payload, bound.command, caller.trace):
            raw = encode_json(payload)
        if bound.admit is not None:
            at = now if bound.writes else self._clock.hold()  # a token's time is not that of a replica's records
            admitted = bound.admit(payload, Admission(self._state, caller, at, self.credentials))
            if admitted is not None:
                return self._execute_admitted(bound, admitted, now, transaction)
        return self._execute(bound, payload, raw, now, transaction)

    def _execute_admitted(
        self, bound: Bound, admitted: Any, now: Millis, transaction: PendingTransaction | None
    ) -> Any:
        """Execute what came out of an admission."""
        if type(admitted) is Later:
            if self.offload is not None:
                raise self._begin(bound, admitted, self.offload)
            admitted = admitted.then(admitted.work(), now)
        if type(admitted) is Revealing:
            payload = admitted.payload
            return admitted.reveal(self._execute(bound, payload, encode_json(payload), now, transaction))
        return self._execute(bound, admitted, encode_json(admitted), now, transaction)

    def _execute(
        self, bound: Bound, payload: Any, raw: bytes, now: Millis, transaction: PendingTransaction | None
    ) -> Any:
        """Run the handler, and journal what changed something."""
        is_timed = not bound.succeeded & bound.untimed
        handler = bound.handler
        begun = perf_counter() if is_timed else 0.0
        try:
            if bound.attaches:
                result = handler(self._state, payload, now, self._caller.session)
            else:
                result = handler(self._state, payload, now)
        except SynapError:
            bound.failed += 1
            raise
        if bound.writes:
            if type(result) is NothingYet:
                if result.changed:
                    self._record(bound, raw, now, transaction)
                raise NothingFound(bound, result)
        elif type(result) is Sliced:
            if self.take_turns is not None:
                raise self._begin_slices(bound, result, self.take_turns)
            result = msgspec.Raw(result.finish())
        bound.succeeded += 1
        if is_timed:
            took = perf_counter() - begun
            bound.took(took)
            if took >= self._noted_secs:
                self._note(bound, payload, took, now)
        if bound.writes:
            if type(result) is Unchanged:
                return result.result
            if transaction is None:
                self._append(bound.tag, raw, now)
            else:
                self._record(bound, raw, now, transaction)
            if bound.is_audited:
                self.audit.changed(bound.name, ", ".join(named_keys(bound.command, payload)), self._caller)
        return result

    def _begin(self, bound: Bound, later: Later, offload: Callable[..., None]) -> NothingFound:
        """Have work done in another thread; its request waits for that as others do for data."""
        work = Work(later)
        topic = (Later, work)

        def done(came_of_it: Any) -> None:
            work.came_of_it = came_of_it
            self._state.arrivals.note(topic)
            self._serve()

        offload(later.work, done)
        return NothingFound(bound, NothingYet(work, WORKING_SECS_MAX, [topic], lambda _: None, None, False, False))

    def _begin_slices(self, bound: Bound, work: Sliced, take_turns: Callable[..., None]) -> NothingFound:
        """Have a result made in slices; its request waits for that as others do for data."""
        topic, arrivals = (Sliced, work), self._state.arrivals

        def done() -> None:
            arrivals.note(topic)
            self._serve()

        take_turns(work, lambda: topic in arrivals.awaited, done)
        return NothingFound(bound, NothingYet(work, WORKING_SECS_MAX, [topic], lambda _: None, None, False, False))

    def _sliced(self, bound: Bound, work: Sliced, raw: bytes, now: Millis) -> bytes:
        """The payload that has been made. Raises what the work raised."""
        self._check_permission(bound, raw)
        payload = work.finish()
        bound.succeeded += 1
        bound.took(work.secs)
        if work.secs >= self._noted_secs:
            self._note(bound, bound.decode(raw), work.secs, now)
        return payload

    def _note(self, bound: Bound, payload: Any, took: float, now: Millis) -> None:
        """Log a command: every one at level debug, else those that took long."""
        caller, key, request_id = self._caller, next(named_keys(bound.command, payload), None), self._current_id()
        fields = {"command": bound.name, "duration_ms": round(took * 1000, 3), "request_id": request_id}
        fields |= caller_fields(caller) | ({} if key is None else {"key": key[:KEY_CHARS_SHOWN_MAX]})
        if took >= self._limits.slow_secs:
            client = "" if caller.peer is None else str(caller.peer)
            self.slowlog.note(now, bound.name, key, took, client, request_id, caller.trace)
            log.warning("slow command", extra={"fields": fields})
        else:
            log.debug("command", extra={"fields": fields})

    def _once(
        self,
        bound: Bound,
        raw: bytes,
        key: str,
        now: Millis,
        transaction: PendingTransaction | None,
        form: bytes | None = None,
    ) -> bytes:
        """The batch entry for a command with an idempotency key: remembered, or run (as `form`) and remembered now."""

        self._check_permission(bound, raw)
        if bound.command.is_secret:
            raise InvalidRequest(f"{bound.name} takes no idempotency key: its reply is not kept")

        def run(transaction: PendingTransaction) -> bytes:
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
        transaction: PendingTransaction | None,
        run: Callable[[PendingTransaction], bytes],
    ) -> bytes:
        fingerprint = hashlib.blake2b(request, digest_size=16).digest()
        found = self._state.idempotency.find(key, fingerprint, now)
        if found is not None:
            return found
        if self._write_refusal is not None:  # the reply would have to be remembered
            raise self._write_refusal()
        outer, transaction = transaction, transaction or PendingTransaction()
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

    # Journal

    def _append(self, name: bytes, payload: bytes, now: Millis) -> None:
        state = self._state
        state.lsn = lsn = state.lsn + 1
        state.time = now
        self._journal.append(lsn, now, name, payload)

    def _record_lateness(self) -> None:
        """Have the journal know how late it was when something was found to have expired."""
        if self._noticed_at > self._state.time and self._may_append():
            self._append(CLOCK.encode(), b"{}", self._time.hold())

    def _may_append(self) -> bool:
        """Whether this server may write records of its own now."""
        return self._journal.failure is None and self._write_refusal is None

    def _record(self, bound: Bound, raw: bytes, now: Millis, transaction: PendingTransaction | None) -> None:
        if transaction is None:
            self._append(bound.tag, raw, now)
        else:
            transaction.calls.append(Call(bound.name, msgspec.Raw(raw)))

    def _append_transaction(self, transaction: PendingTransaction, now: Millis) -> None:
        if transaction.calls or transaction.memories:
            payload = encode_json(Transaction(transaction.calls, transaction.memories))
            self._append(TRANSACTION.encode(), payload, now)

    # Others

    def _refuse(self, bound: Bound) -> None:
        """Raise for a command that cannot run at present."""
        if self._refusal is not None and not bound.command.at_any_time:
            raise self._refusal
        if self._write_refusal is not None and bound.needs_master:
            raise self._write_refusal()

    def _serve(self) -> None:
        """Serve the line. Those in it are not who has brought something."""
        caller, asked_as = self._caller, self._asked_as
        try:
            self.line.serve()
        finally:
            self._caller, self._asked_as = caller, asked_as

    def _permitted(self, bound: Bound, raw: bytes) -> Any:
        """The payload of a command that the caller may run. Raises Unauthorized, Forbidden, what the decoder raises."""
        identity = self._caller.identity
        rule = None if identity is None else identity.rules[bound.name]
        if rule is not None and not rule:
            self._gates.check_command(bound, self._caller)
        payload = bound.decode(raw)
        if rule and (bound.key_of is None or not rule.hold(bound.key_of(payload))):
            self._gates.check_keys(bound, payload, rule, self._caller)
        return payload

    def _check_permission(self, bound: Bound, raw: bytes) -> None:
        """Check that the caller may run a command. Raises Unauthorized, Forbidden, InvalidPayload."""
        if self._caller.identity is not None:
            try:
                self._permitted(bound, raw)
            except envelope.UNREADABLE as error:
                raise bound.refusal(error, hints=self._hints) from None

    def _memory_key(self, key: str) -> str:
        """What a reply is remembered under: one credential's idempotency keys are no other's."""
        envelope.check_idempotency_key(key)
        identity = self._caller.identity
        return key if identity is None else f"{identity.grant.id}\0{key}"

    def _find(self, name: str) -> Bound:
        bound = self.bound.get(name)
        if bound is None:
            if self._caller.is_nobody:
                raise unauthorized()
            name = name[: envelope.NAME_CHARS_MAX]
            suggestion = envelope.nearest(name, self._names) if self._hints else None
            hint = f"; did you mean {suggestion}?" if suggestion else "; GET /api/v1/commands lists them all"
            raise UnknownCommand(f"there is no command {name!r}{hint}", suggestion=suggestion)
        return bound

    def _admit_write(self, bound: Bound, now: Millis, transaction: PendingTransaction | None) -> None:
        self._gates.admit_write(bound, now, lambda evict, raw, at: self._record(evict, raw, at, transaction))

    def _failure(self, error: Exception) -> SynapError:
        """The error to tell, counted; a bug is logged under an incident id and told only by that."""
        if isinstance(error, RecursionError):
            error = envelope.too_deep()
        if not isinstance(error, SynapError):
            incident = secrets.token_hex(8)
            fields = {"incident": incident, "request_id": self._current_id(), **caller_fields(self._caller)}
            log.error("incident %s", incident, exc_info=error, extra={"fields": fields})
            error = Internal(f"an unexpected error, logged as incident {incident}", incident=incident)
        elif isinstance(error, CredentialExpired):
            self._noticed_at = self._clock.hold()
            self._record_lateness()
        if error.status in DENIALS and self._caller is not SERVER:
            self.audit.denied(error, error.details.get("command"), self._caller, self._clock.hold())
        self.errors_by_code[error.code] = self.errors_by_code.get(error.code, 0) + 1
        return error

    def _current_id(self) -> str:
        """The id that the request being answered has, or gets with its reply."""
        return self._asked_as or orjson.loads(self._templates.request_id(self._requests + 1))
