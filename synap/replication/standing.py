"""What a node knows about itself and its journal's history, kept in `replication.json` beside the journal.

It is written before anything that follows from it is done, whole and synced each time: what a node has promised to be,
or not to be any more, it still is after a crash. Losing the file loses no data; a replica then begins anew, and a
master is one of unknown history that its replicas copy anew.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import msgspec

from synap.errors import DiskFull
from synap.journal import JournalDamaged
from synap.journal.log import sync
from synap.journal.record import Lsn
from synap.replication.terms import Epoch, Terms

NAME = "replication.json"

Role = Literal["master", "replica"]


class Incoming(msgspec.Struct, frozen=True, kw_only=True):
    """A journal that is about to take the place of the one there is: it ends with `lsn`, in these terms."""

    lsn: Lsn
    epoch: Epoch
    terms: Terms


class Standing(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A node's role and history."""

    node: str = ""
    """Random, from the first start on."""
    role: Role = "master"
    master: str | None = None
    """The URL that is followed; None for a master, and for a replica that waits to be told."""
    configured: str = ""
    """The master named by the settings when the role was last decided. The same name again changes nothing."""
    epoch: int = 0
    """The highest that was ever heard of in this lineage."""
    lineage: str = ""
    terms: Terms = ()
    announce_to: tuple[str, ...] = ()
    """Nodes that have not been told yet that this one is the master now."""
    siblings: tuple[str, ...] = ()
    """Who follows the same node, as it said last; on a master, who has followed it, be it at another time."""
    incoming: Incoming | None = None
    """While the journal is being replaced. `terms` are still those of what is left of the old one."""


class StandingFile:
    """The file in a data directory."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / NAME

    def load(self) -> Standing:
        """What was saved last; that of a new node when nothing was. Raises JournalDamaged, OSError."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Standing)
        except FileNotFoundError:
            return Standing()
        except msgspec.DecodeError as error:
            raise JournalDamaged(f"{self._path} cannot be read: {error}; without it a replica is copied anew") from None

    def save(self, standing: Standing) -> None:
        """Replace the file. Raises DiskFull."""
        try:
            self._replace(standing)
        except OSError as error:
            raise DiskFull.because(error) from error

    def _replace(self, standing: Standing) -> None:
        temporary = self._path.with_suffix(".new")
        with temporary.open("wb") as file:
            os.fchmod(file.fileno(), 0o640)
            file.write(msgspec.json.format(msgspec.json.encode(standing)))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path)
        sync(self._path.parent, os.fsync)
