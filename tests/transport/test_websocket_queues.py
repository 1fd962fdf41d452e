"""queue.subscribe on real connections: never more than prefetch, and nothing is lost with a connection."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from synap.errors import MessageNotFound, QueueNotFound
from tests.transport.sockets import Inside, Socket, connected, within

RETURNS_WITHIN_SECS = 5.0

both = pytest.mark.parametrize("is_packed", [False, True], ids=["text", "MessagePack"])
endings = pytest.mark.parametrize("end", ["closed", "reset", "gone", "half-closed"])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inside]:
    with Inside(tmp_path_factory.mktemp("sockets") / "data", queues={"max_retries": 0}) as running:
        yield running


@pytest.fixture
def queue(server: Inside, request: pytest.FixtureRequest) -> str:
    """A queue that no other test uses."""
    name = str(request.node.name)
    server.call("queue.create", queue=name)
    return name


def publish(server: Inside, queue: str, count: int, first: int = 0) -> None:
    commands = [
        {"command": "queue.publish", "payload": {"queue": queue, "message": number}}
        for number in range(first, first + count)
    ]
    server.send({"type": "batch", "commands": commands})


@both
def test_the_reply_comes_before_the_first_message_and_messages_in_order(
    server: Inside, queue: str, is_packed: bool
) -> None:
    publish(server, queue, 3)
    with connected(server, is_packed=is_packed) as subscriber:
        request_id = subscriber.begin("queue.subscribe", queue=queue, prefetch=10)
        reply = subscriber.message()
        assert (reply["request_id"], reply["payload"]) == (
            request_id,
            {"subscribed": True, "queue": queue, "prefetch": 10},
        )
        pushed = subscriber.pushes(3)
        assert [(push["type"], push["queue"], push["message"]) for push in pushed] == [
            ("message", queue, number) for number in range(3)
        ]
        assert {push["retry_count"] for push in pushed} == {0}
        publish(server, queue, 1, first=3)  # what is left of the prefetch is still asked for
        assert subscriber.push()["message"] == 3
        ids = [push["message_id"] for push in pushed]
        assert subscriber.call("queue.ack", queue=queue, message_ids=ids)["acked"] == 3


def test_more_than_can_be_taken_at_once_is_taken_as_far_as_prefetch_goes(server: Inside, queue: str) -> None:
    publish(server, queue, 1_000)
    with connected(server) as subscriber:
        subscriber.call("queue.subscribe", queue=queue, prefetch=750)
        assert [push["message"] for push in subscriber.pushes(750)] == list(range(750))
        subscriber.quiet()
        assert server.call("queue.stats", queue=queue)["in_flight"] == 750


@pytest.mark.parametrize("door", ["the socket", "HTTP"])
@pytest.mark.parametrize("how", ["queue.ack", "queue.nack"])
def test_prefetch_is_never_exceeded_and_always_used(server: Inside, queue: str, door: str, how: str) -> None:
    publish(server, queue, 60)
    with connected(server) as subscriber:
        subscriber.call("queue.subscribe", queue=queue, prefetch=3)
        unacked = subscriber.pushes(3)
        done = 0
        while done < 57:
            subscriber.quiet(0.005)
            oldest = unacked.pop(0)
            end = {"queue": queue, "message_id": oldest["message_id"]}
            if how == "queue.nack":
                end["requeue"] = False
            (subscriber if door == "the socket" else server).call(how, **end)
            unacked.append(subscriber.push())
            done += 1
            assert server.call("queue.stats", queue=queue)["in_flight"] == 3
        assert [push["message"] for push in unacked] == [57, 58, 59]


def test_subscribers_share_fairly_in_the_order_they_came(server: Inside, queue: str) -> None:
    with ExitStack() as stack:
        subscribers = [stack.enter_context(connected(server)) for _ in range(5)]
        for subscriber in subscribers:
            subscriber.call("queue.subscribe", queue=queue)
        for turn in range(4):
            for number in range(5):
                publish(server, queue, 1, first=turn * 5 + number)
            pushed = [subscriber.push() for subscriber in subscribers]
            assert [push["message"] for push in pushed] == list(range(turn * 5, turn * 5 + 5))
            for subscriber, push in zip(subscribers, pushed, strict=True):
                subscriber.call("queue.ack", queue=queue, message_id=push["message_id"])


def test_a_burst_is_worked_off_by_all_and_each_message_once(server: Inside, queue: str) -> None:
    publish(server, queue, 400)
    with ExitStack() as stack:
        workers = [stack.enter_context(connected(server, is_packed=bool(n % 2))) for n in range(4)]
        for worker in workers:
            worker.call("queue.subscribe", queue=queue, prefetch=5)
        seen: Counter[int] = Counter()
        for _ in range(100):
            for worker in workers:
                push = worker.push()
                seen[push["message"]] += 1
                worker.call("queue.ack", queue=queue, message_id=push["message_id"])
        assert seen == Counter(range(400))
    assert server.call("queue.stats", queue=queue)["depth"] == 0


def test_a_lease_that_runs_out_is_pushed_again_as_another_delivery(server: Inside, queue: str) -> None:
    publish(server, queue, 1)
    with connected(server) as subscriber:
        subscriber.call("queue.subscribe", queue=queue, ack_deadline=0.15)
        first, again = subscriber.pushes(2)
        assert (first["message_id"], first["retry_count"]) == (again["message_id"], again["retry_count"] - 1)
        with pytest.raises(MessageNotFound):
            subscriber.call("queue.ack", queue=queue, message_id=first["message_id"], delivery=first["delivery"])
        assert subscriber.call("queue.ack", queue=queue, message_id=again["message_id"])["success"]
        subscriber.quiet(0.3)


@endings
@pytest.mark.parametrize("by", ["subscription", "consume", "wait"])
def test_a_connection_that_ends_gives_its_messages_back_at_once(server: Inside, queue: str, end: str, by: str) -> None:
    with connected(server) as first, connected(server) as second:
        if by == "subscription":
            first.call("queue.subscribe", queue=queue, prefetch=10)
        waiting = first.begin("queue.consume", queue=queue, timeout=30) if by == "wait" else None
        first.call("kv.dbsize")
        publish(server, queue, 3)
        if by == "subscription":
            first.pushes(3)
        else:
            assert (first.call("queue.consume", queue=queue) if waiting is None else first.result(waiting))[
                "message"
            ] == 0
        second.call("queue.subscribe", queue=queue, prefetch=10)
        _leave(first, end)
        pushed = {push["message"]: push["retry_count"] for push in second.pushes(3)}
        assert pushed == ({0: 1, 1: 1, 2: 1} if by == "subscription" else {0: 1, 1: 0, 2: 0})


def _leave(connection: Socket, end: str) -> None:
    if end == "closed":
        connection.close()
    elif end == "reset":
        connection.reset()
    elif end == "half-closed":
        connection.connection.shutdown(socket.SHUT_WR)
    else:
        connection.connection.close()


CONSUMER = """
import sys
sys.path.insert(0, sys.argv[3])
from types import SimpleNamespace
from tests.transport.sockets import connected
with connected(SimpleNamespace(port=int(sys.argv[1]))) as consumer:
    consumer.call("queue.subscribe", queue=sys.argv[2], prefetch=5)
    consumer.pushes(5)
    print("full", flush=True)
    consumer.push()
"""


def test_a_consumer_killed_with_all_its_messages_gives_them_back(server: Inside, queue: str) -> None:
    publish(server, queue, 5)
    arguments = [sys.executable, "-c", CONSUMER, str(server.port), queue, os.getcwd()]  # noqa: PTH109
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as consumer, connected(server) as other:
        assert consumer.stdout is not None
        assert consumer.stdout.readline() == b"full\n"
        other.call("queue.subscribe", queue=queue, prefetch=5)
        other.quiet()
        consumer.send_signal(signal.SIGKILL)
        assert sorted(push["message"] for push in other.pushes(5)) == list(range(5))


def test_a_consumer_that_does_not_read_gives_its_messages_back_when_it_goes(server: Inside, queue: str) -> None:
    commands = [{"command": "queue.publish", "payload": {"queue": queue, "message": "x" * 50_000}}] * 400
    server.send({"type": "batch", "commands": commands})
    with connected(server, receive_buffer=4096) as stalled:
        stalled.begin("queue.subscribe", queue=queue, prefetch=10_000)
        within(5, lambda: server.call("queue.stats", queue=queue)["in_flight"] > 0, True)
        time.sleep(0.2)
        assert server.call("queue.stats", queue=queue)["in_flight"] < 400
        for _ in range(100):
            stalled.begin("kv.dbsize")
        stalled.reset()
    within(RETURNS_WITHIN_SECS, lambda: server.call("queue.stats", queue=queue)["depth"], 400)


def test_the_deletion_of_the_queue_is_told_and_ends_the_subscription(server: Inside, queue: str) -> None:
    with connected(server) as idle, connected(server) as busy:
        idle.call("queue.subscribe", queue=queue)
        busy.call("queue.subscribe", queue=queue, prefetch=1)
        publish(server, queue, 3)
        idle.push()
        busy.push()
        server.call("queue.delete", queue=queue)
        for subscriber in (idle, busy):
            end = subscriber.push()
            assert (end["type"], end["queue"]) == ("end", queue)
        server.call("queue.create", queue=queue)
        publish(server, queue, 1)
        for subscriber in (idle, busy):
            subscriber.quiet()
            assert not subscriber.call("queue.unsubscribe", queue=queue)["unsubscribed"]
        with pytest.raises(QueueNotFound):
            idle.call("queue.subscribe", queue="nowhere")


def test_an_end_of_the_subscription_leaves_the_messages_leased(server: Inside, queue: str) -> None:
    publish(server, queue, 2)
    with connected(server) as subscriber:
        subscriber.call("queue.subscribe", queue=queue)
        push = subscriber.push()
        assert subscriber.call("queue.unsubscribe", queue=queue)["unsubscribed"]
        assert subscriber.call("queue.ack", queue=queue, message_id=push["message_id"])["success"]
        subscriber.quiet()
        assert server.call("queue.stats", queue=queue)["depth"] == 1


def test_a_new_prefetch_takes_the_place_of_the_old(server: Inside, queue: str) -> None:
    publish(server, queue, 10)
    with connected(server) as subscriber:
        subscriber.call("queue.subscribe", queue=queue, prefetch=1)
        subscriber.push()
        subscriber.call("queue.subscribe", queue=queue, prefetch=4)
        assert [push["message"] for push in subscriber.pushes(3)] == [1, 2, 3]
        subscriber.quiet()
