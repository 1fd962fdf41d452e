"""What one server is among the others, and what it does about what it hears.

                   follow, a higher epoch is heard of
    master  ───────────────────────────────────────────▶  replica
            ◀───────────────────────────────────────────
                              promote

It does no I/O and has no clock: it is told what has come and what time it is. What it promises is in its `Standing`,
which is saved before anything follows from it. Whoever moves the bytes looks at `generation`: when that changes, all
streams of this node, in both directions, are of the past and must be closed.

Rules that everything else rests on:

1. Only a master gives out LSNs, and only within a term that it has begun itself.
2. A replica takes records only in order, and only from one whose epoch is not lower than any it has heard of.
3. What it has and the one it follows does not is put aside before it takes anything over.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import NamedTuple, Protocol

import msgspec

from synap.errors import MasterAlive, Unavailable
from synap.journal.record import Lsn
from synap.replication.replicas import Replicas
from synap.replication.standing import Incoming, Role, Standing
from synap.replication.terms import (
    Term,
    Terms,
    begun,
    common_lsn,
    is_prefix,
    lineage_of,
    supersedes,
    term_at,
    up_to,
)
from synap.replication.wire import Claim, Greeting, Heartbeat, Welcome, public

log = logging.getLogger("synap.replication")

HEARTBEAT_MS = 500
# Who has not been heard of for so long does not answer.
SILENCE_MS = 3_000
SIBLINGS_MAX = 64


class Journal(Protocol):
    """What a node has to know of its journal."""

    @property
    def last_lsn(self) -> Lsn:
        """Of the last record."""

    @property
    def oldest_lsn(self) -> Lsn:
        """The first record that can still be read; one more than `last_lsn` when there is none."""

    @property
    def snapshot_lsn(self) -> Lsn:
        """The last record in the newest snapshot, 0 without one: the journal cannot be cut off before it."""


class NotFollowed(Exception):
    """The node that was asked cannot be followed now; the message says why."""


class RollBack(NamedTuple):
    """Put aside what stands behind `lsn`, forget it, and ask again."""

    lsn: Lsn


class Fetch(NamedTuple):
    """Get a snapshot and begin anew from it; put all there is aside before, if it `diverged`."""

    diverged: bool


class Node:
    """One server's role.

    `save` keeps a standing for good, `new_id` makes ids that no other has, `place` tells copies of a directory apart.
    """

    def __init__(
        self,
        standing: Standing,
        journal: Journal,
        save: Callable[[Standing], None],
        new_id: Callable[[], str],
        place: str = "",
    ) -> None:
        self.id = new_id()
        """Of this run of the server."""
        self.generation = 0
        self.replicas = Replicas()
        """Who follows this node."""
        self.on_part: Callable[[], None] = lambda: None
        """Called when their streams must be closed."""
        self.on_turn: Callable[[], None] = lambda: None
        """Called after `generation` has changed, when all that goes with it is decided."""
        self.url: str | None = None
        """Where it can be reached, if that is known."""
        self._standing = standing
        self._journal = journal
        self._save = save
        self._new_id = new_id
        self._place = place
        self._heard_at = -math.inf
        self._true_master: str | None = None
        self._begins_anew = False
        self._has_started = False
        self._followed_epoch: int | None = None
        """Of who is followed at present, None while nobody is."""

    # What it is

    @property
    def role(self) -> Role:
        """Master or replica."""
        return self._standing.role

    @property
    def is_master(self) -> bool:
        """Whether it takes writes."""
        return self._standing.role == "master"

    @property
    def upstream(self) -> str | None:
        """The URL to follow."""
        return self._standing.master

    @property
    def master(self) -> str | None:
        """The URL of the master, as far as this node knows."""
        return self.url if self.is_master else self._true_master or public(self._standing.master or "") or None

    @property
    def epoch(self) -> int:
        """The highest heard of."""
        return self._standing.epoch

    @property
    def terms(self) -> Terms:
        """The history of what it has; what it is still to get may be in it, too."""
        return self._standing.terms

    @property
    def history_id(self) -> str:
        """The id of the newest term."""
        return self.terms[-1].id if self.terms else ""

    @property
    def announce_to(self) -> tuple[str, ...]:
        """Who is still to be told that this is the master."""
        return self._standing.announce_to

    @property
    def incoming(self) -> Incoming | None:
        """What is to take the place of the journal there is."""
        return self._standing.incoming

    @property
    def is_following(self) -> bool:
        """Whether records come in."""
        return self._followed_epoch is not None

    def start(self, configured: str, *, is_replaced: bool = False) -> None:
        """The journal is there: be what was decided last, unless the settings name another master since then.

        If it was to be replaced (`incoming`), it says whether it has been. Raises DiskFull; it can be tried again.
        """
        if is_replaced:
            self.installed()
        elif self.incoming is not None:
            self._decide(incoming=None)
        if not self._standing.node:
            self._decide(node=self._new_id())
        if configured and configured != self._standing.configured:
            self._become_replica(configured, configured=configured)
        elif self.is_master:
            self._begin_term(max(self.epoch, 1), self.announce_to)
        self._has_started = True

    @property
    def has_started(self) -> bool:
        """Whether its role is settled, and others may follow."""
        return self._has_started

    # Following

    def greeting(self) -> Greeting:
        """What to say to the upstream."""
        if self._begins_anew:
            return Greeting(node=self._standing.node + self._place, from_lsn=1, url=self.url or "")
        last = self._journal.last_lsn
        term = term_at(self.terms, last)
        return Greeting(
            node=self._standing.node + self._place,
            from_lsn=last + 1,
            history=term.id if term is not None and last else "",
            epoch=self.epoch,
            lineage=self._standing.lineage,
            url=self.url or "",
        )

    def welcomed(self, welcome: Welcome, now: float) -> RollBack | Fetch | None:
        """The upstream has answered. None: records follow. Raises NotFollowed."""
        self.heard(now)
        if welcome.node == self.id:
            raise NotFollowed("it is this node itself")
        if self.url is not None and welcome.master == self.url:
            raise NotFollowed("it follows this node; one of the two has to be told to follow another, or promoted")
        if not welcome.terms:
            raise NotFollowed("it has no data yet")
        mine, last = self.terms, self._journal.last_lsn
        is_kin = self._is_kin(lineage_of(welcome.terms))
        if is_kin and welcome.epoch < self.epoch and not self._begins_anew:
            raise NotFollowed(f"it is of epoch {welcome.epoch}, and there has been {self.epoch} since")
        if is_kin and not self._begins_anew and _is_behind(welcome, up_to(mine, last)):
            raise NotFollowed("it has not heard yet of what this node has")
        common = common_lsn(mine, last, welcome.terms)
        diverged = common < last
        if diverged and not self._begins_anew and self._journal.snapshot_lsn <= common and is_kin:
            return RollBack(common)
        if diverged or self._begins_anew or last + 1 < welcome.oldest_lsn:
            return Fetch(diverged or last > welcome.last_lsn)
        if not welcome.accepted:
            raise NotFollowed("it does not accept this node's history")
        self._true_master = welcome.master
        self._followed_epoch = welcome.epoch
        self._adopt(welcome.terms, welcome.epoch if not is_kin else max(welcome.epoch, self.epoch))
        return None

    def beat(self, heartbeat: Heartbeat, now: float) -> None:
        """The upstream says how it is."""
        self.heard(now)
        self._decide(siblings=heartbeat.siblings)
        self._true_master = heartbeat.master

    def may_take_records(self) -> bool:
        """Whether records of the present upstream may be taken: none of an epoch that is over."""
        return self._followed_epoch is not None and self._followed_epoch >= self.epoch

    def heard(self, now: float) -> None:
        """Something has come from the upstream."""
        self._heard_at = now

    def unreachable(self) -> None:
        """The upstream does not even take a connection."""
        self._heard_at = -math.inf

    def parted(self) -> None:
        """The stream from the upstream has ended."""
        self._followed_epoch = None

    def master_answers(self, now: float) -> bool:
        """Whether the upstream has been heard of lately."""
        return now - self._heard_at <= SILENCE_MS

    def rolled_back(self) -> None:
        """The journal has been cut off."""
        self._part_from_replicas()
        self._decide(terms=up_to(self.terms, self._journal.last_lsn))

    def replacing(self, incoming: Incoming) -> None:
        """The journal is about to be replaced."""
        self._part_from_replicas()
        self._decide(incoming=incoming)

    def installed(self) -> None:
        """The journal is another's now, and its history with it."""
        incoming = self._standing.incoming
        if incoming is None:
            raise ValueError("there was nothing to install")
        terms, epoch, lineage = incoming.terms, incoming.epoch, lineage_of(incoming.terms)
        if not self._begins_anew:
            lineage = lineage or self._standing.lineage
            epoch = max(epoch, self.epoch) if self._is_kin(lineage) else epoch
        self._begins_anew = False
        self._decide(terms=up_to(terms, self._journal.last_lsn), epoch=epoch, lineage=lineage, incoming=None)

    @property
    def begins_anew(self) -> bool:
        """Whether everything is to be copied although it could go on."""
        return self._begins_anew

    def begin_anew(self) -> None:
        """Have everything copied again from the upstream."""
        self._begins_anew = True
        self._turn()

    # Being followed

    def admit(self, greeting: Greeting) -> Welcome:
        """Answer somebody who wants to follow."""
        if self._is_kin(greeting.lineage) and greeting.epoch > self.epoch:
            self._hear_of(greeting.epoch)
        oldest, last = self._journal.oldest_lsn, greeting.from_lsn - 1
        return Welcome(
            node=self.id,
            accepted=greeting.from_lsn >= oldest and is_prefix(self.terms, last, greeting.history),
            epoch=self.epoch,
            terms=self.terms,
            oldest_lsn=oldest,
            last_lsn=self._journal.last_lsn,
            master=None if self.is_master else self.master,
        )

    def joined(self, url: str) -> None:
        """Somebody follows. A master keeps in mind who did: whoever replaces it must tell those, too, who are away."""
        known = self._standing.siblings
        if self.is_master and url and url not in known:
            self._decide(siblings=(*known, url)[-SIBLINGS_MAX:])

    def heartbeat(self) -> Heartbeat:
        """What to tell those who follow, every HEARTBEAT_MS."""
        following = {replica.url for replica in self.replicas if replica.url}
        return Heartbeat(
            lsn=self._journal.last_lsn,
            siblings=tuple(sorted(following.union(self._standing.siblings if self.is_master else ()))),
            master=None if self.is_master else self.master,
        )

    # Changing roles

    def promote(self, now: float, *, force: bool = False) -> None:
        """Become the master, in a new epoch. Raises MasterAlive, Unavailable."""
        if self.is_master:
            return
        if not (self.terms or force):
            raise Unavailable(
                "this replica has no data yet; as a master it would begin a history of its own, with force"
            )
        if not force and self.master_answers(now):
            raise MasterAlive(
                f"the master {self.master} answers; stop it first, or set force to have it step down",
                master=self.master,
            )
        others = {*self.announce_to, *self._standing.siblings, self.upstream or "", self._true_master or ""}
        self._begin_term(self.epoch + 1, tuple(sorted(others - {"", self.url})))
        log.warning("this node is the master now, of epoch %d, from record %d on", self.epoch, self.terms[-1].first_lsn)

    def follow(self, url: str) -> None:
        """Be a replica of the node at `url`."""
        if self.is_master or url != self.upstream:
            self._become_replica(url)

    def claim(self) -> Claim:
        """What this node says of itself to others."""
        newest = self.terms[-1] if self.terms else Term(0, "", 0)
        return Claim(
            role=self.role,
            epoch=newest.epoch if self.is_master else self.epoch,
            term=newest.id,
            lineage=self._standing.lineage,
            url=self.master,
        )

    def told(self, claim: Claim, now: float) -> Claim:
        """Another node says that it is the master. Give way if it is right; the answer says what this node is now."""
        if self._is_kin(claim.lineage) and claim.role == "master":
            other, own = Term(claim.epoch, claim.term, 0), self.terms[-1] if self.terms else Term(0, "", 0)
            if self.is_master:
                if supersedes(other, own):
                    log.warning("epoch %d has a master at %s: this node steps down", claim.epoch, claim.url)
                    self._become_replica(claim.url, epoch=claim.epoch)
            elif claim.url not in (None, self.upstream) and (
                claim.epoch > self.epoch or (claim.epoch == self.epoch and not self.master_answers(now))
            ):
                self._become_replica(claim.url, epoch=claim.epoch)
        return self.claim()

    def answered(self, url: str, answer: Claim) -> None:
        """A node at `url` that was told that this one is the master has answered."""
        if not self.is_master:
            return
        if (
            self._is_kin(answer.lineage)
            and answer.role == "master"
            and supersedes(Term(answer.epoch, answer.term, 0), self.terms[-1])
        ):
            log.warning("epoch %d has a master at %s: this node steps down", answer.epoch, answer.url)
            self._become_replica(answer.url or url, epoch=answer.epoch)
        elif answer.epoch >= self.epoch or not self._is_kin(answer.lineage):
            self._decide(announce_to=tuple(other for other in self.announce_to if other != url))

    def _hear_of(self, epoch: int) -> None:
        """Somebody knows of a higher epoch: records of this one must not be taken any more, nor written."""
        if self.is_master:
            log.error(
                "there is an epoch %d, this master is of %d: it steps down and waits for its master", epoch, self.epoch
            )
            self._become_replica(None, epoch=epoch)
        else:
            self._decide(epoch=epoch)
            self._turn()

    def _become_replica(self, url: str | None, *, epoch: int | None = None, configured: str | None = None) -> None:
        log.warning("this node is a replica of %s", public(url) if url else "a master that is not known yet")
        self._true_master, self._begins_anew = None, False
        self.unreachable()
        self._decide(
            role="replica",
            master=url,
            epoch=max(self.epoch, epoch or 0),
            configured=self._standing.configured if configured is None else configured,
            announce_to=(),
            siblings=(),
        )
        self._turn()

    def _begin_term(self, epoch: int, announce_to: tuple[str, ...]) -> None:
        terms = begun(self.terms, self._journal.last_lsn, epoch, self._new_id())
        self._decide(
            role="master", master=None, epoch=epoch, terms=terms, lineage=lineage_of(terms), announce_to=announce_to
        )
        self._turn()

    def _adopt(self, terms: Terms, epoch: int) -> None:
        if (terms, epoch) != (self.terms, self.epoch):
            if terms != self.terms:
                self._part_from_replicas()  # they must hear of it, too
            self._decide(terms=terms, epoch=epoch, lineage=lineage_of(terms))

    def _is_kin(self, lineage: str) -> bool:
        """Whether another's journal has grown out of the same one: only then can epochs be compared."""
        return bool(lineage) and lineage == self._standing.lineage

    def _turn(self) -> None:
        """What was agreed with others holds no more."""
        self._part_from_replicas()
        self._followed_epoch = None
        self.on_turn()

    def _part_from_replicas(self) -> None:
        self.generation += 1
        self.replicas = Replicas()
        self.on_part()

    def _decide(self, **changes: object) -> None:
        standing = msgspec.structs.replace(self._standing, **changes)
        if standing != self._standing:
            self._save(standing)
            self._standing = standing


def _is_behind(welcome: Welcome, mine: Terms) -> bool:
    """Whether the upstream merely lacks what others know already: terms of mine, and all records of these."""
    known = len(welcome.terms)
    return welcome.terms == mine[:known] and known < len(mine) and welcome.last_lsn < mine[known].first_lsn
