"""The live path: request bytes in, reply out, and what changed the state handed to the journal.

    caller ─▶ decode ─▶ gates (permission, phase, disk, memory, key length) ─▶ handler ─▶ journal ─▶ reply

A reply may leave once the journal has reached `reply.lsn` at the level `reply.ack`; the transport waits for
that (journal/committer.py). A read waits for the same: what it saw may have been written in the same tick.

`answer` serves a whole request body, `call` one command whose payload is at hand. Both are synchronous, so nothing
comes between the commands of a batch. A blocking command that finds nothing raises `WouldBlock` (waiting.py), and so
does one whose admission takes long; whoever waits is served right after the request, or the batch, that brought
something. Who asks is the `Caller` (caller.py): it is checked once a request, and its permissions once a command.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import msgspec
import orjson

from synap.clock import Millis
from synap.commands import envelope, packed
from synap.commands.admission import Later
from synap.commands.caller import SERVER, Caller
from synap.commands.envelope import Batch, Entry, decode_entry
from synap.commands.executor import Bound, Memory
from synap.commands.gates import unauthorized
from synap.commands.reply import ACKS, Outcome, Reply, level_of
from synap.commands.runner import NothingFound, PendingTransaction, Runner, Work, encode_json
from synap.commands.slices import Sliced
from synap.commands.waiting import Wait, WouldBlock
from synap.engines.arrivals import Topic
from synap.engines.collection import Collection
from synap.errors import (
    DiskFull,
    InvalidRequest,
    NeedsWebSocket,
    PayloadTooLarge,
    SynapError,
)

# A batch that reads the same large value ten thousand times must not take the server down.
REPLY_BYTES_MAX = 256 * 1024 * 1024

A = TypeVar("A")


class _BatchRun:
    """A batch on its way through: the strongest acknowledgement asked for, and whether it may have written."""

    __slots__ = ("failures", "level", "now", "result_bytes", "transaction", "wrote")

    def __init__(self, level: int, now: Millis) -> None:
        self.failures = 0
        self.result_bytes = 0
        self.level = level
        self.now = now
        self.transaction: PendingTransaction | None = None
        self.wrote = False


class Dispatcher(Runner):
    """Executes requests. One per server."""

    def answer(
        self, body: bytes, idempotency_key: str | None = None, ack: str | None = None, caller: Caller = SERVER
    ) -> Reply:
        """The reply to a JSON body; the header values stand in for absent envelope fields. Raises only WouldBlock."""
        request: Entry | Batch | None = None
        self._caller = caller
        try:
            if caller.is_checked:
                caller.check(self._clock.held or self._clock.hold())
            if not body.isascii():
                envelope.check_utf8(body)
            try:
                request = decode_entry(body)
            except envelope.UNREADABLE as error:
                request = envelope.decode_other(body, error)
                try:
                    return self._answer_batch(request, idempotency_key, ack)
                finally:
                    self._hints = True
            self._asked_as = request.request_id
            key = request.idempotency_key or idempotency_key
            if key is not None:
                key = self._memory_key(key)
            ack = ack if request.ack is None else request.ack
            level = self.default_ack if ack is None else level_of(ack)
            bound = self.bound.get(request.command) or self._find(request.command)
            if key is None or not bound.writes:
                payload = encode_json(self._run(bound, request.payload, self._time.held or self._time.hold(), None))
            else:
                payload = envelope.payload_of_entry(self._once(bound, request.payload, key, self._time.hold(), None))
            lsn = self._state.lsn
            if self._arrived:
                self._serve()
            if request.request_id is not None:
                return self._named_reply(orjson.dumps(request.request_id), payload, lsn, level, bound.writes)
            self._requests = number = self._requests + 1
            if bound.writes:
                return Reply(200, self._templates.write[level] % (number, lsn, payload), lsn, level, True)
            return Reply(200, self._templates.read % (number, payload), lsn, level, False)
        except NothingFound as nothing:
            raise self._blocked_answer(nothing, cast(Entry, request), key, level) from None
        except Exception as error:
            given = envelope.request_id_of(body) if request is None else request.request_id
            reply = self._answer_failure(error, self._request_id(given))
            if self._arrived:  # the failure is remembered, and somebody waits under the same idempotency key
                self._serve()
            return reply

    def answer_packed(
        self, body: bytes, idempotency_key: str | None = None, ack: str | None = None, caller: Caller = SERVER
    ) -> Reply:
        """`answer` for a MessagePack body."""
        try:
            reply = self.answer(packed.to_json(body), idempotency_key, ack, caller)
        except SynapError as error:
            reply = self.refuse(error, caller)
        except WouldBlock as blocked:
            blocked.wait.render = _packed
            raise
        return _packed(reply)

    def refuse(self, error: SynapError, caller: Caller = SERVER) -> Reply:
        """The reply to a request that never got as far as a command. It counts all the same."""
        self._caller = caller
        try:
            if caller.is_checked:
                caller.check(self._clock.now())
        except SynapError as refusal:
            error = refusal
        return self._answer_failure(error, self._request_id(None))

    def call(
        self,
        command: str,
        payload: bytes,
        idempotency_key: str | None = None,
        ack: str | None = None,
        caller: Caller = SERVER,
    ) -> Outcome:
        """Run one command whose `payload` is UTF-8 JSON. Raises SynapError; WouldBlock, and a wait may bring one.

        The caller has gone through `enter`.
        """
        self._caller, self._asked_as = caller, None
        try:
            level = self.default_ack if ack is None else level_of(ack)
            bound = self._find(command)
            key = self._memory_key(idempotency_key) if bound.writes and idempotency_key is not None else None
            outcome = self._outcome(bound, payload, key, level)
            if self._arrived:
                self._serve()
            return outcome
        except NothingFound as nothing:
            raise self._blocked_call(nothing, payload, key, level) from None
        except Exception as error:
            failure = self._failure(error)
            if self._arrived:
                self._serve()
            raise failure from None

    # Blocking commands (apart from `answer`: variables of a closure would slow down every request)

    def _blocked_answer(self, nothing: NothingFound, entry: Entry, key: str | None, level: int) -> WouldBlock:
        name = self._request_id(entry.request_id)

        def wrap(payload: bytes) -> Reply:
            return self._named_reply(name, payload, self._state.lsn, level, nothing.bound.writes)

        return self._would_block(nothing, entry.payload, key, wrap, lambda error: self._answer_failure(error, name))

    def _blocked_call(self, nothing: NothingFound, raw: bytes, key: str | None, level: int) -> WouldBlock:
        def wrap(payload: bytes) -> Outcome:
            return Outcome(payload, self._state.lsn, level, nothing.bound.writes, False)

        return self._would_block(nothing, raw, key, wrap, self._failure)

    def _would_block(
        self,
        nothing: NothingFound,
        raw: bytes,
        key: str | None,
        wrap: Callable[[bytes], A],
        fail: Callable[[Exception], A],
    ) -> WouldBlock:
        """A wait for the request `raw`; `wrap` makes the answer of a result, `fail` of an error."""
        nothing.__traceback__ = None  # it may be kept for long, and would keep the frames of this request
        found, topics = nothing.found, list(nothing.found.topics)
        caller = self._caller.apart_from_session()  # what the session had to add is in the form already
        if key is not None:  # the same request, sent again, may come to its end first
            topics.append((Memory, key))

        def attempt(topic: Topic) -> A | None:
            self._caller = caller
            try:
                if caller.identity is not None:  # what it may do may have changed meanwhile
                    caller.identity.check(self._clock.hold())
                return wrap(self._retry(nothing, topic, raw, key))
            except NothingFound:
                return None
            except Exception as error:
                return fail(error)

        def give_up() -> A:
            try:
                return wrap(nothing.empty())
            except SynapError as error:
                return fail(error)

        is_work = isinstance(found.result, Work | Sliced)
        seconds = found.seconds if is_work else min(found.seconds, self._limits.max_wait_secs)
        return WouldBlock(Wait(self.line, topics, seconds, attempt, give_up, found.name, found.for_all))

    def _retry(self, nothing: NothingFound, topic: Topic, raw: bytes, key: str | None) -> bytes:
        """The result of a command that has waited for a topic, instead of the one to the request `raw`."""
        now, bound = self._time.hold(), nothing.bound
        kind, name = cast(tuple[type, Any], topic)
        if kind is Later:
            work: Work = name
            self._check_permission(bound, raw)
            if self._bar is not None:
                self._bar(bound)
            if bound.writes:
                self._admit_write(bound, now, None)
            at = now if bound.writes else self._clock.hold()
            return encode_json(self._execute_admitted(bound, work.admitted(at), now, None))
        if kind is Sliced:
            return self._sliced(bound, name, raw, now)
        if kind is Memory:
            return envelope.payload_of_entry(self._once(bound, raw, name, now, None))
        if issubclass(kind, Collection) and not self._state.keyspace.holds(name, kind, now):
            # came and went in one batch
            raise NothingFound(bound, nothing.found)
        form = encode_json(nothing.found.form(topic))
        if key is None:
            return encode_json(self._run(bound, form, now, None))
        return envelope.payload_of_entry(self._once(bound, raw, key, now, None, form))

    # Batches

    def _answer_batch(self, batch: Batch, key: str | None, ack: str | None) -> Reply:
        if self._caller.is_nobody:
            raise unauthorized()
        key, ack = batch.idempotency_key or key, ack if batch.ack is None else batch.ack
        if key is not None:
            key = self._memory_key(key)
        if len(batch.commands) > self._limits.max_batch:
            raise PayloadTooLarge(
                f"commands: expected at most {self._limits.max_batch} in a batch, got {len(batch.commands)}",
                limit=self._limits.max_batch,
            )
        if self._caller.bucket is not None:
            self._caller.bucket.charge(max(len(batch.commands) - 1, 0))
        if self._refusal is not None:
            raise self._refusal
        self._asked_as = batch.request_id
        run = _BatchRun(self.default_ack if ack is None else level_of(ack), self._time.hold())
        if key is not None:
            results = self._batch_once(batch.commands, key, run)
        else:
            if batch.atomic:
                run.transaction = PendingTransaction()
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
        def execute(transaction: PendingTransaction) -> bytes:
            if self._journal.failure is not None:
                raise DiskFull.because(self._journal.failure)
            run.transaction = transaction
            return b"[%b]" % b",".join([self._run_entry(raw, run) for raw in commands])

        run.wrote = True
        results = self._remembered(b"\0".join((b"batch", *commands)), key, run.now, None, execute)
        return results[1:-1] if self._caller.identity is None else self._still_told(results, commands)

    def _still_told(self, results: bytes, commands: list[msgspec.Raw]) -> bytes:
        """The results of a batch, but for those that the caller may not be told any more."""
        told = [bytes(result) for result in msgspec.json.decode(results, type=list[msgspec.Raw])]
        for index, raw in enumerate(commands):
            try:
                entry = envelope.decode_single(raw, hints=False)
                self._check_permission(self._find(entry.command), entry.payload)
            except SynapError as error:
                told[index] = envelope.entry_failure(error)
        return b",".join(told)

    def _run_entry(self, raw: msgspec.Raw, run: _BatchRun) -> bytes:
        try:
            entry = envelope.decode_single(raw, hints=self._hints)
            bound = self.bound.get(entry.command) or self._find(entry.command)
            if run.result_bytes > REPLY_BYTES_MAX:
                raise PayloadTooLarge(
                    f"the reply is longer than {REPLY_BYTES_MAX} bytes already", limit=REPLY_BYTES_MAX
                )
            if bound.is_single:
                self._refuse_in_batch(bound, entry)
            if entry.ack is not None:
                run.level = max(run.level, level_of(entry.ack))
            if bound.writes:
                run.wrote = True
            if entry.idempotency_key is not None and bound.writes:
                key = self._memory_key(entry.idempotency_key)
                result = self._once(bound, entry.payload, key, run.now, run.transaction)
            else:
                payload = encode_json(self._run(bound, entry.payload, run.now, run.transaction))
                result = envelope.entry_success(payload)
        except NothingFound as nothing:  # inside a batch a timeout counts as 0
            result = envelope.entry_success(nothing.empty())
        except Exception as error:
            result = envelope.entry_failure(self._failure(error))
            run.failures += 1
            self._hints = run.failures < envelope.HINTS_MAX
        run.result_bytes += len(result)
        return result

    def _refuse_in_batch(self, bound: Bound, entry: Entry) -> None:
        if bound.attaches:
            raise NeedsWebSocket(f"{bound.name} cannot stand in a batch: send it on its own")
        self._check_permission(bound, entry.payload)
        raise InvalidRequest(f"{bound.name} cannot stand in a batch: send it on its own")

    # Answers

    def _outcome(self, bound: Bound, raw: bytes, key: str | None, level: int) -> Outcome:
        now = self._time.hold()
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
        seen_lsn = self._state.lsn if self._refusal is None else 0
        body = envelope.failure(failure, request_id)
        return Reply(failure.status, body, seen_lsn, self.default_ack, False, headers=failure.headers)

    def _request_id(self, given: str | None) -> bytes:
        if given is not None:
            return orjson.dumps(given)
        self._requests += 1
        return self._templates.request_id(self._requests)


def _packed(reply: Reply) -> Reply:
    reply.body = packed.from_json(reply.body)
    reply.is_packed = True
    return reply
