"""What a WebSocket owes leaves in order and not before the journal has it; and what a full disk holds back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

import pytest

from synap.commands.envelope import entry_success
from synap.commands.reply import SYNCED, WRITTEN, Reply
from synap.errors import DiskFull
from synap.journal.committer import Committer
from synap.transport.owed import Owed


@dataclass
class Journal:
    """Stands in for the committer: how far it is, and whether it refuses what it does not have."""

    reached: list[int] = field(default_factory=lambda: [0, 0])
    refuses: bool = False
    sync_waiters: list[tuple[int, Owed]] = field(default_factory=list)

    def refusal(self, lsn: int) -> DiskFull | None:
        return DiskFull("no room") if self.refuses and lsn > self.reached[WRITTEN] else None

    def join_sync(self, waiter: Owed, lsn: int) -> None:
        self.sync_waiters.append((lsn, waiter))


@dataclass
class Client:
    journal: Journal = field(default_factory=Journal)
    sent: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        committer = cast(Committer, self.journal)
        self.owed = Owed(committer, self.sent.append, lambda reply: reply.body, self.send)

    def send(self) -> None:
        self.owed.send()

    @property
    def text(self) -> str:
        return b"".join(self.sent).decode()


@pytest.fixture
async def client() -> Client:
    return Client()


def reply(body: bytes, lsn: int, *, wrote: bool, ack: int = WRITTEN) -> Reply:
    return Reply(200, body, lsn, ack, wrote)


async def test_replies_and_pushes_leave_in_the_order_they_came_when_the_journal_has_them(client: Client) -> None:
    client.owed.reply(reply(b"1", 1, wrote=True))
    assert not client.owed.push(b"2", 1, WRITTEN, is_kept=True)
    client.owed.reply(reply(b"3", 2, wrote=False))
    client.owed.send()
    assert client.text == ""
    client.journal.reached[WRITTEN] = 1
    client.owed.send()
    assert (client.text, len(client.owed)) == ("12", 1)
    client.journal.reached[WRITTEN] = 2
    client.owed.send()
    assert (client.text, len(client.owed)) == ("123", 0)


async def test_a_push_goes_at_once_when_nothing_is_owed_and_the_journal_has_it(client: Client) -> None:
    client.journal.reached[WRITTEN] = 1
    assert client.owed.push(b"a", 1, WRITTEN, is_kept=True)
    assert client.text == "a"


async def test_the_disk_is_asked_for_once_at_a_time(client: Client) -> None:
    client.journal.reached[WRITTEN] = 9
    client.owed.reply(reply(b"1", 1, wrote=True, ack=SYNCED))
    client.owed.reply(reply(b"2", 2, wrote=True, ack=SYNCED))
    client.owed.send()
    client.owed.send()
    assert [lsn for lsn, _ in client.journal.sync_waiters] == [1]
    client.journal.reached[SYNCED] = 1
    client.owed.advance()
    assert (client.text, [lsn for lsn, _ in client.journal.sync_waiters]) == ("1", [1, 2])


async def test_while_the_disk_refuses_writes_are_told_so_and_reads_and_messages_go_on(client: Client) -> None:
    client.journal.refuses = True
    client.owed.reply(reply(b'{"request_id":"w",' + entry_success(b"{}")[1:], 1, wrote=True))
    client.owed.reply(reply(b"read", 1, wrote=False))
    client.owed.push(b"message", 1, WRITTEN, is_kept=False)
    client.owed.send()
    assert b"DISK_FULL" in client.sent[0]
    assert b'"request_id":"w"' in client.sent[0]
    assert client.text.endswith("readmessage")


async def test_what_a_crash_could_take_back_is_held_in_order_until_the_journal_has_it(client: Client) -> None:
    client.journal.refuses = True
    client.owed.push(b"lease 1 ", 1, WRITTEN, is_kept=True)
    client.owed.reply(reply(b"read ", 1, wrote=False))
    client.owed.push(b"event 2 ", 2, WRITTEN, is_kept=True)
    client.owed.send()
    assert (client.text, len(client.owed)) == ("read ", 2)
    client.journal.reached[WRITTEN] = 1
    client.owed.send()
    assert client.text == "read lease 1 "
    client.journal.reached[WRITTEN], client.journal.refuses = 3, False
    client.owed.push(b"event 3 ", 3, WRITTEN, is_kept=True)
    client.owed.send()
    assert (client.text, len(client.owed)) == ("read lease 1 event 2 event 3 ", 0)
    client.owed.clear()


async def test_nothing_is_left_of_a_connection_that_is_gone(client: Client) -> None:
    client.journal.refuses = True
    client.owed.push(b"lease", 1, WRITTEN, is_kept=True)
    client.owed.send()
    client.owed.clear()
    client.journal.reached[WRITTEN] = 1
    client.owed.send()
    assert (client.text, len(client.owed)) == ("", 0)
