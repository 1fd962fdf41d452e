"""Master and replicas in a world of virtual time, where everything fails that can: one seed, one history.

The decisions are made by the real `Node`; `simulation_server.py` does in memory what surrounds it on a server, and
`simulation_witness.py` checks what must hold at all times. Here are the network, the clients, and the operator, who
promotes, retargets, restarts and breaks nodes. Three kinds of runs promise different things:

failures  Nodes fail for good or lose power, and the operator then promotes the one that has most. Whatever was
          acknowledged with as many replicas as there were failures is in the history in the end.
split     Anybody is promoted at any time, also by force; nobody fails for good. Whatever was acknowledged at all is
          in the history in the end, or has been put aside somewhere.
chaos     All of that, and power cuts, and nodes that have nothing in common. In the end all are alike.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from random import Random
from typing import Literal

from synap.errors import MasterAlive
from synap.replication.terms import term_at, up_to
from tests.replication.simulation_server import Server
from tests.replication.simulation_witness import Violated, Witness, require

Kind = Literal["failures", "split", "chaos"]
KINDS: tuple[Kind, ...] = ("failures", "split", "chaos")

STORM_MS = 15_000
CALM_MS = 120_000
LOOK_MS = 4_000
TRACE_EVENTS = 400


class World:
    """Time, chance, the network and the nodes. `run` lets it happen. Raises Violated."""

    def __init__(self, kind: Kind, seed: int) -> None:
        self.kind = kind
        self.random = Random(f"{kind} {seed}")
        self.now = 0.0
        self.witness = Witness()
        self.trace: deque[tuple[float, str, tuple[object, ...]]] = deque(maxlen=TRACE_EVENTS)
        self.failures = 0
        chance = self.random.random
        self.snapshots = self.random.choice((0.0, 0.05, 0.3))
        self._loss, self._repeats, self._overtakes = (0.04 * chance() * (chance() < 0.5) for _ in range(3))
        self._delay_ms = self.random.choice((2, 20, 200))
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._ids = 0
        self._writes = 0
        self._blocked: set[tuple[str, str]] = set()
        names = "abcde"[: self.random.randint(3, 5)]
        self.servers = {name: Server(self, name, knows_url=chance() < 0.9) for name in names}
        self.operator = Operator(self)

    def run(self) -> None:
        """From the first start to the end, when all must be alike."""
        self.operator.begin()
        self._client()
        self._until(STORM_MS)
        self._blocked.clear()
        self._loss = self._repeats = self._overtakes = 0.0
        self.note(None, "the network is whole")
        self.operator.repair()
        while not self._is_settled():
            if self.now > STORM_MS + CALM_MS:
                raise Violated("the nodes do not come together:\n" + "\n".join(map(str, self.servers.values())))
            self._until(self.now + LOOK_MS)
            self.operator.look()
        self._check_the_end()

    # Time and network

    def at(self, when: float, action: Callable[[], None]) -> None:
        """Something will happen."""
        self._count += 1
        heapq.heappush(self._events, (when, self._count, action))

    def send(
        self,
        source: Server,
        target: Server,
        action: Callable[..., object],
        *arguments: object,
        not_before: float = 0.0,
        slow: bool = False,
    ) -> float:
        """Let `action` happen at the target, if the network is willing. Returns when."""
        random = self.random
        when = self.now + random.random() * self._delay_ms * (20 if slow else 1)
        if random.random() >= self._overtakes:
            when = max(when, not_before)
        if self._blocks(source, target) or random.random() < self._loss:
            return when

        def arrive() -> None:
            if target.is_up and not self._blocks(source, target):
                action(*arguments)

        self.at(when, arrive)
        if random.random() < self._repeats:
            self.at(when + random.random() * self._delay_ms, arrive)
        return when

    def new_id(self) -> str:
        """One that no other has; which of two is greater is chance, as with random ones."""
        self._ids += 1
        return f"{self.random.randrange(100):02}n{self._ids}"

    def is_reachable(self, one: Server, other: Server) -> bool:
        """Whether messages go both ways."""
        return not self._blocks(one, other) and not self._blocks(other, one)

    def part(self, one: Server, other: Server, for_ms: float, *, both_ways: bool) -> None:
        """Let nothing through for some time."""
        ways = {(one.name, other.name), (other.name, one.name)} if both_ways else {(one.name, other.name)}
        self.note(None, "no messages", sorted(ways))
        self._blocked |= ways
        self.at(self.now + for_ms, lambda: self._blocked.difference_update(ways))

    def _blocks(self, source: Server, target: Server) -> bool:
        return source.is_cut_off or target.is_cut_off or (source.name, target.name) in self._blocked

    def note(self, server: Server | None, *event: object) -> None:
        """Keep for the trace what happens."""
        self.trace.append((self.now, server.name if server is not None else "-", event))

    def _until(self, end: float) -> None:
        events = self._events
        while events and events[0][0] <= end:
            self.now, _, action = heapq.heappop(events)
            action()
        self.now = end

    # Clients

    def _client(self) -> None:
        random = self.random
        if self.now < STORM_MS + LOOK_MS:
            self.at(self.now + random.uniform(50, 900), self._client)
        masters = [server for server in self.servers.values() if server.is_up and server.node.is_master]
        if masters:
            self._write(random.choice(masters), random.randint(1, 3), random.choice((0, 1, 1, 2)))

    def _write(self, server: Server, count: int, acks: int) -> None:
        writes = list(range(self._writes, self._writes + count))
        self._writes += count
        server.write(writes, acks)

    # The end

    def _is_settled(self) -> bool:
        nodes = self.operator.alive
        masters = [server for server in nodes if server.is_up and server.node.is_master]
        if len(masters) != 1 or any(not server.is_up or server.is_rebuilding for server in nodes):
            return False
        master = masters[0]
        return all(
            server.disk.last_lsn == master.disk.last_lsn
            and (server is master or (server.is_connected and self.operator.root(server) is master))
            for server in nodes
        )

    def _check_the_end(self) -> None:
        nodes = self.operator.alive
        master = next(server for server in nodes if server.node.is_master)
        last_lsn, writes = master.disk.last_lsn, master.disk.writes
        require(len(set(writes)) == len(writes), "a write is there twice")
        for server in nodes:
            self.witness.holds(server.node.terms, server.disk.writes)
            require(server.disk.writes == writes, f"{server.name} and {master.name} hold other records")
            require(server.disk.digests[-1] == master.disk.digests[-1], f"{server.name} and {master.name} differ")
            require(
                up_to(server.node.terms, last_lsn) == up_to(master.node.terms, last_lsn),
                f"{server.name} has {server.node.terms}, {master.name} has {master.node.terms}",
            )
        if self.kind == "failures":
            self.witness.survive(writes, self.failures)
        elif self.kind == "split":
            self.witness.accounted_for([*writes, *(write for server in nodes for write in server.disk.aside)])
        write = self._writes
        self._write(master, 1, sum(server.node.upstream == master.name for server in nodes))
        self._until(self.now + LOOK_MS)
        require(write in self.witness.acknowledged, "a write is not acknowledged though all are well")


class Operator:
    """Who runs the nodes, and who breaks them."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._random = world.random
        self._master = "a"
        """In runs where nodes fail: the one that is meant to be the master; nobody is while a new one is sought."""
        self._budget = self._random.randint(0, 2) if world.kind == "failures" else 0
        self._actions: tuple[Callable[[], None], ...] = {
            "failures": (self._part, self._cut, self._kill, self._retarget, self._fail),
            "split": (self._part, self._cut, self._kill, self._retarget, self._promote, self._resync),
            "chaos": (self._part, self._cut, self._kill, self._retarget, self._promote, self._resync, self._power_cut),
        }[world.kind]

    @property
    def alive(self) -> list[Server]:
        """The nodes that have not failed for good; they may be down at present."""
        return [server for server in self._world.servers.values() if not server.has_failed]

    @property
    def _up(self) -> list[Server]:
        return [server for server in self.alive if server.is_up]

    def begin(self) -> None:
        """Start all nodes: one master, replicas of it and of each other."""
        names: list[str] = []
        for name, server in self._world.servers.items():
            is_stranger = self._world.kind == "chaos" and self._random.random() < 0.15
            if names and not is_stranger:
                server.configured = names[0] if self._random.random() < 0.7 else self._random.choice(names)
            names.append(name)
            server.start()
        self._world.at(self._random.uniform(500, 3000), self._act)

    def repair(self) -> None:
        """Start what is down."""
        for server in self.alive:
            if not server.is_up:
                server.start()

    def root(self, server: Server) -> Server:
        """Whom a server follows in the end."""
        return self._chain(server)[-1]

    def look(self) -> None:
        """See to it that there is one master, and that all others follow it, directly or not."""
        masters = [server for server in self._up if server.node.is_master]
        if not masters:
            if self._master:
                best = max(self._up, key=_rank)
                if not best.is_rebuilding:
                    best.promote(force=True)
            return
        master = masters[0]
        for other in masters[1:]:
            newest, other_newest = master.node.terms[-1], other.node.terms[-1]
            if (other_newest.epoch, other_newest.id) > (newest.epoch, newest.id):
                master = other
        for server in self._up:
            if server is not master and self.root(server) is not master:
                server.follow(master.name)

    def restart(self, server: Server, *, power: bool) -> None:
        """Let a server crash and come again, sometimes with other settings."""
        server.crash(power=power)
        if self._world.kind != "failures" and self._random.random() < 0.15:
            server.configured = self._random.choice([name for name in self._world.servers if name != server.name])
        self._start_later(server)

    def _act(self) -> None:
        if self._world.now < STORM_MS:
            self._random.choice(self._actions)()
            self._world.at(self._world.now + self._random.uniform(100, 1200), self._act)

    # What any network and any machine does

    def _part(self) -> None:
        one, other = self._random.sample(list(self._world.servers.values()), 2)
        self._world.part(one, other, self._random.uniform(300, 6000), both_ways=self._random.random() < 0.6)

    def _cut(self) -> None:
        server = self._random.choice(list(self._world.servers.values()))
        if server.link is not None:
            server.hung_up(server.link)

    def _kill(self) -> None:
        if self._up:
            self.restart(self._random.choice(self._up), power=False)

    def _power_cut(self) -> None:
        if self._up:
            self.restart(self._random.choice(self._up), power=True)

    def _start_later(self, server: Server) -> None:
        def start() -> None:
            if not server.is_up and not server.has_failed:
                server.start()

        self._world.at(self._world.now + self._random.choice((20, 500, 3000)), start)

    # What operators do

    def _retarget(self) -> None:
        """Tell a node to follow another; also a master, where there may be several."""
        ready = [server for server in self._up if self._world.kind != "failures" or not server.node.is_master]
        if ready:
            server = self._random.choice(ready)
            targets = [other for other in self._up if other is not server and server not in self._chain(other)]
            if targets:
                server.follow(self._random.choice(targets).name)

    def _promote(self) -> None:
        ready = [server for server in self._up if not server.is_rebuilding and server.node.terms]
        if ready:
            with suppress(MasterAlive):
                self._random.choice(ready).promote(force=self._random.random() < 0.5)

    def _resync(self) -> None:
        replicas = [server for server in self._up if not server.node.is_master and not server.is_rebuilding]
        if replicas:
            self._random.choice(replicas).resync()

    # Failures, and what is done about them

    def _fail(self) -> None:
        """A node is down for good, cut off for good, or loses power."""
        if not self._budget or not self._up:
            return
        self._budget -= 1
        self._world.failures += 1
        server = self._random.choice(self._up)
        how = self._random.choice(("down", "cut off", "power"))
        self._world.note(server, "fails:", how)
        was_master = server.name == self._master
        if how == "cut off":
            server.is_cut_off = server.has_failed = True
        else:
            server.crash(power=how == "power")
            server.has_failed = how == "down" or was_master
            if not server.has_failed:
                self._start_later(server)
        if was_master:
            self._master = ""
            self._seek_master(server, comes_back=how == "power")

    def _seek_master(self, failed: Server, *, comes_back: bool) -> None:
        """Promote the node that has most, once all are up that have not failed."""
        again = partial(self._seek_master, failed, comes_back=comes_back)
        if any(not server.is_up or server.is_rebuilding for server in self.alive):
            self._world.at(self._world.now + 300, again)
            return
        best = max(self.alive, key=_rank)
        try:
            best.promote(force=not best.node.terms)
        except MasterAlive:
            if best.node.upstream != failed.name:
                best.follow(failed.name)
            self._world.at(self._world.now + 300, again)
            return
        self._master = best.name
        for server in self.alive:
            if server is not best and self._random.random() < 0.5:
                server.follow(best.name)
        if comes_back:
            failed.has_failed, failed.configured = False, best.name
            self._start_later(failed)

    def _chain(self, server: Server) -> list[Server]:
        """The server, whom it follows, whom that follows, and so on, until nobody is known or all have been."""
        chain = [server]
        while chain[-1].is_up and not chain[-1].has_failed and chain[-1].node.upstream is not None:
            following = self._world.servers[chain[-1].node.upstream]
            if following in chain:
                break
            chain.append(following)
        return chain


def simulate(kind: Kind, seed: int, *, trace: bool = False) -> None:
    """One run. Raises Violated, which says how to see it again."""
    world = World(kind, seed)
    try:
        world.run()
    except Exception as error:
        if trace:
            for now, name, event in world.trace:
                print(f"{now:9.1f} {name} {' '.join(map(str, event))}")
        raise Violated(
            f"{error!r} in a run of kind {kind}, seed {seed}; to see it happen: "
            f"SYNAP_SIM_SEED={seed} pytest -k {kind} tests/replication/test_simulation.py"
        ) from error


def _rank(server: Server) -> tuple[int, int]:
    """What an operator compares: the epoch of the last record, and its LSN."""
    last_lsn = server.disk.last_lsn
    term = term_at(server.node.terms, last_lsn)
    return (term.epoch if term is not None else 0, last_lsn)
