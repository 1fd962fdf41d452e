"""Those who mean harm, and what a guarded server still does for the others: logins, keys, clocks, disks and signals."""

from __future__ import annotations

import os
import random
import resource
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from synap.journal import segment
from tests.access.helpers import ROOT, ROOT_PASSWORD, Guarded, Header, Key, basic, bearer
from tests.support import ServerProcess, payload_of
from tests.transport.sockets import wired, within
from tests.transport.wire import Answer, Wire, command, envelope, eventually, memory_bytes

SECRET = "a secret of at least thirty-two bytes"
MIB = 1024 * 1024
HOUR_SECS = 3_600
TIMEOUT_SECS = 60.0
STOPS_WITHIN_SECS = 40.0
PIPELINED = 500
# Passwords are verified in two threads at a time, each of which takes 64 MiB.
MEMORY_BYTES_MAX = 300 * MIB

soak = [pytest.mark.soak, pytest.mark.timeout(600)]


class Node(ServerProcess):
    """A guarded server in a process of its own, with passwords hashed as they are in life."""

    def __init__(self, data: Path, **env: str) -> None:
        guarded = {"SYNAP_AUTH_ENABLED": "true", "SYNAP_AUTH_ROOT_PASSWORD": ROOT_PASSWORD}
        super().__init__(data, env={**guarded, "SYNAP_AUTH_JWT_SECRET": SECRET, **env})

    def __enter__(self) -> Node:
        return self

    def open(self, address: str = "127.0.0.1") -> Wire:
        """A connection from an address of this machine."""
        return Wire(socket.create_connection(("127.0.0.1", self.port), TIMEOUT_SECS, source_address=(address, 0)))

    def ask(self, header: Header | None, name: str, /, **payload: Any) -> Answer:
        wire = self.open()
        with closing(wire.socket):
            return wire.ask(command(envelope(name, **payload), [header] if header else []))

    def admin(self, name: str, /, **payload: Any) -> Any:
        """The payload of a successful reply to root. Raises the SynapError of a failed one."""
        return payload_of(self.ask(ROOT, name, **payload).json)

    def key(self, *permissions: str) -> Key:
        made = self.admin("auth.create_key", name="test", permissions=permissions)
        return Key(made["id"], made["key"])

    @property
    def most_memory_bytes(self) -> int:
        """The most its process has ever held."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def somewhere() -> str:
    """One of the many addresses of this machine."""
    return f"127.{random.randrange(1, 255)}.{random.randrange(256)}.{random.randrange(1, 255)}"


def failing(kind: str, name: str) -> bytes:
    """A request that takes the verification of a password and fails."""
    if kind == "Basic":
        return command(envelope("kv.dbsize"), [basic(name, "wrong")])
    return command(envelope("auth.login", username=name, password="wrong"))


both = pytest.mark.parametrize("kind", ["Basic", "login"])


def together(number: int, do: Callable[[int], Any]) -> list[Any]:
    """What comes of doing something many times at once, exceptions included."""
    found: list[Any] = []

    def run(n: int) -> None:
        try:
            found.append(do(n))
        except Exception as error:
            found.append(error)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


# Passwords


@both
@pytest.mark.parametrize(("clients", "secs"), [(20, 1.0), pytest.param(200, 10.0, marks=soak)])
def test_whoever_has_a_key_is_served_while_many_fail_to_log_in(
    tmp_path: Path, kind: str, clients: int, secs: float
) -> None:
    with Node(tmp_path / "data") as node:
        headers, stop, codes = [node.key("kv.*").header], threading.Event(), Counter[int]()

        def fail(n: int) -> None:
            while not stop.is_set():
                wire = node.open(somewhere())
                with closing(wire.socket):
                    codes[wire.ask(failing(kind, f"u{n}-{random.random()}")).status] += 1

        attackers = threading.Thread(target=together, args=(clients, fail))
        attackers.start()
        took: list[float] = []
        good, deadline = node.open(), time.monotonic() + secs
        try:
            while time.monotonic() < deadline:
                begun = time.perf_counter()
                assert good.ask(command(envelope("kv.set", key="a", value=len(took)), headers)).status == 200
                assert good.ask(command(envelope("kv.get", key="a"), headers)).payload["value"] == len(took)
                took.append(time.perf_counter() - begun)
        finally:
            stop.set()
            attackers.join()
        took.sort()
        ms = ", ".join(f"{name} {took[int(part * (len(took) - 1))] * 1000:.1f}" for name, part in PARTS.items())
        print(f"{len(took)} pairs, ms: {ms}; failed {dict(codes)}; at most {node.most_memory_bytes // MIB} MiB")
        assert codes[401] and codes.keys() <= {401, 429, 503}
        assert node.most_memory_bytes < MEMORY_BYTES_MAX


PARTS = {"p50": 0.5, "p99": 0.99, "max": 1.0}


@both
def test_many_who_have_the_right_password_get_in_at_once(tmp_path: Path, kind: str) -> None:
    with Node(tmp_path / "data") as node:
        node.admin("auth.create_user", username="anna", password="right", roles=["reader"])

        def enter(_: int) -> int:
            if kind == "Basic":
                return node.ask(basic("anna", "right"), "kv.dbsize").status
            return node.ask(None, "auth.login", username="anna", password="right").status

        assert Counter(together(40, enter)) == {200: 40}


@pytest.mark.parametrize("is_new", [False, True], ids=["set again", "a user made anew"])
def test_a_password_that_is_right_again_is_right_on_every_connection(tmp_path: Path, is_new: bool) -> None:
    with Guarded(tmp_path / "data") as server, wired(server) as wire:
        anna = {"username": "anna", "password": "right"}
        server.admin("auth.create_user", **anna, roles=["reader"])
        asked = command(envelope("kv.dbsize"), [basic("anna", "right")])
        for _ in range(3):
            assert wire.ask(asked).status == 200
            assert server.ask(basic("anna", "right"), "kv.dbsize").status == 200
        if is_new:
            server.admin("auth.delete_user", username="anna")
            server.admin("auth.create_user", **anna, roles=["reader"])
        else:
            server.admin("auth.set_password", **anna)
        assert server.ask(basic("anna", "right"), "kv.dbsize").status == 200
        assert wire.ask(asked).status == 200


@both
def test_a_stop_while_passwords_are_verified_ends_well(tmp_path: Path, kind: str) -> None:
    node = Node(tmp_path / "data")
    key = node.key("kv.*")
    assert node.ask(key.header, "kv.set", key="a", value=1).status == 200
    wires = [node.open(somewhere()) for _ in range(20)]
    for n, wire in enumerate(wires):
        wire.send(failing(kind, f"u{n}"))
    eventually(lambda: node.most_memory_bytes > 128 * MIB)  # some are being verified
    begun = time.monotonic()
    node.process.send_signal(signal.SIGTERM)
    for wire in wires:
        with closing(wire.socket), suppress(EOFError, ConnectionError):
            assert wire.answer().status in (401, 503)
    assert node.process.wait(STOPS_WITHIN_SECS) == 0
    print(f"stopped after {time.monotonic() - begun:.1f} s")
    assert "Traceback" not in node.log.read_text()
    with Node(tmp_path / "data") as again:
        assert again.ask(key.header, "kv.get", key="a").payload["value"] == 1


# Keys that come and go


@pytest.mark.parametrize("rounds", [15, pytest.param(300, marks=soak)])
def test_no_request_is_answered_after_its_key_was_revoked(tmp_path: Path, rounds: int) -> None:
    with Node(tmp_path / "data") as node:
        current, done, late = [node.key("kv.*")], threading.Event(), list[str]()
        revoked: set[str] = set()
        served = Counter[int]()

        def hammer(_: int) -> None:
            wire, known = node.open(), current[0]
            while not done.is_set():
                was_revoked = known.id in revoked
                answer = wire.ask(command(envelope("kv.incr", key="n"), [known.header]))
                served[answer.status] += 1
                if was_revoked and answer.status != 401:
                    late.append(known.id)
                if answer.status == 401:  # only what is about to be revoked, if it is not by now
                    assert known is not current[0]
                    known = current[0]

        hammering = threading.Thread(target=together, args=(8, hammer))
        hammering.start()
        try:
            for _ in range(rounds):
                old, current[0] = current[0], node.key("kv.*")
                time.sleep(0.02)
                node.admin("auth.revoke_key", id=old.id)
                revoked.add(old.id)
        finally:
            done.set()
            hammering.join()
        print(dict(served))
        assert not late
        assert served[200] and served[401] >= rounds and served.keys() == {200, 401}
        assert int(node.admin("kv.get", key="n")["value"]) == served[200]


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=soak)])
def test_what_was_acknowledged_of_accounts_is_so_after_a_kill(tmp_path: Path, kills: int) -> None:
    node = Node(tmp_path / "data")
    node.admin("auth.create_user", username="anna", password="0", roles=["reader"])
    kept: list[Key] = []
    try:
        for n in range(kills):
            gone = node.key("kv.*")
            kept.append(node.key("kv.*"))
            token = node.ask(None, "auth.login", username="anna", password=str(n)).payload["token"]
            assert node.ask(bearer(token), "auth.me").status == 200
            node.admin("auth.revoke_key", id=gone.id)
            node.admin("auth.set_password", username="anna", password=str(n + 1))
            node.kill()
            node = Node(tmp_path / "data")
            assert [node.ask(key.header, "kv.dbsize").status for key in kept] == [200] * len(kept)
            assert node.ask(gone.header, "kv.dbsize").status == 401
            assert node.ask(bearer(token), "auth.me").status == 401
            assert node.ask(basic("anna", str(n)), "auth.me").status == 401
            assert node.ask(basic("anna", str(n + 1)), "auth.me").status == 200
    finally:
        node.stop()


# Clocks


def set_clock(server: Guarded, secs: float) -> None:
    """Have the wall clock of a server show another time."""
    server.server._clock._source = lambda: time.time_ns() + round(secs * 1e9)


def test_nothing_that_has_expired_is_good_again_when_the_clock_is_set_back(tmp_path: Path) -> None:
    auth = {"jwt_secret": SECRET, "token_ttl_secs": 60}
    with Guarded(tmp_path / "data", auth=auth) as server:
        server.admin("auth.create_user", username="anna", password="right")
        token = server.ask(None, "auth.login", username="anna", password="right").payload["token"]
        key = server.key("*", expires_at=server.run(server.server._clock.now) + 60_000)
        set_clock(server, HOUR_SECS)
        for is_back in (False, True):
            assert server.code(bearer(token), "auth.me") == "UNAUTHORIZED"
            assert server.code(key.header, "auth.me") == "UNAUTHORIZED"
            if not is_back:
                set_clock(server, 0)
    with Guarded(tmp_path / "data", auth=auth) as server:
        assert server.code(key.header, "auth.me") == "UNAUTHORIZED", "after a restart on the slower clock"


def test_whoever_logs_in_after_the_clock_was_set_back_gets_a_token_that_is_good(tmp_path: Path) -> None:
    with Guarded(tmp_path / "data") as server:
        server.admin("auth.create_user", username="anna", password="right")
        set_clock(server, HOUR_SECS)
        server.admin("kv.set", key="a", value=1)
        set_clock(server, 0)
        token = server.ask(None, "auth.login", username="anna", password="right").payload["token"]
        assert server.code(bearer(token), "auth.me") is None


# Disks and memory


def limit_files(node: Node, size: int) -> None:
    resource.prlimit(node.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def test_while_the_disk_is_full_accounts_stay_as_they_are_and_people_can_log_in(tmp_path: Path) -> None:
    with Node(tmp_path / "data") as node:
        node.admin("auth.create_user", username="anna", password="right", roles=["reader"])
        key, other = node.key("kv.*"), node.key("kv.*")
        for header in (key.header, other.header, basic("anna", "right")):
            assert node.ask(header, "auth.me").status == 200, "that it is in use is noted"
        before = {name: node.admin(f"auth.list_{name}") for name in ("users", "roles", "keys")}
        limit_files(node, segment.list_segments(tmp_path / "data")[-1].stat().st_size + 10)
        assert node.ask(key.header, "kv.set", key="a", value=1).error["code"] == "DISK_FULL"
        for name, payload in CHANGES.items():
            answer = node.ask(ROOT, name, **payload, **({"id": other.id} if name == "auth.revoke_key" else {}))
            assert answer.error["code"] == "DISK_FULL", name
        assert {name: node.admin(f"auth.list_{name}") for name in before} == before
        assert node.ask(other.header, "kv.dbsize").status == 200
        assert node.ask(basic("anna", "right"), "kv.dbsize").status == 200
        assert node.ask(None, "auth.login", username="anna", password="right").status == 200
        limit_files(node, resource.RLIM_INFINITY)
        within(10.0, lambda: node.ask(key.header, "kv.set", key="a", value=1).status, 200)
        digest = node.admin("admin.digest")["digest"]
    with Node(tmp_path / "data") as again:
        assert again.admin("admin.digest")["digest"] == digest


CHANGES: dict[str, dict[str, Any]] = {
    "auth.create_user": {"username": "ben", "password": "p"},
    "auth.set_password": {"username": "anna", "password": "p"},
    "auth.disable_user": {"username": "anna"},
    "auth.grant_role": {"username": "anna", "role": "writer"},
    "auth.delete_user": {"username": "anna"},
    "auth.create_key": {"name": "k", "permissions": ["*"]},
    "auth.revoke_key": {},
    "auth.create_role": {"role": "r", "permissions": ["*"]},
}


def test_a_disk_that_fills_up_while_a_password_is_hashed_makes_no_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Guarded(tmp_path / "data") as server:
        begun, go_on, told = threading.Event(), threading.Event(), []
        hashed = server.credentials.hash_password

        def slowly(password: str) -> str:
            begun.set()
            assert go_on.wait(10)
            return hashed(password)

        monkeypatch.setattr(server.credentials, "hash_password", slowly)
        asking = threading.Thread(
            target=lambda: told.append(server.code(ROOT, "auth.create_user", username="ben", password="p"))
        )
        asking.start()
        try:
            assert begun.wait(10)
            monkeypatch.setattr(server.server._journal, "flush", lambda: False)
            monkeypatch.setattr(server.server._journal, "failure", OSError(28, os.strerror(28)))
        finally:
            go_on.set()
            asking.join()
            monkeypatch.undo()
        assert told == ["DISK_FULL"]
        assert server.admin("auth.list_users") == {"users": []}


def test_at_the_limit_of_memory_accounts_can_only_become_less(tmp_path: Path) -> None:
    with Node(tmp_path / "data", SYNAP_MEMORY_LIMIT_BYTES=str(MIB)) as node:
        node.admin("auth.create_user", username="anna", password="right", roles=["reader"])
        node.admin("auth.create_role", role="some", permissions=["kv.*"])
        key = node.key("kv.*")
        assert node.ask(key.header, "kv.set", key="large", value="x" * MIB).status == 200
        for name in ("auth.create_user", "auth.create_key", "auth.grant_role"):
            assert node.ask(ROOT, name, **CHANGES[name]).error["code"] == "MEMORY_LIMIT", name
        role = {"role": "r", "permissions": ["*"]}
        assert node.ask(ROOT, "auth.create_role", **role).error["code"] == "MEMORY_LIMIT"
        assert node.ask(basic("anna", "right"), "auth.me").status == 200
        token = node.ask(None, "auth.login", username="anna", password="right").payload["token"]
        node.admin("auth.set_password", username="anna", password="other")
        assert node.ask(bearer(token), "auth.me").status == 401
        node.admin("auth.revoke_role", username="anna", role="reader")
        node.admin("auth.delete_role", role="some")
        node.admin("auth.disable_user", username="anna")
        node.admin("auth.delete_user", username="anna")
        node.admin("auth.revoke_key", id=key.id)
        assert node.ask(key.header, "kv.dbsize").status == 401


# Many, and slow ones


def grown_bytes(node: Node, do: Callable[[], None]) -> int:
    """By how much the server's process grows with what `do` does."""
    before = memory_bytes(node)
    do()
    return memory_bytes(node) - before


def pipelined(node: Node, requests: list[bytes]) -> Counter[int]:
    """The statuses of the answers to requests on one connection."""
    wire, found = node.open(), Counter[int]()
    with closing(wire.socket):
        for at in range(0, len(requests), PIPELINED):
            batch = requests[at : at + PIPELINED]
            wire.send(b"".join(batch))
            found.update(wire.answer().status for _ in batch)
    return found


def test_ten_thousand_bad_keys_leave_nothing_behind(tmp_path: Path) -> None:
    with Node(tmp_path / "data") as node:
        body = envelope("kv.dbsize")
        warm = [command(body, [("X-API-Key", f"synap_warm{n}")]) for n in range(1_000)]
        assert pipelined(node, warm) == {401: 1_000}
        asked = [command(body, [("X-API-Key", f"synap_{n:043}")]) for n in range(10_000)]
        grown = grown_bytes(node, lambda: pipelined(node, asked).clear())
        print(f"grown by {grown / MIB:.1f} MiB")
        assert grown < 16 * MIB


@pytest.mark.parametrize("addresses", [1_000, pytest.param(10_000, marks=soak)])
def test_many_addresses_leave_little_behind(tmp_path: Path, addresses: int) -> None:
    limited = {"SYNAP_RATE_LIMIT_ENABLED": "true", "SYNAP_RATE_LIMIT_PER": "address"}
    with Node(tmp_path / "data", **limited) as node:

        def visit() -> None:
            for n in range(addresses):
                wire = node.open(f"127.1.{n // 250}.{n % 250 + 1}")
                with closing(wire.socket):
                    assert wire.ask(command(envelope("kv.dbsize"))).status == 401

        grown = grown_bytes(node, visit)
        print(f"grown by {grown / MIB:.1f} MiB")
        assert grown < 32 * MIB


def test_strangers_do_not_fill_the_memory_with_long_heads(tmp_path: Path) -> None:
    padding = [(f"X-Padding-{n}", "x" * 3_900) for n in range(15)]
    with Node(tmp_path / "data") as node:
        asked = [command(envelope("kv.dbsize"), [*padding, ("X-Number", str(n))]) for n in range(2_000)]
        wire = node.open()

        def send() -> None:
            for each in asked:
                assert wire.ask(each).status == 401

        grown = grown_bytes(node, send)
        print(f"grown by {grown / MIB:.1f} MiB")
        assert grown < 32 * MIB


def test_names_of_any_length_are_not_remembered(tmp_path: Path) -> None:
    with Guarded(tmp_path / "data") as server:
        assert server.code(basic("x" * 20_000, "wrong"), "kv.dbsize") == "UNAUTHORIZED"
        assert all(len(name) < 1_000 for name in server.run(lambda: list(server.credentials._failures)))


@pytest.mark.parametrize("header", [ROOT, ("X-API-Key", "synap_x")], ids=["good", "bad"])
def test_who_sends_slowly_is_cut_off_whatever_the_credential(tmp_path: Path, header: Header) -> None:
    with Node(tmp_path / "data", SYNAP_LIMITS_READ_TIMEOUT_SECS="1") as node:
        node.admin("auth.me")
        asked = command(envelope("kv.set", key="a", value=1), [header])
        slow = [node.open() for _ in range(50)]
        for n, wire in enumerate(slow):
            wire.send(asked[: len(asked) * (n + 1) // 52])
        for wire in slow:
            with closing(wire.socket), suppress(EOFError, ConnectionError):
                assert wire.answer().status == 400
                wire.expect_closed()
        assert node.admin("kv.exists", key="a")["exists"] is False
