"""The Python kit and redis-py, each as its users would write a loop of sets, on asyncio's own loop."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Literal

import msgspec
import redis
import redis.asyncio
from synap_sdk import AsyncSynap, Synap

from benchmarks.clients.wire import HOST, Stretch
from benchmarks.load import Sample

TOGETHER = 100
"""Sets of a pipeline or a batch."""
IN_FLIGHT = 4
"""Of the loops that pipeline: batches on their way at the same time."""
VALUE = "x" * 64
Kind = Literal["single", "batch", "gathered", "batches in flight"]


class Job(msgspec.Struct):
    """Sets for a while, with one of the clients."""

    client: Literal["synap", "redis"]
    kind: Kind
    is_async: bool
    port: int
    pid: int
    secs: float


def main() -> None:
    """Do the job and print a sample."""
    job = msgspec.json.decode(sys.argv[1], type=Job)
    sample = asyncio.run(_load_async(job)) if job.is_async else _load(job)
    sys.stdout.buffer.write(msgspec.json.encode(sample))


def _load(job: Job) -> Sample:
    client: Any = Synap(f"http://{HOST}:{job.port}") if job.client == "synap" else redis.Redis(HOST, job.port)
    steps: dict[tuple[str, str], Callable[[], object]] = {
        ("synap", "single"): lambda: client.kv.set("key", VALUE),
        ("redis", "single"): lambda: client.set("key", VALUE),
        ("synap", "batch"): partial(_batch, client),
        ("redis", "batch"): partial(_pipeline, client),
    }
    step = steps[job.client, job.kind]
    step()
    stretch, count = Stretch(job.pid), 0
    deadline = time.monotonic() + job.secs
    while time.monotonic() < deadline:
        step()
        count += 1 if job.kind == "single" else TOGETHER
    return stretch.sample(count)


async def _load_async(job: Job) -> Sample:
    client: Any = (
        AsyncSynap(f"http://{HOST}:{job.port}")
        if job.client == "synap"
        else redis.asyncio.Redis(host=HOST, port=job.port)
    )
    step: Callable[[], Awaitable[object]]
    if job.kind == "single":
        step = partial(client.kv.set if job.client == "synap" else client.set, "key", VALUE)
    elif job.kind == "gathered":
        step = partial(_gather, client)
    else:
        step = partial(_batch_async if job.client == "synap" else _pipeline_async, client)
    await step()
    loops = IN_FLIGHT if job.kind in ("gathered", "batches in flight") else 1
    stretch = Stretch(job.pid)
    counts = await asyncio.gather(*[_repeat(step, time.monotonic() + job.secs) for _ in range(loops)])
    sample = stretch.sample(sum(counts) * (1 if job.kind == "single" else TOGETHER))
    await (client.close() if job.client == "synap" else client.aclose())
    return sample


async def _repeat(step: Callable[[], Awaitable[object]], deadline: float) -> int:
    count = 0
    while time.monotonic() < deadline:
        await step()
        count += 1
    return count


def _batch(client: Synap) -> None:
    with client.batch() as batch:
        for number in range(TOGETHER):
            batch.kv.set(f"key:{number}", VALUE)


def _pipeline(client: redis.Redis) -> None:
    pipeline = client.pipeline(transaction=False)
    for number in range(TOGETHER):
        pipeline.set(f"key:{number}", VALUE)
    pipeline.execute()


async def _batch_async(client: AsyncSynap) -> None:
    async with client.batch() as batch:
        for number in range(TOGETHER):
            batch.kv.set(f"key:{number}", VALUE)


async def _gather(client: AsyncSynap) -> None:
    await asyncio.gather(*[client.kv.set(f"key:{number}", VALUE) for number in range(TOGETHER)])


async def _pipeline_async(client: redis.asyncio.Redis) -> None:
    pipeline = client.pipeline(transaction=False)
    for number in range(TOGETHER):
        pipeline.set(f"key:{number}", VALUE)
    await pipeline.execute()


if __name__ == "__main__":
    main()
