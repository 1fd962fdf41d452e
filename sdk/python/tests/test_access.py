"""Credentials, logins that end, and replicas: where calls go when the server they were meant for is not the one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from synap_sdk import AsyncSynap, Synap, SynapConnectionError, errors
from tests.support import ServerProcess

Start = Callable[..., ServerProcess]
PASSWORD = "correct horse"
GUARDED = {"SYNAP_AUTH_ENABLED": "true", "SYNAP_AUTH_ROOT_PASSWORD": PASSWORD}


async def test_every_way_to_say_who_asks(start: Start) -> None:
    url = start(env=GUARDED).url
    with Synap(url) as nobody, pytest.raises(errors.Unauthorized):
        nobody.kv.get("k")
    with Synap(url, username="root", password=PASSWORD) as root:
        root.kv.set("k", 1)
        made = root.auth.create_key("reader", roles=["reader"])
    with Synap(url, made.key) as reader:
        assert reader.kv.get("k").value == 1
        with pytest.raises(errors.Forbidden):
            reader.kv.set("k", 2)
    async with AsyncSynap(url, username="root", password=PASSWORD) as aroot:
        token = (await aroot.auth.login("root", PASSWORD)).token
        async with aroot.pubsub.subscribe("t") as messages:
            await aroot.pubsub.publish("t", "hi")
            assert (await anext(messages)).message == "hi"
    for transport in ("websocket", "http"):
        async with AsyncSynap(url, token=token, transport=transport) as client:
            assert (await client.auth.me()).name == "root"
        async with AsyncSynap(url, "synap_wrong", transport=transport) as stranger:
            with pytest.raises(errors.Unauthorized):
                await stranger.kv.get("k")
    with pytest.raises(errors.Unauthorized), Synap(url, username="root", password="wrong") as wrong:
        wrong.kv.get("k")


async def test_a_token_is_renewed_before_it_ends(start: Start) -> None:
    url = start(env=GUARDED).url
    async with AsyncSynap(url, username="root", password=PASSWORD) as client:
        await client.kv.set("k", 1)
        core = client._running()
        credentials = core.session.credentials
        first, credentials.expires_at = credentials.token, int(time.time() * 1000) + 5_000
        core._renew()
        assert (await client.kv.get("k")).value == 1
        assert credentials.token != first
    with Synap(url, username="root", password=PASSWORD) as blocking:
        blocking.kv.set("k", 2)
        blocking._home.credentials.expires_at = 0
        assert blocking.kv.get("k").value == 2
        blocking._home.credentials.token = "no longer good"
        assert blocking.kv.get("k").value == 2


@pytest.fixture
def pair(start: Start) -> tuple[ServerProcess, ServerProcess]:
    """A master and a replica that has all it has."""
    master = start()
    replica = start("--replica-of", master.url)
    master.send({"command": "kv.set", "payload": {"key": "there", "value": 1}, "ack": "replicated:1"})
    return master, replica


async def test_a_write_follows_the_replica_to_its_master(pair: tuple[ServerProcess, ServerProcess]) -> None:
    master, replica = pair
    async with AsyncSynap(replica.url) as client:
        assert (await client.kv.get("there")).value == 1
        await asyncio.gather(*[client.kv.incr("n") for _ in range(20)])
        assert client._running().address.port == master.port
    with Synap(replica.url) as blocking:
        assert blocking.kv.incr("n").value == 21
    assert master.call("kv.get", key="n")["value"] == 21


async def test_reads_may_go_to_replicas(pair: tuple[ServerProcess, ServerProcess]) -> None:
    master, replica = pair
    async with AsyncSynap(master.url, replicas=[replica.url], read_from="replicas") as client:
        await client.kv.set("k", 1, ack="replicated:1")
        assert (await client.kv.get("k")).value == 1
        assert (await client.replication.status()).role == "replica", "a read as well"
        replica.kill()
        await asyncio.sleep(0.05)
        assert (await client.kv.get("k")).value == 1, "the master answers when no replica does"
    with Synap(master.url, replicas=[replica.url], read_from="replicas") as blocking:
        assert blocking.kv.get("k").value == 1


async def test_after_a_failover_the_new_master_is_found(pair: tuple[ServerProcess, ServerProcess]) -> None:
    master, replica = pair
    clients = [AsyncSynap(master.url, replicas=[replica.url], retry_writes=True) for _ in range(2)]
    with Synap(master.url, replicas=[replica.url]) as blocking:
        async with clients[0] as client:
            await client.kv.incr("n", ack="replicated:1")
            blocking.kv.get("n")
            master.kill()
            replica.call("replication.promote", force=True)
            assert (await client.kv.incr("n")).value == 2
        try:
            value = blocking.kv.incr("n").value
        except SynapConnectionError as error:  # it was sent on the old connection
            assert error.may_have_happened
            value = blocking.kv.incr("n").value
        assert value == 3
