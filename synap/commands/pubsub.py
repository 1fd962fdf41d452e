"""`pubsub.*`: messages for whoever is subscribed at the moment. Nothing here is journalled. See engines/pubsub.py."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from synap.clock import Millis
from synap.commands.large import ordered
from synap.commands.outbox import Policy
from synap.commands.session import Session
from synap.commands.state import State
from synap.commands.table import NoPayload, command
from synap.commands.types import UNSET, Json, Key, Payload, Result, Unset
from synap.engines.topic_trie import LEVELS_MAX, NAME_BYTES_MAX, TopicTrie, check_name, has_wildcards, matches
from synap.errors import PayloadTooLarge

NULL = b"null"
TopicName = Key
Pattern = Key
PATTERNS_MAX = 10_000
"""Patterns that one connection may be subscribed to."""


def _check_name(name: str) -> None:
    if len(name) < LEVELS_MAX:  # too few characters to break either bound
        return
    try:
        check_name(name)
    except ValueError as error:
        raise PayloadTooLarge(str(error), limit=NAME_BYTES_MAX) from None


class Publish(Payload):
    """Payload of pubsub.publish. A topic is levels with dots between them, 1,024 bytes at most.

    `payload` and `data` are other names of `message`.
    """

    topic: TopicName
    message: Json | Unset = UNSET
    payload: Json | Unset = UNSET
    data: Json | Unset = UNSET
    metadata: dict[str, Json] | None = None

    def __post_init__(self) -> None:
        if (self.message is UNSET) + (self.payload is UNSET) + (self.data is UNSET) != 2:
            raise ValueError("expected one of message, payload or data")
        if has_wildcards(self.topic):
            raise ValueError("topic: expected a topic without the wildcards * and #")
        _check_name(self.topic)

    def body(self) -> bytes:
        """The message as it is sent on."""
        given = self.message
        if given is UNSET:
            given = self.data if self.payload is UNSET else self.payload
        return bytes(given)  # type: ignore[arg-type]


class Published(Result):
    """How many subscribers matched, and how many of them had room for the message."""

    message_id: str
    topic: str
    subscribers_notified: int
    subscribers_matched: int


@command(
    "pubsub.publish",
    trace_in="metadata",
    has_effect=True,
    keys=("topic",),
    routes=("POST /pubsub/{topic}/publish",),
    cost="O(levels + matches)",
    since="0.3",
)
def publish(state: State, payload: Publish, now: Millis) -> Published:
    """Send a message to everybody who is subscribed to a pattern that matches the topic."""
    metadata = NULL if payload.metadata is None else msgspec.json.encode(payload.metadata)
    message, notified, matched = state.pubsub.publish(payload.topic, payload.body(), metadata, now)
    return Published(message.message_id, payload.topic, notified, matched)


class Subscribe(Payload):
    """Payload of pubsub.subscribe. In a pattern, `*` is one level and `#` any number of them.

    A connection has 10,000 patterns at most; one with wildcards can stand for many.
    `policy` says what to do when this client reads too slowly. Whoever was here before names the `epoch` and the
    `last_seq` it has seen, and gets what it missed.
    """

    topics: Annotated[list[Pattern], msgspec.Meta(min_length=1, max_length=10_000)]
    policy: Policy | None = None
    epoch: str | None = None
    last_seq: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] | None = None

    def __post_init__(self) -> None:
        for topic in self.topics:
            _check_name(topic)
        if (self.epoch is None) != (self.last_seq is None):
            raise ValueError("expected epoch and last_seq together")


class Gap(Result):
    """How many messages are gone for good; `at_least` so many where that is all that is known.

    `missed` is null when the server has started anew since: nobody knows what was published meanwhile.
    """

    missed: int | None
    at_least: bool
    reason: Literal["history", "restart"]


class Subscribed(Result):
    """All patterns this connection is subscribed to; `gap` when messages since `last_seq` cannot be sent again."""

    subscribed: list[str]
    epoch: str
    seq: int
    gap: Gap | None


@command(
    "pubsub.subscribe",
    attaches=True,
    keys=("topics",),
    scopes={"topics": "topic"},
    cost="O(topics * levels)",
    since="0.3",
)
def subscribe(state: State, payload: Subscribe, now: Millis, session: Session) -> Subscribed:
    """Have messages pushed on this WebSocket, each once however many patterns match."""
    pubsub, outbox = state.pubsub, session.outbox
    if len(pubsub.patterns_of(outbox)) + len(payload.topics) > PATTERNS_MAX:
        raise PayloadTooLarge(f"expected at most {PATTERNS_MAX} patterns on a connection", limit=PATTERNS_MAX)
    patterns = list(dict.fromkeys(payload.topics))
    if payload.policy is not None:
        outbox.policies |= dict.fromkeys(patterns, payload.policy)
    gap = None
    if payload.last_seq is not None:
        gap = _send_missed(state, session, patterns, payload.epoch, payload.last_seq)
    pubsub.subscribe(outbox, patterns)
    return Subscribed(pubsub.patterns_of(outbox), pubsub.epoch, pubsub.published_total, gap)


class Unsubscribe(Payload):
    """Payload of pubsub.unsubscribe; without `topics`, all."""

    topics: list[Pattern] | None = None


class Unsubscribed(Result):
    """The patterns this connection was subscribed to and is no longer."""

    unsubscribed: list[str]


@command("pubsub.unsubscribe", attaches=True, keys=("topics",), cost="O(topics * levels)", since="0.3")
def unsubscribe(state: State, payload: Unsubscribe, now: Millis, session: Session) -> Unsubscribed:
    """Have no more messages pushed for some patterns, or any."""
    removed = state.pubsub.unsubscribe(session.outbox, payload.topics)
    for pattern in removed:
        session.outbox.policies.pop(pattern, None)
    return Unsubscribed(removed)


class TopicsPayload(Payload):
    """Payload of pubsub.topics."""

    pattern: Pattern | None = None

    def __post_init__(self) -> None:
        if self.pattern is not None:
            _check_name(self.pattern)


class TopicListed(Result):
    """A topic; messages to it since the server started."""

    topic: str
    subscribers: int
    published_total: int


class Topics(Result):
    """Topics by name: those subscribed to without wildcards, and those published to of late."""

    topics: list[TopicListed]


@command(
    "pubsub.topics",
    keys=("pattern",),
    scopes={"pattern": "topic"},
    routes=("GET /pubsub/topics",),
    cost="O(topics log topics)",
    since="0.3",
)
def topics(state: State, payload: TopicsPayload, now: Millis) -> Topics:
    """List topics, all or those that match a pattern."""
    pubsub, pattern = state.pubsub, payload.pattern
    return ordered(
        Topics,
        pubsub.candidates(pattern),
        str,
        lambda name: TopicListed(*pubsub.listed(name)),
        is_wanted=lambda name: pattern is None or matches(pattern, name),
    )


class Stats(Result):
    """Pub/sub in numbers, since the server started."""

    total_topics: int
    total_subscribers: int
    published_total: int
    delivered_total: int
    dropped_total: int


@command("pubsub.stats", routes=("GET /pubsub/stats",), cost="O(1)", since="0.3")
def stats(state: State, payload: NoPayload, now: Millis) -> Stats:
    """Describe pub/sub as a whole."""
    pubsub = state.pubsub
    return Stats(
        total_topics=pubsub.total_topics,
        total_subscribers=pubsub.total_subscribers,
        published_total=pubsub.published_total,
        delivered_total=pubsub.delivered_total,
        dropped_total=pubsub.dropped_total,
    )


def _send_missed(state: State, session: Session, patterns: list[str], epoch: str | None, last_seq: int) -> Gap | None:
    """Queue what is still there of the messages after `last_seq`; what is not is the gap."""
    pubsub = state.pubsub
    if epoch != pubsub.epoch:
        return Gap(None, True, "restart")
    messages, lost, is_exact = pubsub.missed(patterns, last_seq, session.outbox.room)
    wanted: TopicTrie[str] = TopicTrie()
    for pattern in patterns:
        wanted.add(pattern, pattern)
    first = {topic: next(iter(wanted.match(topic))) for topic in {message.topic for message in messages}}
    matched, surplus = session.outbox.newest_that_fit([(message, first[message.topic]) for message in messages])
    for message, pattern in matched:
        session.outbox.take(message, pattern)
    lost += surplus
    return Gap(lost, not is_exact, "history") if lost or not is_exact else None
