"""A process that fills collections by commands and prints, stage by stage, what is counted for them and how it grew.

python -m tests.engines.growth hash 50000 3 100     50,000 hashes of 3 fields with values of 100 bytes
"""

from __future__ import annotations

import gc
import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tests.support import Harness

STATM = Path("/proc/self/statm")
STAGES = ("filled", "paged through", "half replaced")
_CHUNK = 1_000


class Filling:
    """Collections of one type, each with elements numbered from 0."""

    def __init__(self, kind: str, keys: int, elements: int, width: int) -> None:
        self.harness = Harness()
        self.harness.state.keyspace.build_index()
        self.kind, self.keys, self.elements, self.width = kind, keys, elements, width

    def run(self, command: str, **payload: Any) -> None:
        reply = self.harness.answer(json.dumps({"command": f"{self.kind}.{command}", "payload": payload}).encode())
        assert b'"success":true' in reply.body, reply.body
        self.harness.log.records.clear()

    def add(self, key: int, numbers: Iterable[int]) -> None:
        # Texts of a list and of a set are of their own, fields of small hashes are all alike: so it is in life.
        texts = {number: f"{key}:{number:0{self.width - len(str(key)) - 1}}" for number in numbers}
        match self.kind:
            case "hash":
                self.run("mset", key=f"key {key}", fields={f"field_{n}": text for n, text in texts.items()})
            case "list":
                self.run("rpush", key=f"key {key}", values=list(texts.values()))
            case "set":
                self.run("add", key=f"key {key}", members=list(texts.values()))
            case "sortedset":
                pairs = [{"member": text, "score": n + 0.5} for n, text in texts.items()]
                self.run("zadd", key=f"key {key}", members=pairs)

    def drop(self, key: int, numbers: range) -> None:
        match self.kind:
            case "hash":
                self.run("del", key=f"key {key}", fields=[f"field_{number}" for number in numbers])
            case "list":
                self.run("lpop", key=f"key {key}", count=len(numbers))
            case "set":
                self.run("pop", key=f"key {key}", count=len(numbers))
            case "sortedset":
                self.run("zpopmin", key=f"key {key}", count=len(numbers))

    def page(self, key: int) -> None:
        scan = {"hash": "scan", "list": "range", "set": "scan", "sortedset": "zscan"}[self.kind]
        self.run(scan, key=f"key {key}", **({"stop": 10} if self.kind == "list" else {"count": 1}))

    def stages(self) -> Iterator[str]:
        half = self.elements // 2
        for key, numbers in self.chunks(0, self.elements):
            self.add(key, numbers)
        yield STAGES[0]
        for key in range(self.keys):
            self.page(key)
        yield STAGES[1]
        for key, numbers in self.chunks(0, half):
            self.drop(key, numbers)
            self.add(key, range(numbers.start + self.elements, numbers.stop + self.elements))
        yield STAGES[2]

    def chunks(self, start: int, stop: int) -> Iterator[tuple[int, range]]:
        for key in range(self.keys):
            for first in range(start, stop, _CHUNK):
                yield key, range(first, min(first + _CHUNK, stop))


def resident_bytes() -> int:
    gc.collect()
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main(kind: str, keys: int, elements: int, width: int) -> None:
    for _ in Filling(kind, 2, 10, width).stages():
        pass
    filling = Filling(kind, keys, elements, width)
    before = resident_bytes()
    for stage in filling.stages():
        grown = resident_bytes() - before
        print(json.dumps({"stage": stage, "counted": filling.harness.state.keyspace.used_bytes, "grown": grown}))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
