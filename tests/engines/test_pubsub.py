"""Publish and subscribe: who gets what, what history keeps, how a loss is counted; and all against a naive twin."""

from __future__ import annotations

import tracemalloc
from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from synap.engines import pubsub
from synap.engines.pubsub import MESSAGE_OVERHEAD_BYTES, Listed, Message, Missed, PubSub
from synap.engines.topic_trie import has_wildcards, matches

NOW = 1_700_000_000_000
NULL = b"null"


class Inbox:
    """A subscriber that keeps what it is given while it has room."""

    def __init__(self, room: int = 1_000) -> None:
        self.room = room
        self.taken: list[tuple[Message, str]] = []

    def take(self, message: Message, pattern: str) -> bool:
        if len(self.taken) >= self.room:
            return False
        self.taken.append((message, pattern))
        return True

    def seen(self) -> list[tuple[str, str]]:
        return [(message.topic, pattern) for message, pattern in self.taken]


class Leaver:
    """A subscriber that ends all subscriptions at its first message."""

    def __init__(self, hub: PubSub) -> None:
        self.hub = hub

    def take(self, message: Message, pattern: str) -> bool:
        self.hub.unsubscribe(self)
        return False


def publish(hub: PubSub, *topics: str, body: bytes = b"1") -> None:
    for topic in topics:
        hub.publish(topic, body, NULL, NOW)


def listed(hub: PubSub, pattern: str | None = None) -> list[Listed]:
    names = [name for name in hub.candidates(pattern) if pattern is None or matches(pattern, name)]
    return [hub.listed(name) for name in sorted(names)]


def seqs(missed: Missed) -> list[int]:
    return [message.seq for message in missed.messages]


def told(missed: Missed) -> tuple[list[int], int, bool]:
    return seqs(missed), missed.lost, missed.is_exact


# Subscribing and publishing


def test_a_message_goes_to_all_whose_patterns_match() -> None:
    hub, exact, wild, other = PubSub("e"), Inbox(), Inbox(), Inbox()
    hub.subscribe(exact, ["mail.sent"])
    hub.subscribe(wild, ["mail.*"])
    hub.subscribe(other, ["mail", "mail.*.x"])
    message, notified, matched = hub.publish("mail.sent", b'{"to":"a"}', b'{"by":1}', NOW)
    assert (notified, matched) == (2, 2)
    assert exact.taken == [(message, "mail.sent")]
    assert wild.taken == [(message, "mail.*")]
    assert other.taken == []


def test_a_message_says_when_and_where_and_as_which_it_was_published() -> None:
    hub = PubSub("5f")
    publish(hub, "a", "b", *["c"] * 8)
    message, _, _ = hub.publish("a", b"1.10", b'{"k":1}', NOW + 5)
    assert message == Message(11, "a", b"1.10", b'{"k":1}', NOW + 5, 2, "5f")
    assert message.message_id == "5f-b"


def test_a_subscriber_with_several_patterns_that_match_gets_a_message_once_under_the_first() -> None:
    hub, inbox = PubSub("e"), Inbox()
    hub.subscribe(inbox, ["x", "a.#", "a.b", "*.b"])
    assert hub.publish("a.b", b"1", NULL, NOW)[2] == 1
    assert inbox.seen() == [("a.b", "a.#")]


def test_subscribers_are_served_in_the_order_of_subscription() -> None:
    hub, order = PubSub("e"), list[int]()

    class Recorder:
        def __init__(self, number: int) -> None:
            self.number = number

        def take(self, message: Message, pattern: str) -> bool:
            order.append(self.number)
            return True

    for number in range(9):
        hub.subscribe(Recorder(number), [("a.b", "#", "a.*")[number % 3]])
    publish(hub, "a.b")
    assert order == list(range(9))


def test_subscribing_again_changes_nothing() -> None:
    hub, inbox = PubSub("e"), Inbox()
    hub.subscribe(inbox, ["b", "a"])
    hub.subscribe(inbox, ["a", "c", "b", "c"])
    assert hub.patterns_of(inbox) == ["b", "a", "c"]
    assert hub.unsubscribe(inbox, ["a"]) == ["a"]
    assert hub.publish("a", b"1", NULL, NOW)[2] == 0


def test_unsubscribing_tells_what_was_subscribed_to() -> None:
    hub, inbox = PubSub("e"), Inbox()
    hub.subscribe(inbox, ["a", "b.*", "c", "d.#"])
    assert hub.unsubscribe(inbox, ["d.#", "x", "a", "a"]) == ["d.#", "a"]
    assert hub.patterns_of(inbox) == ["b.*", "c"]
    assert hub.unsubscribe(inbox) == ["b.*", "c"]
    assert hub.unsubscribe(inbox) == []
    assert (hub.patterns_of(inbox), hub.total_subscribers) == ([], 0)


def test_who_subscribes_to_nothing_is_no_subscriber() -> None:
    hub = PubSub("e")
    hub.subscribe(Inbox(), [])
    assert hub.total_subscribers == 0


def test_one_that_leaves_while_it_is_served_disturbs_nobody() -> None:
    hub, first, last = PubSub("e"), Inbox(), Inbox()
    leaver = Leaver(hub)
    for subscriber in (first, leaver, last):
        hub.subscribe(subscriber, ["a.b", "a.*"])
    assert hub.publish("a.b", b"1", NULL, NOW)[1:] == (2, 3)
    assert hub.publish("a.b", b"2", NULL, NOW)[1:] == (2, 2)
    assert len(first.taken) == len(last.taken) == 2


def test_deliveries_and_drops_are_counted() -> None:
    hub = PubSub("e")
    hub.subscribe(Inbox(), ["a"])
    hub.subscribe(Inbox(room=1), ["a", "#"])
    publish(hub, "a", "a", "b")
    assert (hub.published_total, hub.delivered_total, hub.dropped_total) == (3, 3, 2)
    assert (hub.total_subscribers, hub.total_topics) == (2, 2)


# Topics


def test_topics_are_those_published_to_and_those_subscribed_to_by_name() -> None:
    hub, both, wild = PubSub("e"), Inbox(), Inbox()
    hub.subscribe(both, ["a.c", "a.*", "z"])
    hub.subscribe(wild, ["a.#"])
    publish(hub, "b", "a.c", "b")
    expected = [Listed("a.c", 2, 1), Listed("b", 0, 2), Listed("z", 1, 0)]
    assert listed(hub) == expected
    assert hub.total_topics == 3


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("a.*", ["a.b", "a.c"]),
        ("#", ["a", "a.b", "a.c", "b"]),
        ("a.c", ["a.c"]),
        ("c", []),
        ("c.*", []),
        ("*", ["a", "b"]),
    ],
)
def test_topics_can_be_asked_for_by_pattern(pattern: str, names: list[str]) -> None:
    hub = PubSub("e")
    publish(hub, "b", "a.c", "a")
    hub.subscribe(Inbox(), ["a.b", "x.*"])
    assert [row.topic for row in listed(hub, pattern)] == names


def test_a_topic_nobody_has_published_to_goes_with_its_last_subscriber() -> None:
    hub, one, two = PubSub("e"), Inbox(), Inbox()
    for inbox in (one, two):
        hub.subscribe(inbox, ["a", "b"])
    publish(hub, "b")
    hub.unsubscribe(one)
    assert listed(hub) == [Listed("a", 1, 0), Listed("b", 1, 1)]
    hub.unsubscribe(two)
    assert listed(hub) == [Listed("b", 0, 1)]


def test_of_too_many_topics_the_one_used_longest_ago_is_forgotten() -> None:
    hub = PubSub("e", topics_max=2)
    publish(hub, "a", "b", "a", "c")
    assert listed(hub) == [Listed("a", 0, 2), Listed("c", 0, 1)]
    assert told(hub.missed(["#"], 0)) == ([1, 3, 4], 0, False)
    assert told(hub.missed(["#"], 2)) == ([3, 4], 0, True)
    publish(hub, "b")
    assert listed(hub, "b") == [Listed("b", 0, 1)]


def test_a_topic_with_a_subscriber_by_name_is_not_forgotten() -> None:
    hub, inbox = PubSub("e", topics_max=1), Inbox()
    hub.subscribe(inbox, ["a"])
    hub.subscribe(Inbox(), ["#"])
    publish(hub, "a", "b", "c")
    assert [row.topic for row in listed(hub)] == ["a", "c"]
    hub.unsubscribe(inbox)
    assert listed(hub) == [Listed("a", 1, 1)]
    publish(hub, "d")
    assert listed(hub) == [Listed("d", 1, 1)]


def test_the_newest_message_of_all_forgotten_topics_is_what_counts() -> None:
    hub, inbox = PubSub("e", topics_max=1), Inbox()
    hub.subscribe(inbox, ["a"])
    publish(hub, "a", "b")
    hub.unsubscribe(inbox)
    publish(hub, "c")
    assert listed(hub) == [Listed("c", 0, 1)]
    assert told(hub.missed(["#"], 1)) == ([3], 0, False)
    assert told(hub.missed(["#"], 2)) == ([3], 0, True)


def test_forgotten_topics_take_next_to_nothing_although_their_losses_are_on_record() -> None:
    hub, topics = PubSub("e", history=0, topics_max=1), 2_000
    tracemalloc.start()
    try:
        for number in range(topics):
            publish(hub, f"{number:01000}")
        assert tracemalloc.get_traced_memory()[0] < topics * 250
    finally:
        tracemalloc.stop()


def test_a_forgotten_topic_gives_back_what_its_history_took() -> None:
    hub = PubSub("e", topics_max=1)
    publish(hub, "a", "a", "b", body=b"1234")
    assert hub.history_bytes == MESSAGE_OVERHEAD_BYTES + len(b"1234") + len(NULL)


# History


def test_what_was_missed_is_told_by_seq_each_message_once() -> None:
    hub = PubSub("e")
    publish(hub, "a.x", "b", "a.y", "c", "a.x")
    missed = hub.missed(["a.*", "a.x", "#.y", "b"], 1)
    assert told(missed) == ([2, 3, 5], 0, True)
    assert [message.topic for message in missed.messages] == ["b", "a.y", "a.x"]


@pytest.mark.parametrize("last_seq", [3, 4, 1_000])
def test_who_has_seen_the_newest_has_missed_nothing(last_seq: int) -> None:
    hub = PubSub("e")
    publish(hub, "a", "b", "a")
    assert told(hub.missed(["#", "a"], last_seq)) == ([], 0, True)


@pytest.mark.parametrize("patterns", [["a"], ["*"]])
def test_only_the_newest_messages_of_a_topic_are_kept(patterns: list[str]) -> None:
    hub = PubSub("e", history=2)
    publish(hub, *["a"] * 5)
    assert told(hub.missed(patterns, 0)) == ([4, 5], 3, True)
    assert told(hub.missed(patterns, 2)) == ([4, 5], 1, True)
    assert told(hub.missed(patterns, 4)) == ([5], 0, True)


def test_over_all_topics_the_oldest_go_first_when_there_are_too_many_bytes() -> None:
    room_for_three = 3 * (MESSAGE_OVERHEAD_BYTES + len(NULL) + 10)
    hub = PubSub("e", history_bytes_max=room_for_three)
    publish(hub, "a", "b", "a", "c", "a", body=b"0123456789")
    assert hub.history_bytes == room_for_three
    assert told(hub.missed(["a"], 0)) == ([3, 5], 1, True)
    assert told(hub.missed(["b"], 0)) == ([], 1, True)
    assert told(hub.missed(["#"], 1)) == ([3, 4, 5], 1, True)


def test_a_message_larger_than_the_history_leaves_it_empty() -> None:
    hub = PubSub("e", history_bytes_max=1_000)
    publish(hub, "a")
    publish(hub, "b", body=b"x" * 1_000)
    assert hub.history_bytes == 0
    assert told(hub.missed(["#"], 0)) == ([], 2, True)


def test_without_a_history_losses_are_counted_all_the_same() -> None:
    hub = PubSub("e", history=0)
    publish(hub, "a", "b", "a")
    assert hub.history_bytes == 0
    assert told(hub.missed(["a"], 1)) == ([], 1, True)


def test_a_loss_too_old_to_be_counted_is_at_least_what_is_known() -> None:
    hub = PubSub("e", history=1, gone_seqs_max=2)
    publish(hub, *["a"] * 6)
    assert told(hub.missed(["a"], 3)) == ([6], 2, True)
    assert told(hub.missed(["a"], 2)) == ([6], 3, False)
    assert told(hub.missed(["a"], 1)) == ([6], 3, False)
    assert told(hub.missed(["a"], 0)) == ([6], 5, True)  # everything there has been


def test_a_topic_let_go_is_still_found_by_who_comes_back() -> None:
    hub, inbox = PubSub("e"), Inbox()
    hub.subscribe(inbox, ["a.b"])
    publish(hub, "x", "a.b", "y", "y")
    hub.unsubscribe(inbox)
    publish(hub, "z")
    assert told(hub.missed(["a.*"], 1)) == ([2], 0, True)
    assert told(hub.missed(["#"], 1)) == ([2, 3, 4, 5], 0, True)
    assert told(hub.missed(["#"], 2)) == ([3, 4, 5], 0, True)


def test_topics_forgotten_with_losses_on_record_do_not_disturb_the_others() -> None:
    hub = PubSub("e", history=0, topics_max=1, gone_seqs_max=3)
    publish(hub, "a", "b", "c", "d", "e", "e", "e")
    assert told(hub.missed(["e"], 5)) == ([], 2, True)
    publish(hub, "e")
    assert told(hub.missed(["e"], 5)) == ([], 3, True)


def test_of_what_was_missed_no_more_than_asked_for_is_kept_and_the_rest_is_lost() -> None:
    hub = PubSub("e")
    publish(hub, "a", "b", "a", "c", "b")
    assert told(hub.missed(["#"], 1, 2)) == ([4, 5], 2, True)
    assert told(hub.missed(["a", "b"], 0, 3)) == ([2, 3, 5], 1, True)


def test_wildcards_are_matched_with_the_topics_used_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pubsub, "MATCHED_TOPICS_MAX", 2)
    hub = PubSub("e")
    hub.subscribe(Inbox(), ["held"])
    publish(hub, "held", "a", "b", "c")
    assert told(hub.missed(["#"], 0)) == ([1, 3, 4], 0, False)
    assert told(hub.missed(["#"], 2)) == ([3, 4], 0, True)
    assert told(hub.missed(["*", "a"], 0)) == ([1, 2, 3, 4], 0, False)


def test_limits_are_those_of_the_contract() -> None:
    assert (pubsub.HISTORY_MESSAGES, pubsub.HISTORY_BYTES_MAX) == (256, 64 * 1024 * 1024)


# Against a twin that keeps everything and searches all of it

ROOM_BYTES = MESSAGE_OVERHEAD_BYTES + 30

names = st.sampled_from(["a", "b", "a.a", "a.b", "b.a", "b.b"])
patterns = st.lists(names | st.sampled_from(["*", "#", "a.*", "*.a", "#.b", "b.#", "*.*"]), max_size=3)
subscribers = st.integers(0, 3)


class Picky:
    """A subscriber that takes only every so many-th message."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.offered: list[tuple[int, str]] = []

    def take(self, message: Message, pattern: str) -> bool:
        self.offered.append((message.seq, pattern))
        return len(self.offered) % (self.number + 1) == 0


@dataclass
class Twin:
    """All that ever happened, in lists."""

    history: int
    history_bytes_max: int
    topics_max: int
    gone_seqs_max: int
    published: list[Message] = field(default_factory=list)
    kept: list[Message] = field(default_factory=list)
    gone: list[Message] = field(default_factory=list)
    """In the order they left the history."""
    idle: list[str] = field(default_factory=list)
    """Topics that would be forgotten, the first one next."""
    forgotten: set[int] = field(default_factory=set)
    """Seqs of all messages of forgotten topics."""
    subscriptions: list[tuple[int, str]] = field(default_factory=list)

    def of(self, topic: str) -> list[Message]:
        return [m for m in self.published if m.topic == topic and m.seq not in self.forgotten]

    def is_held(self, topic: str) -> bool:
        return any(pattern == topic for _, pattern in self.subscriptions)

    def topics(self) -> set[str]:
        held = {pattern for _, pattern in self.subscriptions if not has_wildcards(pattern)}
        return held | {message.topic for message in self.published if message.seq not in self.forgotten}

    def arrange(self, used: str) -> None:
        """A topic has been used: its place among the idle ones, and who has to go for it."""
        if used in self.idle:
            self.idle.remove(used)
        if not self.is_held(used) and self.of(used):
            self.idle.append(used)
        if len(self.idle) > self.topics_max:
            self.forgotten |= {message.seq for message in self.of(self.idle.pop(0))}
            self.kept = [message for message in self.kept if message.seq not in self.forgotten]

    def publish(self, message: Message) -> None:
        self.published.append(message)
        self.kept.append(message)
        self.arrange(message.topic)
        same = [other for other in self.kept if other.topic == message.topic]
        if len(same) > self.history:
            self.drop(same[0])
        while sum(map(size, self.kept)) > self.history_bytes_max:
            self.drop(self.kept[0])

    def drop(self, message: Message) -> None:
        self.kept.remove(message)
        self.gone.append(message)

    def knows(self, topic: str, last_seq: int) -> bool:
        """Whether it can be told how many messages of the topic were published after `last_seq`."""
        if last_seq < self.of(topic)[0].seq:
            return True
        unknown = self.gone[: max(len(self.gone) - self.gone_seqs_max, 0)]
        return all(message.seq <= last_seq for message in unknown if message in self.of(topic))


def size(message: Message) -> int:
    return MESSAGE_OVERHEAD_BYTES + len(message.body) + len(message.metadata)


class AgainstTwin(RuleBasedStateMachine):
    @initialize(
        history=st.integers(0, 4),
        room=st.integers(1, 12),
        topics_max=st.integers(1, 5),
        gone_seqs_max=st.integers(0, 8),
    )
    def begin(self, history: int, room: int, topics_max: int, gone_seqs_max: int) -> None:
        self.twin = Twin(history, room * ROOM_BYTES, topics_max, gone_seqs_max)
        self.hub = PubSub(
            "e",
            history=history,
            history_bytes_max=room * ROOM_BYTES,
            topics_max=topics_max,
            gone_seqs_max=gone_seqs_max,
        )
        self.inboxes = [Picky(number) for number in range(4)]
        self.delivered = self.dropped = 0

    @rule(number=subscribers, wanted=patterns)
    def subscribe(self, number: int, wanted: list[str]) -> None:
        self.hub.subscribe(self.inboxes[number], wanted)
        for pattern in wanted:
            if (number, pattern) not in self.twin.subscriptions:
                self.twin.subscriptions.append((number, pattern))
                self.twin.arrange(pattern)

    @rule(number=subscribers, unwanted=st.none() | patterns)
    def unsubscribe(self, number: int, unwanted: list[str] | None) -> None:
        own = [pattern for owner, pattern in self.twin.subscriptions if owner == number]
        expected = [pattern for pattern in dict.fromkeys(own if unwanted is None else unwanted) if pattern in own]
        assert self.hub.unsubscribe(self.inboxes[number], unwanted) == expected
        for pattern in expected:
            self.twin.subscriptions.remove((number, pattern))
            if pattern in self.twin.topics() and not self.twin.is_held(pattern):
                self.twin.arrange(pattern)

    @rule(topic=names, body=st.binary(max_size=60))
    def publish(self, topic: str, body: bytes) -> None:
        expected: dict[int, str] = {}
        for number, pattern in self.twin.subscriptions:
            if matches(pattern, topic):
                expected.setdefault(number, pattern)
        message, notified, matched = self.hub.publish(topic, body, b"{}", NOW)
        taken = 0
        for number, pattern in expected.items():
            assert self.inboxes[number].offered[-1] == (message.seq, pattern)
            taken += len(self.inboxes[number].offered) % (number + 1) == 0
        assert (notified, matched) == (taken, len(expected))
        self.delivered += notified
        self.dropped += len(expected) - notified
        seq, index = len(self.twin.published) + 1, len(self.twin.of(topic)) + 1
        assert message == Message(seq, topic, body, b"{}", NOW, index, "e")
        self.twin.publish(message)

    @rule(topic=names, count=st.integers(2, 6))
    def publish_some(self, topic: str, count: int) -> None:
        for _ in range(count):
            self.publish(topic, b"1")

    @rule(wanted=patterns)
    def miss(self, wanted: list[str]) -> None:
        for last_seq in range(-1, len(self.twin.published) + 2):
            missed = self.hub.missed(wanted, last_seq)
            after = [
                message
                for message in self.twin.published
                if message.seq > last_seq and any(matches(pattern, message.topic) for pattern in wanted)
            ]
            kept = [message for message in self.twin.kept if message in after]
            known = {message.topic for message in after if message.seq not in self.twin.forgotten}
            assert missed.messages == kept
            assert missed.is_exact == (
                last_seq >= max(self.twin.forgotten, default=0)
                and all(self.twin.knows(topic, last_seq) for topic in known)
            )
            assert missed.lost == len(after) - len(kept) if missed.is_exact else missed.lost <= len(after) - len(kept)

    @rule(pattern=st.none() | patterns.map(".".join))
    def list_topics(self, pattern: str | None) -> None:
        expected = []
        for topic in sorted(self.twin.topics()):
            if pattern is None or matches(pattern, topic):
                those = {number for number, pattern in self.twin.subscriptions if matches(pattern, topic)}
                expected.append(Listed(topic, len(those), len(self.twin.of(topic))))
        assert listed(self.hub, pattern) == expected

    @invariant()
    def counts_what_the_twin_counts(self) -> None:
        for inbox in self.inboxes:
            own = [pattern for number, pattern in self.twin.subscriptions if number == inbox.number]
            assert self.hub.patterns_of(inbox) == own
        assert self.hub.total_subscribers == len({number for number, _ in self.twin.subscriptions})
        assert self.hub.total_topics == len(self.twin.topics())
        assert self.hub.published_total == len(self.twin.published)
        assert (self.hub.delivered_total, self.hub.dropped_total) == (self.delivered, self.dropped)
        assert self.hub.history_bytes == sum(map(size, self.twin.kept))


TestAgainstTwin = AgainstTwin.TestCase
TestAgainstTwin.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
