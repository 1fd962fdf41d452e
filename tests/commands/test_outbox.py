"""What pub/sub has for one connection: bounded, in order, and honest about what it had to drop."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synap.commands.outbox import GAP_TOPICS_MAX, MessageFrames, Outbox, Policy
from synap.engines.pubsub import Message, PubSub

TOPICS = ("a", "b")
POLICIES: list[Policy] = ["drop_oldest", "drop_newest", "disconnect"]


def outbox(pubsub: PubSub, messages_max: int = 1_000, bytes_max: int = 10**9, policy: Policy = "drop_oldest") -> Outbox:
    return Outbox(
        pubsub,
        MessageFrames(),
        lambda: None,
        messages_max=messages_max,
        bytes_max=bytes_max,
        policy=policy,
    )


def message(seq: int, topic: str = "a", body: bytes = b"1") -> Message:
    return Message(seq, topic, body, b"null", 0, seq, "epoch")


def drained(box: Outbox, bytes_max: int = 10**9) -> list[Any]:
    """The seq of messages, (topic, missed) of gaps."""
    found = [json.loads(push.body) for push in box.drain(bytes_max)]
    return [push["seq"] if push["type"] == "message" else (push["topic"], push["missed"]) for push in found]


def test_connections_share_what_is_rendered() -> None:
    pubsub, frames = PubSub("epoch"), MessageFrames()
    boxes = [Outbox(pubsub, frames, lambda: None, messages_max=9, bytes_max=999, policy="drop_oldest") for _ in "12"]
    shared = message(1)
    for box in boxes:
        box.take(shared, "a")
    first, second = (box.drain(999)[0] for box in boxes)
    assert first is second
    boxes[0].take(shared, "#")
    assert json.loads(boxes[0].drain(999)[0].body)["pattern"] == "#"


def test_a_gap_that_is_left_alone_is_still_something_to_send() -> None:
    box = outbox(PubSub("epoch"), 2, policy="drop_newest")
    for seq in range(1, 5):
        box.take(message(seq), "a")
    assert drained(box, 150) == [1, 2]
    assert (len(box), bool(box)) == (0, True)
    assert (drained(box), bool(box)) == ([("a", 2)], False)


def test_many_topics_are_told_one_by_one_up_to_a_limit_then_together() -> None:
    box = outbox(PubSub("epoch"), 1)
    for seq in range(GAP_TOPICS_MAX + 6):
        box.take(message(seq, f"t{seq}"), "#")
    found = drained(box)
    assert found[:2] == [("t0", 1), ("t1", 1)]
    assert found[-2:] == [(None, 5), GAP_TOPICS_MAX + 5]
    assert len(found) == GAP_TOPICS_MAX + 2


def test_gaps_that_meet_become_one() -> None:
    box = outbox(PubSub("epoch"), 2)
    box.policies["new"] = "drop_newest"
    box.take(message(1), "new")
    box.take(message(2), "new")
    box.take(message(3), "new")
    box.take(message(4), "old")
    box.take(message(5), "old")
    box.take(message(6), "old")
    assert (drained(box), box.dropped) == ([("a", 4), 5, 6], 4)


def test_after_an_overflow_nothing_is_taken() -> None:
    box = outbox(PubSub("epoch"), 1, policy="disconnect")
    assert [box.take(message(seq), "a") for seq in range(3)] == [True, False, False]
    assert (box.overflowed, drained(box)) == (True, [0])
    assert box.take(message(4), "a") is False


@pytest.mark.parametrize("taken", [0, 1, 3])
@pytest.mark.parametrize("policy", POLICIES)
def test_the_newest_that_fit_leave_alone_what_is_there(taken: int, policy: Policy) -> None:
    box = outbox(PubSub("epoch"), 3, policy=policy)
    for seq in range(taken):
        box.take(message(seq), "a")
    past = [(message(seq), "a") for seq in range(10, 15)]
    fitting, surplus = box.newest_that_fit(past)
    for each, pattern in fitting:
        assert box.take(each, pattern)
    assert (surplus, box.dropped) == (2 + taken, 0)
    assert drained(box) == [*range(taken), *range(10 + surplus, 15)]


steps = st.lists(
    st.one_of(
        st.tuples(st.just("take"), st.integers(0, 3), st.integers(0, 300)),
        st.tuples(st.just("drain"), st.integers(0, 800), st.just(0)),
    ),
    max_size=60,
)


@given(steps, st.integers(1, 5), st.integers(1, 1_500), st.sampled_from(POLICIES), st.sampled_from(POLICIES))
def test_what_was_sent_and_what_gaps_tell_is_all_that_was_published_in_order_and_within_bounds(
    steps: list[tuple[str, int, int]], messages_max: int, bytes_max: int, policy: Policy, other: Policy
) -> None:
    pubsub = PubSub("epoch")
    box = outbox(pubsub, messages_max, bytes_max, policy)
    box.policies["other"] = other
    seq = accepted = 0
    published: list[tuple[int, str]] = []
    sizes: dict[int, int] = {}
    sent: list[Any] = []

    def drain(allowed: int) -> None:
        pushes = box.drain(allowed)
        sent.extend(json.loads(push.body) for push in pushes)
        bodies = [len(push.body) for push in pushes if push.kind == "message"]
        assert sum(bodies[:-1]) < max(allowed, 1)
        for push in pushes:
            if push.seq is not None:
                sizes.pop(push.seq)

    for kind, choice, size in steps:
        if kind == "drain":
            drain(choice)
            continue
        seq += 1
        each = message(seq, TOPICS[choice % 2], b'"%b"' % (b"x" * size))
        was_over = box.overflowed
        accepted_now = box.take(each, "other" if choice > 1 else "first")
        accepted += accepted_now
        if not box.overflowed:
            published.append((seq, each.topic))
        sizes[seq] = len(MessageFrames().frame(each, "other" if choice > 1 else "first").body)
        assert not (was_over and accepted_now)
        assert len(box) <= messages_max
    while box:
        drain(10**9)
    check_account(sent, published)
    assert box.dropped == seq - accepted - overflow_rest(box, seq, published) + pubsub.dropped_total


def overflow_rest(box: Outbox, seq: int, published: list[tuple[int, str]]) -> int:
    """How many came after the message that made the outbox overflow."""
    return seq - len(published) - 1 if box.overflowed else 0


def check_account(sent: list[Any], published: list[tuple[int, str]]) -> None:
    """Every message is there, or counted by a gap in its place."""
    at = 0
    waiting: dict[str, int] = {}
    for push in sent:
        if push["type"] == "gap":
            waiting[push["topic"]] = waiting.get(push["topic"], 0) + push["missed"]
            continue
        until = published.index((push["seq"], push["topic"]))
        missed = [topic for _, topic in published[at:until]]
        assert waiting == {topic: missed.count(topic) for topic in set(missed)}
        waiting, at = {}, until + 1
    missed = [topic for _, topic in published[at:]]
    assert waiting == {topic: missed.count(topic) for topic in set(missed)}


@given(st.lists(st.integers(0, 400), max_size=40), st.integers(1, 1_500), st.integers(1, 6))
def test_an_outbox_stays_within_its_bytes_but_for_a_single_message(
    lengths: list[int], bytes_max: int, messages_max: int
) -> None:
    for policy in POLICIES:
        box = outbox(PubSub("epoch"), messages_max, bytes_max, policy)
        for seq, length in enumerate(lengths):
            box.take(message(seq, body=b'"%b"' % (b"x" * length)), "a")
        pushes = [push for push in box.drain(10**9) if push.kind == "message"]
        assert len(pushes) <= messages_max
        assert len(pushes) <= 1 or sum(len(push.body) for push in pushes) <= bytes_max
