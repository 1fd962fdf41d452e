"""Several nodes, each a `synap serve` of its own, that reach each other only through doors (proxy.py)."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from synap.errors import SynapError
from tests.durability.client import PATIENCE_SECS, Book, acknowledged, until, writing
from tests.replication.proxy import Door, Network
from tests.support import ServerProcess

POLL_SECS = 0.02
PATIENT = {"SYNAP_REPLICATION_ACK_TIMEOUT_MS": "60000"}
"""Settings with which no write is given up."""


class Node:
    """A server that may be killed and come back. Others find it behind its `door`, clients of a test directly."""

    def __init__(self, data: Path, network: Network, env: dict[str, str]) -> None:
        self.data = data
        self.door = network.door()
        self._env = env
        self._flags: tuple[str, ...] = ()
        self._server: ServerProcess | None = None

    @property
    def url(self) -> str:
        """Where others find it, for good."""
        return self.door.url

    @property
    def server(self) -> ServerProcess:
        """The running process."""
        assert self._server is not None, f"{self.data.name} is not running"
        return self._server

    @property
    def is_running(self) -> bool:
        """Whether there is a process."""
        return self._server is not None

    def start(self, follow: Node | Door | None = None, **env: str) -> None:
        """Start it for the first time, as a replica of `follow` if that is given."""
        self._flags = () if follow is None else ("--replica-of", follow.url)
        self._env = self._env | {"SYNAP_REPLICATION_ADVERTISE": self.url} | env
        self.start_again()

    def start_again(self) -> None:
        """Start it as it was started before, whatever has happened since."""
        self._server = ServerProcess(self.data, *self._flags, env=self._env)
        self.door.lead_to(self._server.port)

    def kill(self) -> None:
        """kill -9."""
        server, self._server = self.server, None
        server.kill()
        self.door.lead_to(None)
        self.door.cut()

    def stop(self) -> int:
        """SIGTERM; returns the exit status."""
        server, self._server = self.server, None
        status = server.stop()
        self.door.lead_to(None)
        return status

    def call(self, command: str, /, **payload: Any) -> Any:
        """The payload of a successful reply. Raises the SynapError of a failed one."""
        return self.server.call(command, **payload)

    def send(self, command: str, ack: str, /, **payload: Any) -> Any:
        """The whole reply to a write that asks for an acknowledgement."""
        return self.server.send({"command": command, "payload": payload, "ack": ack})

    @property
    def status(self) -> Any:
        """What replication.status tells."""
        return self.call("replication.status")

    @property
    def lsn(self) -> int:
        """Its last record."""
        return cast(int, self.status["lsn"])

    @property
    def role(self) -> str:
        """master or replica."""
        return cast(str, self.status["role"])

    @property
    def follows(self) -> str | None:
        """The URL from which records come in at present."""
        master = self.status["master"]
        return cast(str, master["address"]) if master is not None and master["connected"] else None

    @property
    def log(self) -> str:
        """All it has ever said."""
        return self.data.with_name(self.data.name + ".log").read_text()

    @property
    def put_aside(self) -> list[Path]:
        """The directories with what it had to take back."""
        return sorted(path for path in self.data.glob("diverged-*") if path.is_dir())


class Cluster:
    """Nodes by name. Use as a context manager: no process outlives it."""

    def __init__(self, path: Path, *, env: dict[str, str] | None = None) -> None:
        self.nodes: dict[str, Node] = {}
        self.network = Network()
        self._path = path
        self._env = PATIENT | (env or {})

    def add(self, name: str, **env: str) -> Node:
        """A node that is still to be started."""
        node = self.nodes[name] = Node(self._path / name, self.network, self._env | env)
        return node

    def star(self, *names: str) -> list[Node]:
        """New nodes that run: the first one is the master, the others follow it and have heard of each other."""
        master, *replicas = nodes = [self.add(name) for name in names]
        master.start()
        with ThreadPoolExecutor(len(names)) as pool:
            list(pool.map(lambda replica: replica.start(master), replicas))
        eventually(lambda: len(master.status["replicas"]) == len(replicas))
        for replica in replicas:
            eventually(lambda replica=replica: replica.status["master"]["lag_ms"] is not None)  # type: ignore[misc]
        return nodes

    def agreed(self) -> str:
        """Wait until all nodes that run have the same; returns its digest."""
        running = [node for node in self.nodes.values() if node.is_running]
        found: list[Any] = []

        def is_same() -> bool:
            if len({node.lsn for node in running}) > 1:  # spares the work of digests
                return False
            found[:] = [node.call("admin.digest") for node in running]
            return all(digest == found[0] for digest in found)

        try:
            eventually(is_same)
        except AssertionError:
            raise AssertionError(f"they differ: {[(n.data.name, n.status) for n in running]}, {found}") from None
        return cast(str, found[0]["digest"])

    def __enter__(self) -> Cluster:
        self.network.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        try:
            for node in self.nodes.values():
                if node.is_running:
                    node.kill()
        finally:
            self.network.__exit__()


def eventually(condition: Callable[[], object], within_secs: float = PATIENCE_SECS) -> None:
    """Wait for something that nodes do by themselves. What they answer with an error is not yet so."""
    deadline = time.monotonic() + within_secs
    while not _holds(condition):
        assert time.monotonic() < deadline, "it does not come about"
        time.sleep(POLL_SECS)


def _holds(condition: Callable[[], object]) -> object:
    try:
        return condition()
    except SynapError:
        return False


class Ending:
    """A Book (see tests/durability/client.py) whose writer ends when it is told to."""

    def __init__(self, book: Book) -> None:
        self.name = book.name
        self.acknowledged = 0
        self.is_over = False
        self._book = book

    def next(self, rng: random.Random) -> Any:
        """See Book."""
        if self.is_over:
            raise EOFError
        return self._book.next(rng)

    def acknowledge(self, results: list[Any]) -> bool:
        """See Book."""
        self.acknowledged += 1
        return self._book.acknowledge(results)

    def refused(self) -> None:
        """See Book."""
        self._book.refused()


@contextmanager
def load(node: Node, books: Sequence[Book], rng: random.Random, requests: int) -> Iterator[None]:
    """Have a writer work for every book until this is left, or the node ends; begin when `requests` more have been
    acknowledged.
    """
    endings = [Ending(book) for book in books]
    with writing(node.server, endings, rng):
        try:
            until(lambda: acknowledged(endings) >= requests)
            yield
        finally:
            for ending in endings:
                ending.is_over = True


def promote(node: Node) -> None:
    """Make a node the master as soon as it has noticed that the one before is gone."""
    eventually(lambda: node.call("replication.promote")["role"] == "master")
