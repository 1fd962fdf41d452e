"""A disk that fills up: writes are refused, reads go on, and nothing acknowledged is lost."""

from __future__ import annotations

import json
import resource
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import pytest

from synap.journal import segment
from tests.durability.client import Connection, Contents, contents_of, until
from tests.support import ServerProcess

DISK_FULL = 507
TMPFS_BYTES = 256 * 1024
ROOM_BYTES = 1_500
PIPELINED = 20


class Disk(Protocol):
    """A place for data that can be filled up and made room on."""

    data: Path

    def fill(self, server: ServerProcess) -> None:
        """Leave room for a few records only."""

    def free(self, server: ServerProcess) -> None:
        """Make room again."""


class FileSizeLimit:
    """No file may grow beyond a size: a write past it is taken in part and then fails with EFBIG."""

    def __init__(self, data: Path) -> None:
        self.data = data

    def fill(self, server: ServerProcess) -> None:
        newest = segment.list_segments(self.data)[-1].stat().st_size
        self._limit(server, newest + ROOM_BYTES)

    def free(self, server: ServerProcess) -> None:
        self._limit(server, resource.RLIM_INFINITY)

    def _limit(self, server: ServerProcess, size: int) -> None:
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


class SmallFileSystem:
    """A file system of its own that another file fills up: writes fail with ENOSPC."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self._filler = data / "filler"

    def fill(self, server: ServerProcess) -> None:
        with self._filler.open("ab", buffering=0) as file, suppress(OSError):
            while file.write(bytes(1024)):
                pass

    def free(self, server: ServerProcess) -> None:
        self._filler.unlink()


@pytest.fixture
def file_size_limit(tmp_path: Path) -> Disk:
    if not hasattr(resource, "prlimit"):
        pytest.skip("this system cannot limit the files of another process")
    return FileSizeLimit(tmp_path / "data")


@pytest.fixture
def small_file_system(tmp_path: Path) -> Iterator[Disk]:
    path = tmp_path / "data"
    path.mkdir()
    try:
        mount = ["mount", "-t", "tmpfs", "-o", f"size={TMPFS_BYTES}", "tmpfs", str(path)]
        mounted = subprocess.run(mount, capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount program")
    if mounted.returncode:
        pytest.skip(f"file systems may not be mounted here: {mounted.stderr.decode().partition(chr(10))[0]}")
    yield SmallFileSystem(path)
    subprocess.run(["umount", "--lazy", str(path)], check=True)


@pytest.fixture(params=["file_size_limit", "small_file_system"])
def disk(request: pytest.FixtureRequest) -> Disk:
    found: Disk = request.getfixturevalue(request.param)
    return found


class Asked:
    """What a server was asked to store, by what became of it."""

    def __init__(self) -> None:
        self.acknowledged: Contents = {}
        self.refused: list[Contents] = []
        self._number = 0

    def write_until_full(self, server: ServerProcess) -> dict[str, Any]:
        """Store single keys and pairs of them until a write is refused; returns the error."""
        connection = Connection(server.port)
        error = None
        while error is None:
            changes = [self._next() for _ in range(PIPELINED)]
            connection.send(_request(change) for change in changes)
            for change in changes:
                error = self._note(change, *connection.receive()) or error
        connection.close()
        return error

    def check(self, found: Contents) -> None:
        """All that was acknowledged is there, and of what was refused each change as a whole or not at all."""
        found = dict(found)
        for key, value in self.acknowledged.items():
            assert found.pop(key) == value
        for change in self.refused:
            there = {key: found.pop(key) for key in change if key in found}
            assert there in ({}, change)
        assert found == {}

    def _next(self) -> Contents:
        self._number += 1
        value = {"n": self._number, "pad": "x" * 30}
        if self._number % 3:
            return {f"key{self._number}": value}
        return {f"left{self._number}": value, f"right{self._number}": value}

    def _note(self, change: Contents, status: int, reply: Any) -> dict[str, Any] | None:
        results = reply.get("results", [reply])
        errors: list[dict[str, Any]] = [result["error"] for result in results if result["status"] == "error"]
        if not errors:
            assert status == 200
            self.acknowledged |= change
            return None
        assert len(errors) == len(results) or status == DISK_FULL
        self.refused.append(change)
        return errors[0]


def _request(change: Contents) -> Any:
    commands = [{"command": "kv.set", "payload": {"key": key, "value": value}} for key, value in change.items()]
    return commands[0] if len(commands) == 1 else {"type": "batch", "atomic": True, "commands": commands}


def _refused(server: ServerProcess, request: Any) -> dict[str, Any]:
    """The error of a request that is answered 507."""
    status, _, body = server.http("POST", "/api/v1/command", json.dumps(request).encode())
    assert status == DISK_FULL
    error: dict[str, Any] = json.loads(body)["error"]
    return error


def _takes_writes(server: ServerProcess) -> bool:
    return bool(server.send({"command": "kv.set", "payload": {"key": "probe", "value": 0}})["success"])


@pytest.mark.parametrize("fsync", ["everysec", "always"])
def test_writes_are_refused_and_reads_go_on(disk: Disk, fsync: str) -> None:
    asked = Asked()
    with ServerProcess(disk.data, "--fsync", fsync) as server:
        server.call("kv.set", key="before", value=1)
        disk.fill(server)
        assert asked.write_until_full(server)["code"] == "DISK_FULL"
        error = _refused(server, _request({"a": 1}))
        assert error["code"] == "DISK_FULL"
        assert error["details"]["reason"] in error["message"]
        assert _refused(server, _request({"a": 1, "b": 1}))["code"] == "DISK_FULL"
        assert server.http("POST", "/kv/set", b'{"key":"a","value":1}')[0] == DISK_FULL
        assert server.call("kv.get", key="before")["value"] == 1
        assert server.http("GET", "/kv/get/before")[0] == 200
        read = {"command": "kv.get", "payload": {"key": "before"}}
        assert server.send({"type": "batch", "commands": [read]})["results"][0]["payload"]["value"] == 1
        for key, value in asked.acknowledged.items():
            assert server.call("kv.get", key=key)["value"] == value
        assert not server.call("kv.exists", key="a")["exists"]
        server.kill()


def test_nothing_acknowledged_is_lost_when_the_server_is_killed_meanwhile(disk: Disk) -> None:
    asked = Asked()
    with ServerProcess(disk.data) as server:
        disk.fill(server)
        asked.write_until_full(server)
        server.kill()
    if isinstance(disk, SmallFileSystem):
        disk.free(server)
    with ServerProcess(disk.data) as server:
        found = contents_of(server)
        asked.check(found)
        assert _takes_writes(server)
        server.kill()
    with ServerProcess(disk.data) as server:
        assert contents_of(server) == found | {"probe": 0}


@pytest.mark.parametrize("fsync", ["everysec", "always"])
def test_once_there_is_room_writes_work_again_and_everything_is_there(disk: Disk, fsync: str) -> None:
    asked = Asked()
    with ServerProcess(disk.data, "--fsync", fsync) as server:
        for _ in range(2):
            disk.fill(server)
            asked.write_until_full(server)
            disk.free(server)
            until(lambda: _takes_writes(server))
        before = server.call("admin.digest")["digest"]
        found = contents_of(server)
        server.kill()
    assert "the journal takes writes again" in server.log.read_text()
    with ServerProcess(disk.data) as server:
        assert contents_of(server) == found
        assert server.call("admin.digest")["digest"] == before
        del found["probe"]
        asked.check(found)


def test_a_refused_write_is_in_memory_exactly_if_it_is_there_after_a_restart(disk: Disk) -> None:
    """A refused record waits for the disk with all others: what a read shows is never taken back once it is kept."""
    asked = Asked()
    with ServerProcess(disk.data) as server:
        disk.fill(server)
        asked.write_until_full(server)
        shown = contents_of(server)
        disk.free(server)
        until(lambda: _takes_writes(server))
        server.kill()
    with ServerProcess(disk.data) as server:
        assert contents_of(server) == shown | {"probe": 0}


def test_stopping_on_a_full_disk_says_so_and_loses_nothing_acknowledged(disk: Disk) -> None:
    asked = Asked()
    with ServerProcess(disk.data) as server:
        disk.fill(server)
        asked.write_until_full(server)
        assert server.stop() == 1
    reason = server.log.read_text().splitlines()[-1]
    assert "No space left on device" in reason or "File too large" in reason
    if isinstance(disk, SmallFileSystem):
        disk.free(server)
    with ServerProcess(disk.data) as server:
        asked.check(contents_of(server))


def test_a_server_starts_on_a_full_disk_and_reads_go_on(small_file_system: Disk) -> None:
    disk, asked = small_file_system, Asked()
    with ServerProcess(disk.data) as server:
        disk.fill(server)
        asked.write_until_full(server)
        server.kill()
    disk.fill(server)
    with ServerProcess(disk.data) as server:
        asked.check(contents_of(server))
        disk.free(server)
        until(lambda: _takes_writes(server))
        server.kill()
    with ServerProcess(disk.data) as server:
        asked.check({key: value for key, value in contents_of(server).items() if key != "probe"})
