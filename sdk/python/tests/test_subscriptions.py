"""Subscriptions and workers of both clients, also while the server dies and comes back."""

from __future__ import annotations

import asyncio
import logging
import threading
from itertools import islice

import pytest

from sdk.python.tests.servers import Restarting
from synap_sdk import (
    AsyncSynap,
    Missed,
    MissedEvents,
    Reject,
    RetryLater,
    SubscriptionEnded,
    Synap,
    errors,
    results,
)


async def test_events_come_in_order_from_the_start(asynap: AsyncSynap, name: str) -> None:
    await asyncio.gather(*[asynap.stream.publish(name, "made", number) for number in range(600)])
    seen = []
    async for event in asynap.stream.subscribe(name, replay=True):
        seen.append(event.data)
        if len(seen) == 600:
            break
    assert seen == list(range(600))


def test_the_synchronous_client_iterates_too(synap: Synap, name: str) -> None:
    synap.stream.publish_batch(name, [{"event_type": "made", "data": number} for number in range(600)])
    with synap.stream.subscribe(name, replay=True) as events:
        assert [event.data for event in islice(events, 600)] == list(range(600))
        assert events.get(timeout=0.05) is None


async def test_a_subscription_to_nothing_is_refused_at_once(asynap: AsyncSynap, synap: Synap, name: str) -> None:
    with pytest.raises(errors.RoomNotFound):
        await asynap.stream.subscribe(name).start()
    with pytest.raises(errors.RoomNotFound):
        next(synap.stream.subscribe(name))
    with pytest.raises(errors.QueueNotFound):
        async with asynap.queue.worker(name, lambda _: asyncio.sleep(0)):
            pass


async def test_a_deleted_room_ends_its_subscriptions(asynap: AsyncSynap, synap: Synap, name: str) -> None:
    await asynap.stream.create(name)
    async with asynap.stream.subscribe(name) as events:
        with synap.stream.subscribe(name) as blocking:
            await asynap.stream.delete(name)
            with pytest.raises(SubscriptionEnded):
                await anext(events)
            with pytest.raises(SubscriptionEnded):
                next(blocking)


async def test_events_that_are_gone_are_told(asynap: AsyncSynap, name: str) -> None:
    await asynap.stream.create(name, retention={"max_events": 10})
    await asyncio.gather(*[asynap.stream.publish(name, "made", number) for number in range(30)])
    events = asynap.stream.subscribe(name, from_offset=5)
    with pytest.raises(MissedEvents) as caught:
        await anext(events)
    assert caught.value.gap.first == 5
    assert (await anext(events)).offset == (caught.value.gap.last or 0) + 1, "it goes on behind them"
    await events.close()
    gaps: list[Missed] = []
    async with asynap.stream.subscribe(name, from_offset=5, on_gap=gaps.append) as told:
        await anext(told)
    assert gaps == [caught.value.gap]


async def test_a_slow_reader_holds_up_nobody(asynap: AsyncSynap, name: str) -> None:
    await asynap.stream.create(name)
    async with asynap.stream.subscribe(name) as events:
        payload = "x" * 1_000
        for _ in range(20):
            await asyncio.gather(*[asynap.stream.publish(name, "made", payload) for _ in range(500)])
        assert len(events._items) < 5_000, "the rest waits at the server"
        for offset in range(10_000):
            assert (await anext(events)).offset == offset


async def test_killed_and_started_again_no_event_is_missed_or_repeated(restarting: Restarting) -> None:
    async with AsyncSynap(restarting.url, retry_writes=True) as client:
        await client.stream.create("r", partitions=3)
        seen: list[tuple[int, int]] = []

        async def read() -> None:
            async for event in client.stream.subscribe("r", replay=True):
                seen.append((event.partition, event.offset))
                if len(seen) == 300:
                    return

        reading = asyncio.create_task(read())
        await asyncio.gather(*[client.stream.publish("r", "made", n) for n in range(150)])
        restarting.kill()
        later = [client.stream.publish("r", "made", n) for n in range(150)]
        restarting.start()
        await asyncio.gather(*later)
        await asyncio.wait_for(reading, 20)
        assert len(set(seen)) == 300
        for partition in range(3):
            offsets = [offset for of, offset in seen if of == partition]
            assert offsets == list(range(len(offsets)))


def test_the_synchronous_iterator_survives_as_well(restarting: Restarting) -> None:
    with Synap(restarting.url) as client:
        client.stream.publish("r", "made", 0)
        with client.stream.subscribe("r", replay=True) as events:
            assert next(events).data == 0
            restarting.kill()
            restarting.start()
            client.stream.publish("r", "made", 1)
            assert next(events).data == 1


async def test_topics_are_subscribed_to_again_and_what_is_lost_is_told(restarting: Restarting) -> None:
    gaps: list[Missed] = []
    async with AsyncSynap(restarting.url) as client:
        async with client.pubsub.subscribe(["news.#"], on_gap=gaps.append) as messages:
            await client.pubsub.publish("news.a", 1)
            assert (await anext(messages)).message == 1
            restarting.kill()
            restarting.start()
            await asyncio.sleep(0.1)  # a publish is not repeated: the client has to see first that the old one is gone
            while not gaps:
                await asyncio.wait_for(client.pubsub.publish("news.b", 2), 10)
                message = await asyncio.wait_for(anext(messages), 10)
            assert message.message == 2
    assert [gap.reason for gap in gaps] == ["restart"]
    assert gaps[0].missed is None


async def test_messages_missed_while_disconnected_are_sent_again(asynap: AsyncSynap, name: str) -> None:
    async with asynap.pubsub.subscribe(f"{name}.*") as messages:
        await asynap.pubsub.publish(f"{name}.a", 0)
        assert (await anext(messages)).message == 0
        assert messages._socket is not None
        messages._socket.abort()
        for number in range(1, 6):
            await asynap.pubsub.publish(f"{name}.a", number)
        assert [(await anext(messages)).message for _ in range(5)] == [1, 2, 3, 4, 5]


def test_pubsub_for_threads(synap: Synap, name: str) -> None:
    with synap.pubsub.subscribe(f"{name}.#") as messages:
        synap.pubsub.publish(f"{name}.a.b", {"n": 1}, metadata={"by": "me"})
        message = next(messages)
        closing = threading.Timer(0.1, messages.close)
        closing.start()
        assert list(messages) == [], "closing ends the iteration of another thread"
        closing.join()
    assert (message.message, message.metadata) == ({"n": 1}, {"by": "me"})


async def test_a_worker_acknowledges_retries_and_rejects(
    asynap: AsyncSynap, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    await asynap.queue.create(name, config={"max_retries": 3})
    handled: list[str] = []

    async def handle(message: results.QueueDelivery) -> None:
        handled.append(message.message)
        if message.message == "bad":
            raise Reject
        if message.message == "later" and message.retry_count == 0:
            raise RetryLater(0.01)
        if message.message == "broken" and message.retry_count == 0:
            raise ZeroDivisionError

    for message in ("good", "bad", "later", "broken"):
        await asynap.queue.publish(name, message)
    async with asynap.queue.worker(name, handle, concurrency=2) as worker:
        while worker.done < 3 or worker.failed < 3:
            await asyncio.sleep(0.01)
    assert sorted(handled) == ["bad", "broken", "broken", "good", "later", "later"]
    assert [letter.message for letter in (await asynap.queue.dlq(name)).messages] == ["bad"]
    assert (await asynap.queue.stats(name)).in_flight == 0


async def test_a_worker_works_on_as_many_as_it_may(asynap: AsyncSynap, name: str) -> None:
    await asynap.queue.create(name)
    busy = most = 0

    async def handle(_: results.QueueDelivery) -> None:
        nonlocal busy, most
        busy += 1
        most = max(most, busy)
        await asyncio.sleep(0.01)
        busy -= 1

    await asyncio.gather(*[asynap.queue.publish(name, number) for number in range(40)])
    async with asynap.queue.worker(name, handle, concurrency=8) as worker:
        while worker.done < 40:
            await asyncio.sleep(0.01)
    assert most == 8


async def test_a_long_job_keeps_its_lease(asynap: AsyncSynap, name: str) -> None:
    await asynap.queue.create(name)
    deliveries: list[int] = []

    async def handle(message: results.QueueDelivery) -> None:
        deliveries.append(message.delivery)
        await asyncio.sleep(1.0)

    await asynap.queue.publish(name, "long")
    async with asynap.queue.worker(name, handle, lease_secs=0.4) as worker:
        while worker.done < 1:
            await asyncio.sleep(0.02)
    assert deliveries == [1]


async def test_leaving_a_worker_finishes_what_it_has_begun(asynap: AsyncSynap, name: str) -> None:
    await asynap.queue.create(name)
    begun, finished = asyncio.Event(), []

    async def handle(message: results.QueueDelivery) -> None:
        begun.set()
        await asyncio.sleep(0.3)
        finished.append(message.message)

    for number in range(5):
        await asynap.queue.publish(name, number)
    async with asynap.queue.worker(name, handle) as worker:
        await begun.wait()
    stats = await asynap.queue.stats(name)
    assert (finished, worker.done, stats.depth, stats.in_flight) == ([0], 1, 4, 0)


async def test_a_worker_goes_on_when_the_server_comes_back(restarting: Restarting) -> None:
    async with AsyncSynap(restarting.url, retry_writes=True) as client:
        await client.queue.create("q")
        handled: set[int] = set()

        async def handle(message: results.QueueDelivery) -> None:
            await asyncio.sleep(0.001)
            handled.add(message.message)

        async with client.queue.worker("q", handle, concurrency=4):
            await asyncio.gather(*[client.queue.publish("q", number) for number in range(200)])
            restarting.kill()
            restarting.start()
            await asyncio.gather(*[client.queue.publish("q", number) for number in range(200, 300)])
            while len(handled) < 300:
                await asyncio.sleep(0.02)
        stats = await client.queue.stats("q")
        assert (stats.depth, stats.in_flight) == (0, 0)


def test_a_worker_of_threads(synap: Synap, name: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    synap.queue.create(name)
    names: set[str] = set()
    together = threading.Barrier(4, timeout=10)

    def handle(message: results.QueueDelivery) -> None:
        names.add(threading.current_thread().name)
        if message.retry_count == 0:
            together.wait()
            if message.message == 0:
                raise RetryLater(0.01)

    with synap.queue.worker(name, handle, concurrency=4) as worker:
        for number in range(4):
            synap.queue.publish(name, number)
        while worker.done < 4:
            threading.Event().wait(0.01)
    assert len(names) == 4
    assert (worker.done, worker.failed) == (4, 1)
    assert synap.queue.stats(name).in_flight == 0
