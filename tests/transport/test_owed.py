"""What a WebSocket owes leaves in order and not before the journal has it; and what a full disk holds back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

import pytest

from synap.commands.envelope import entry_success
from synap.commands.reply import REPLICATED, SYNCED, WRITTEN, Reply
from synap.errors import AckTimeout, DiskFull, SynapError
from synap.journal.committer import Committer
from synap.transport.owed import Owed


@dataclass
class Journal:
    """Stands in for the committer: how far it is, and whether it refuses what it does not have."""

    reached: list[int] = field(default_factory=lambda: [0, 0, 0])
    refuses: bool = False
    overdue_lsn: int = 0
    waiters: list[tuple[int, int, Owed]] = field(default_factory=list)

    def refusal(self, level: int, lsn: int) -> SynapError | None:
        if self.refuses and lsn > self.reached[WRITTEN]:
            return DiskFull("no room")
        return AckTimeout("too few") if level >= REPLICATED and lsn <= self.overdue_lsn else None

    def wait_for(self, waiter: Owed, level: int, lsn: int) -> None:
        self.waiters.append((level, lsn, waiter))

    @property
    def awaited(self) -> list[tuple[int, int]]:
        """What was waited for, in this order: level and LSN."""
        return [(level, lsn) for level, lsn, _ in self.waiters]


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
    assert client.journal.awaited == [(SYNCED, 1)]
    client.journal.reached[SYNCED] = 1
    client.owed.advance()
    assert (client.text, client.journal.awaited) == ("1", [(SYNCED, 1), (SYNCED, 2)])


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


async def test_replies_behind_one_that_waits_for_replicas_leave_in_order_once_they_have_it(client: Client) -> None:
    client.journal.reached[WRITTEN] = 2
    client.owed.reply(reply(b"1", 1, wrote=True, ack=REPLICATED))
    client.owed.reply(reply(b"2", 2, wrote=True))
    client.owed.push(b"3", 2, WRITTEN, is_kept=True)
    client.owed.send()
    assert (client.text, client.journal.awaited) == ("", [(REPLICATED, 1)])
    client.journal.reached[REPLICATED] = 1
    client.owed.advance()
    assert (client.text, len(client.owed)) == ("123", 0)


async def test_a_write_that_too_few_replicas_have_is_told_so_and_what_is_behind_it_goes_on(client: Client) -> None:
    client.journal.reached[WRITTEN] = 2
    client.owed.reply(reply(b'{"request_id":"w",' + entry_success(b"{}")[1:], 1, wrote=True, ack=REPLICATED))
    client.owed.reply(reply(b"read", 1, wrote=False, ack=REPLICATED))
    client.owed.reply(reply(b"write", 2, wrote=True))
    client.owed.send()
    assert client.text == ""
    client.journal.overdue_lsn = 1
    client.owed.advance()
    assert b"ACK_TIMEOUT" in client.sent[0]
    assert b'"request_id":"w"' in client.sent[0]
    assert client.text.endswith("readwrite")


async def test_what_too_few_replicas_have_is_held_until_they_do_although_replies_leave(client: Client) -> None:
    client.journal.reached[WRITTEN] = client.journal.overdue_lsn = 1
    client.owed.push(b"event ", 1, REPLICATED, is_kept=True)
    client.owed.reply(reply(b"read ", 1, wrote=False))
    client.owed.send()
    assert (client.text, len(client.owed)) == ("read ", 1)
    client.journal.reached[REPLICATED] = 1
    client.owed.send()
    assert client.text == "read event "
    client.owed.clear()


async def test_when_pushes_are_dropped_replies_stay_owed(client: Client) -> None:
    client.owed.push(b"event", 1, WRITTEN, is_kept=True)
    client.owed.reply(reply(b"read", 1, wrote=False))
    client.owed.drop_pushes()
    client.journal.reached[WRITTEN] = 1
    client.owed.send()
    assert (client.text, len(client.owed)) == ("read", 0)
