"""Calls of both clients: results, errors, options, batches."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from synap_sdk import AsyncSynap, Synap, SynapError, errors, results
from synap_sdk._commands import COMMANDS
from tests.support import ServerProcess


def test_a_result_has_the_names_of_the_contract(synap: Synap, name: str) -> None:
    assert synap.kv.set(name, {"a": [1, None]}, ttl=60) == results.KvSetResult(name, True, None)
    assert synap.kv.get(name) == results.KvGetResult(True, {"a": [1, None]}, 60)
    assert synap.kv.get(f"{name}-absent") == results.KvGetResult(False, None, None)


def test_both_clients_have_every_command() -> None:
    for client in (AsyncSynap(), Synap()):
        for command in COMMANDS:
            namespace, _, operation = command.partition(".")
            methods = getattr(client, namespace)
            assert hasattr(methods, operation) or hasattr(methods, f"{operation}_") or operation == "unsubscribe"
    assert {m for m in dir(Synap().queue) if m[0] != "_"} == {m for m in dir(AsyncSynap().queue) if m[0] != "_"}


def test_big_integers_and_text_come_back_as_they_were(synap: Synap, name: str) -> None:
    value = {"n": 2**63 + 11, "deep": [[[1.5, "é\u2028\U0001f600"]]], "": None}
    synap.kv.set(name, value)
    assert synap.kv.get(name).value == value


def test_a_code_is_a_class(synap: Synap, name: str) -> None:
    synap.kv.set(name, "text")
    with pytest.raises(errors.NotANumber) as caught:
        synap.kv.incr(name)
    assert caught.value.code == "NOT_A_NUMBER"
    with pytest.raises(errors.WrongType) as wrong:
        synap.list.len(name)
    assert wrong.value.details


def test_details_say_which_field_is_wrong(synap: Synap) -> None:
    with pytest.raises(errors.InvalidPayload) as caught:
        synap.kv.set("", 1)
    assert caught.value.details["path"] == "payload.key"
    with pytest.raises(errors.UnknownCommand) as unknown:
        synap.call("kv.sett", {"key": "k"})
    assert unknown.value.details["suggestion"] == "kv.set"


def test_a_value_that_is_not_json_fails_where_it_is_given(synap: Synap, name: str) -> None:
    with pytest.raises(TypeError):
        synap.kv.set(name, object())
    assert not synap.kv.get(name).found


def test_absent_is_not_null(synap: Synap, name: str) -> None:
    assert synap.list.rpush(name, None).length == 1
    assert synap.list.rpush(name, values=[1, "two"]).length == 3
    assert synap.list.range(name).values == [None, 1, "two"]
    with pytest.raises(errors.InvalidPayload):
        synap.list.rpush(name)


def test_a_keyword_of_python_gets_an_underscore(synap: Synap, name: str) -> None:
    synap.list.rpush(name, values=[1, 2])
    assert synap.list.move(name, name, from_="right", to="left").value == 2
    assert synap.kv.del_(name).deleted == 1


def test_any_command_can_be_called_by_name(synap: Synap, name: str) -> None:
    assert synap.call("kv.set", {"key": name, "value": 1}) == {"key": name, "success": True, "previous": None}
    assert synap.call("kv.dbsize")["size"] >= 1


def test_a_write_with_a_key_is_done_once(synap: Synap, name: str) -> None:
    assert synap.kv.incr(name, idempotency_key=f"{name}-1").value == 1
    assert synap.kv.incr(name, idempotency_key=f"{name}-1").value == 1
    with pytest.raises(errors.IdempotencyConflict):
        synap.kv.incr(name, amount=2, idempotency_key=f"{name}-1")


async def test_calls_that_travel_together_keep_their_own_keys(asynap: AsyncSynap, name: str) -> None:
    calls = [asynap.kv.incr(name, idempotency_key=f"{name}-{number // 2}") for number in range(10)]
    assert [result.value for result in await asyncio.gather(*calls)] == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]


def test_a_write_may_ask_for_more_certainty(synap: Synap, name: str) -> None:
    careful = synap.with_ack("synced")
    assert careful.kv.set(name, 1).success
    assert careful.kv.get(name).found
    with pytest.raises(errors.AckTimeout):
        synap.kv.set(name, 2, ack="replicated:1")
    assert synap.kv.get(name).value == 2, "the write itself was done"
    with careful.batch() as batch:
        stored = batch.kv.set(name, 3)
    with careful.batch() as batch:
        batch.kv.get(name)
    assert stored.result().success


def test_a_batch_has_a_result_or_an_error_for_each(synap: Synap, name: str) -> None:
    with synap.batch() as batch:
        stored = batch.kv.set(name, "text")
        failed = batch.kv.incr(name)
        read = batch.kv.get(name)
        with pytest.raises(RuntimeError, match="not run"):
            stored.result()
    assert stored.result().success
    assert isinstance(failed.error(), errors.NotANumber)
    with pytest.raises(errors.NotANumber):
        failed.result()
    assert read.result().value == "text"


async def test_a_batch_runs_in_asyncio_as_well(asynap: AsyncSynap, name: str) -> None:
    async with asynap.batch(atomic=True) as batch:
        numbers = [batch.kv.incr(name) for _ in range(300)]
    assert [number.result().value for number in numbers] == list(range(1, 301))
    batch = asynap.batch()
    batch.kv.get(name)
    assert [outcome.value for outcome in await batch.run()] == [300]
    assert await batch.run() == []


def test_a_batch_does_not_run_when_its_block_raises(synap: Synap, name: str) -> None:
    with pytest.raises(ZeroDivisionError), synap.batch() as batch:
        batch.kv.set(name, 1)
        raise ZeroDivisionError
    assert not synap.kv.get(name).found


def test_an_atomic_batch_under_a_key_is_done_once(synap: Synap, name: str) -> None:
    for _ in range(2):
        with synap.batch(atomic=True, idempotency_key=name) as batch:
            number = batch.kv.incr(name)
    assert number.result().value == 1
    assert synap.kv.get(name).value == 1


async def test_ten_thousand_calls_at_once_all_get_their_own_answers(asynap: AsyncSynap, name: str) -> None:
    sets = [asynap.kv.set(f"{name}:{number}", number) for number in range(10_000)]
    gets = [asynap.kv.get(f"{name}:{number}") for number in range(10_000)]
    await asyncio.gather(*sets)
    assert [result.value for result in await asyncio.gather(*gets)] == list(range(10_000))


async def test_one_failure_among_many_is_one_failure(asynap: AsyncSynap, name: str) -> None:
    await asynap.kv.set(name, "text")
    outcomes = await asyncio.gather(
        asynap.kv.incr(f"{name}-1"), asynap.kv.incr(name), asynap.kv.incr(f"{name}-1"), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [results.KvIncrResult, errors.NotANumber, results.KvIncrResult]


async def test_a_cancelled_call_disturbs_no_other(asynap: AsyncSynap, name: str) -> None:
    await asynap.kv.set(name, 0)
    doomed = [asynap.kv.get(name) for _ in range(50)]
    kept = [asynap.kv.get(name) for _ in range(50)]
    for call in doomed[::2]:
        call.cancel()
    await asyncio.sleep(0)  # the rest is on its way
    for call in doomed[1::2]:
        call.cancel()
    assert {result.value for result in await asyncio.gather(*kept)} == {0}
    assert all(call.cancelled() for call in doomed)


async def test_who_stops_waiting_takes_nothing(asynap: AsyncSynap, name: str) -> None:
    waiting = asynap.list.blpop([name], 20)
    await asyncio.sleep(0.2)
    waiting.cancel()
    await asyncio.sleep(0.2)
    await asynap.list.rpush(name, "kept")
    assert (await asynap.list.range(name)).values == ["kept"]


async def test_a_waiting_call_holds_up_no_other(asynap: AsyncSynap, name: str) -> None:
    waiting = asynap.list.blpop([name], 0)
    for _ in range(5):
        await asynap.kv.get(name)
    await asynap.list.rpush(name, "came")
    assert (await waiting).value == "came"


@pytest.mark.parametrize("transport", ["websocket", "http"])
async def test_both_transports_do_the_same(server: ServerProcess, name: str, transport: Any) -> None:
    async with AsyncSynap(server.url, transport=transport) as client:
        await asyncio.gather(*[client.kv.incr(name) for _ in range(500)])
        assert (await client.kv.get(name)).value == 500
        with pytest.raises(errors.NotANumber):
            await client.kv.set(name, "text")
            await client.kv.incr(name)


def test_threads_share_a_client(synap: Synap, name: str) -> None:
    failures: list[BaseException] = []

    def work(thread: int) -> None:
        try:
            for number in range(200):
                synap.kv.set(f"{name}:{thread}", [thread, number])
                assert synap.kv.get(f"{name}:{thread}").value == [thread, number]
                synap.kv.incr(name)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert synap.kv.get(name).value == 1600


async def test_a_closed_client_says_so(server: ServerProcess) -> None:
    client = AsyncSynap(server.url)
    await client.kv.dbsize()
    waiting = client.list.blpop(["never"], 20)
    await asyncio.sleep(0.05)
    await client.close()
    for call in (waiting, client.kv.dbsize()):
        with pytest.raises(SynapError, match="closed"):
            await call


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "ftp://example"},
        {"timeout": 0},
        {"read_from": "replicas"},
        {"api_key": "k", "token": "t"},
        {"username": "u"},
    ],
)
def test_what_cannot_be_is_refused_when_the_client_is_made(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"expected|needs"):
        Synap(**wrong)
    with pytest.raises(ValueError, match=r"expected|needs"):
        AsyncSynap(**wrong)
