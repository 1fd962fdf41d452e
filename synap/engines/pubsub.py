"""Publish and subscribe: each message goes at once to whoever is subscribed, and a short history stays for those who
come back. Memory only: nothing here is journalled.

Rules:

1. A message has a sequence number over all topics, `seq`, and one within its topic, `index`; both begin with 1. They
   begin anew with the server, which is why a `seq` means something only together with `epoch`.
2. A subscriber gets a message once, however many of its patterns match.
3. History keeps the newest messages of each topic, and over all topics as many bytes as allowed; the oldest go first,
   so that of every topic the newest are kept, without a hole. Of those that went the seq is remembered for a while:
   what somebody missed is counted exactly as long as that lasts, and told as "at least" afterwards, as where too many
   topics were in use since.
4. A topic is listed while it is subscribed to by name. The others are listed for having been published to; too many
   of them, and the one is forgotten that was used (published to, or let go by its last subscriber) longest ago. A
   forgotten topic that comes back is a new one.

Costs: publish O(levels + matches), subscribe O(levels) a pattern, `missed` O(topics used since + messages found),
with a bound on the topics.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_right
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol, cast

import msgspec

from synap.clock import Millis
from synap.engines.topic_trie import TopicTrie, has_wildcards

HISTORY_MESSAGES = 256
"""How many messages of a topic are kept, unless asked otherwise."""
HISTORY_BYTES_MAX = 64 * 1024 * 1024
TOPICS_MAX = 100_000
"""Topics that nobody is subscribed to by name."""
MATCHED_TOPICS_MAX = 2_000
"""Topics that patterns with wildcards are matched with for what somebody has missed: so many with subscribers by name,
and so many others. What was published to others before that counts as "at least" lost."""
GONE_SEQS_MAX = 500_000
"""Messages no longer in the history whose seq is remembered, over all topics: 9 MB, 60 MB at worst."""

# Measured on CPython 3.11: the message, its numbers, the headers of two byte strings, its places in the history.
MESSAGE_OVERHEAD_BYTES = 384
_NO_SEQS = array("q")


class Message(msgspec.Struct, gc=False):
    """What was published. Not to be changed: history and subscribers share it."""

    seq: int
    """Its number among all messages of this server."""
    topic: str
    body: bytes
    """JSON."""
    metadata: bytes
    """JSON, `null` when there is none."""
    timestamp: Millis
    index: int
    """Its number within the topic."""
    epoch: str

    @property
    def message_id(self) -> str:
        """Unique over all servers and restarts."""
        return f"{self.epoch}-{self.seq:x}"


class Subscriber(Protocol):
    """Who gets messages; told apart by identity."""

    def take(self, message: Message, pattern: str) -> bool:
        """Accept a message that `pattern` matches. False: it, or an older one, was dropped, for want of room or because
        the subscriber is closing. May unsubscribe; must not raise and must not publish.
        """


class Missed(NamedTuple):
    """What was published to some topics after a point."""

    messages: list[Message]
    """Those still in the history, by seq."""
    lost: int
    """How many are not; at least so many unless `is_exact`."""
    is_exact: bool


class Listed(NamedTuple):
    """A topic as it is listed."""

    topic: str
    subscribers: int
    """Those with a pattern that matches, by name or by wildcards."""
    published_total: int


class PubSub:
    """Topics, who is subscribed to them, and their history. `epoch` names this run of the server."""

    def __init__(
        self,
        epoch: str,
        *,
        history: int = HISTORY_MESSAGES,
        history_bytes_max: int = HISTORY_BYTES_MAX,
        topics_max: int = TOPICS_MAX,
        gone_seqs_max: int = GONE_SEQS_MAX,
    ) -> None:
        self.epoch = epoch
        self.published_total = 0
        """Also the seq of the newest message."""
        self.delivered_total = 0
        self.dropped_total = 0
        self.on_publish: Callable[[str, bytes, bytes], None] | None = None
        """Told of every message: topic, body and metadata."""
        self.history_bytes = 0
        """Estimated memory of the messages kept."""
        self._history_max = history
        self._history_bytes_max = history_bytes_max
        self._topics_max = topics_max
        self._gone_seqs_max = gone_seqs_max
        self._subscriptions: TopicTrie[Subscriber] = TopicTrie()
        self._patterns: dict[Subscriber, dict[str, None]] = {}
        self._held: OrderedDict[str, _Topic] = OrderedDict()
        """Topics subscribed to by name, and in `_idle` the others; in both the one used longest ago comes first."""
        self._idle: OrderedDict[str, _Topic] = OrderedDict()
        self._forgotten_through = 0
        """The newest seq of any topic that was forgotten."""
        self._history: OrderedDict[int, Message] = OrderedDict()
        """By seq, oldest first. The topic of every message in it is in `_held` or `_idle`."""
        self._gone: deque[_Topic] = deque()
        """The topic of each message that has left the history and whose seq is remembered, in the order they left."""

    # Subscribing

    def subscribe(self, subscriber: Subscriber, patterns: Iterable[str]) -> None:
        """Let `subscriber` take what matches from here on; what it is subscribed to already stays as it is."""
        own = self._patterns.setdefault(subscriber, {})
        for pattern in patterns:
            if pattern not in own:
                own[pattern] = None
                self._subscriptions.add(pattern, subscriber)
                if not has_wildcards(pattern):
                    self._hold(pattern)
        if not own:
            del self._patterns[subscriber]

    def unsubscribe(self, subscriber: Subscriber, patterns: Iterable[str] | None = None) -> list[str]:
        """End these subscriptions, or all; returns the patterns that were subscribed to."""
        own = self._patterns.get(subscriber, {})
        removed = [pattern for pattern in dict.fromkeys(own if patterns is None else patterns) if pattern in own]
        for pattern in removed:
            del own[pattern]
            self._subscriptions.remove(pattern, subscriber)
            if not has_wildcards(pattern):
                self._let_go(pattern)
        if not own:
            self._patterns.pop(subscriber, None)
        return removed

    def patterns_of(self, subscriber: Subscriber) -> list[str]:
        """What it is subscribed to, in the order of subscription."""
        return list(self._patterns.get(subscriber, ()))

    # Publishing

    def publish(self, topic: str, body: bytes, metadata: bytes, now: Millis) -> tuple[Message, int, int]:
        """Give a message to all whose patterns match, in the order of these subscriptions, and keep it for a while.

        Returns it with the number of subscribers that took it and dropped nothing, and of those whose patterns match.
        """
        self.published_total = seq = self.published_total + 1
        used = self._use(topic)
        # The topic's own copy of its name: the caller's would be one more for each message kept.
        message = Message(seq, used.name, body, metadata, now, used.append(seq), self.epoch)
        self._history[seq] = message
        self.history_bytes += _size(message)
        if used.kept > self._history_max or self.history_bytes > self._history_bytes_max:
            self._shorten_history(used)
        matched = self._subscriptions.match(topic)
        dropped = 0
        for subscriber, pattern in matched.items():
            if not subscriber.take(message, pattern):
                dropped += 1
        self.dropped_total += dropped
        notified = len(matched) - dropped
        self.delivered_total += notified
        if self.on_publish is not None:
            self.on_publish(topic, body, metadata)
        return message, notified, len(matched)

    def missed(self, patterns: Sequence[str], last_seq: int, messages_max: int = sys.maxsize) -> Missed:
        """What was published to matching topics after `last_seq`, each message once; the newest `messages_max` of them.

        Wildcards are matched with the `MATCHED_TOPICS_MAX` topics used last.
        """
        seqs: list[int] = []
        topics, is_all = self._used_after(last_seq, patterns)
        lost, is_exact = 0, is_all and last_seq >= self._forgotten_through
        for topic in topics:
            kept, gone, is_known = topic.after(last_seq)
            seqs += kept
            lost += gone
            is_exact &= is_known
        newest = sorted(seqs)[-messages_max:]
        return Missed([self._history[seq] for seq in newest], lost + len(seqs) - len(newest), is_exact)

    # Looking at the whole

    @property
    def total_topics(self) -> int:
        """How many topics `topics` would list."""
        return len(self._held) + len(self._idle)

    @property
    def total_subscribers(self) -> int:
        """How many subscribers there are, whatever the number of their patterns."""
        return len(self._patterns)

    def candidates(self, pattern: str | None = None) -> list[str]:
        """The names of all topics that a pattern may match, or of all there are, in no particular order."""
        if pattern is not None and not has_wildcards(pattern):
            return [] if self._find(pattern) is None else [pattern]
        return [*self._held, *self._idle]

    def listed(self, name: str) -> Listed:
        """A topic as it is now."""
        topic = self._find(name)
        return Listed(name, len(self._subscriptions.match(name)), topic.published_total if topic else 0)

    # The table of topics

    def _find(self, name: str) -> _Topic | None:
        return self._held.get(name) or self._idle.get(name)

    def _use(self, name: str) -> _Topic:
        """The topic that is being published to."""
        order = self._held if name in self._held else self._idle
        if name in order:
            order.move_to_end(name)
            return order[name]
        topic = order[name] = _Topic(name)
        self._forget_surplus()
        return topic

    def _hold(self, name: str) -> None:
        """There is one subscription more by this name."""
        topic = self._find(name) or _Topic(name)
        if not topic.holders:
            self._idle.pop(name, None)
            self._held[name] = topic
            topic.used_at_seq = self.published_total
        topic.holders += 1

    def _let_go(self, name: str) -> None:
        """There is one subscription less by this name."""
        topic = self._held[name]
        topic.holders -= 1
        if topic.holders:
            return
        del self._held[name]
        if topic.published_total:
            topic.used_at_seq = self.published_total
            self._idle[name] = topic
            self._forget_surplus()

    def _forget_surplus(self) -> None:
        while len(self._idle) > self._topics_max:
            _, topic = self._idle.popitem(last=False)
            self._forgotten_through = max(self._forgotten_through, topic.last_seq)
            for seq in topic.kept_seqs():
                self.history_bytes -= _size(self._history.pop(seq))
            topic.clear()

    def _used_after(self, last_seq: int, patterns: Sequence[str]) -> tuple[Iterable[_Topic], bool]:
        """The topics that match and may have been published to after `last_seq`, each once; and whether that is all."""
        # A pattern with wildcards matches the topic of its own spelling, too.
        found = {name: topic for name in patterns if (topic := self._find(name)) is not None}
        wildcards = [pattern for pattern in patterns if has_wildcards(pattern)]
        if not wildcards:
            return found.values(), True
        wanted: TopicTrie[str] = TopicTrie()
        for pattern in wildcards:
            wanted.add(pattern, pattern)
        is_all = True
        for order in (self._held, self._idle):
            for looked_at, (name, topic) in enumerate(reversed(order.items())):
                if topic.used_at_seq <= last_seq:
                    break
                if looked_at == MATCHED_TOPICS_MAX:
                    is_all = False
                    break
                if wanted.match(name):
                    found[name] = topic
        return found.values(), is_all

    # The history

    def _shorten_history(self, topic: _Topic) -> None:
        """Keep to the bounds after one message more in a topic."""
        if topic.kept > self._history_max:
            self._drop_oldest(topic)
        while self.history_bytes > self._history_bytes_max:
            oldest = next(iter(self._history.values()))
            self._drop_oldest(cast(_Topic, self._find(oldest.topic)))

    def _drop_oldest(self, topic: _Topic) -> None:
        """Take the oldest message of a topic out of the history."""
        self.history_bytes -= _size(self._history.pop(topic.drop_oldest()))
        self._gone.append(topic)
        if len(self._gone) > self._gone_seqs_max:
            self._gone.popleft().forget_oldest()


class _Topic:
    """What is known of the messages of one topic."""

    __slots__ = (
        "first_seq",
        "forgotten_seq",
        "holders",
        "kept",
        "last_seq",
        "name",
        "published_total",
        "seqs",
        "start",
        "used_at_seq",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.holders = 0
        """Subscriptions by this name."""
        self.used_at_seq = 0
        """The newest seq of the server when it was used last; never before `last_seq`."""
        self.published_total = 0
        self.first_seq = 0
        self.last_seq = 0
        self.seqs = _NO_SEQS
        """From `start` on, all that is remembered; before that, a rest that is cut off now and then."""
        self.start = 0
        self.kept = 0
        """How many of the newest `seqs` are in the history."""
        self.forgotten_seq = 0
        """The newest seq that is not remembered."""

    def append(self, seq: int) -> int:
        """Take note of a message that goes into the history; returns its number within the topic."""
        if not self.published_total:
            self.first_seq = seq
            self.seqs = array("q")
        self.last_seq = self.used_at_seq = seq
        self.seqs.append(seq)
        self.kept += 1
        self.published_total = index = self.published_total + 1
        return index

    def kept_seqs(self) -> array[int]:
        """The seqs of the messages in the history."""
        return self.seqs[len(self.seqs) - self.kept :]

    def drop_oldest(self) -> int:
        """Take note that the oldest message in the history goes; returns its seq."""
        self.kept -= 1
        return self.seqs[len(self.seqs) - self.kept - 1]

    def forget_oldest(self) -> None:
        """Remember one seq less of the messages that are gone, if there is any."""
        if self.start == len(self.seqs) - self.kept:
            return
        self.forgotten_seq = self.seqs[self.start]
        self.start += 1
        if self.start > len(self.seqs) // 2:
            del self.seqs[: self.start]
            self.start = 0

    def after(self, last_seq: int) -> tuple[array[int], int, bool]:
        """Of what was published after `last_seq`: the seqs in the history, and how many are gone, or at least so many
        when that is not exact."""
        first_kept = len(self.seqs) - self.kept
        if last_seq < self.first_seq:
            return self.kept_seqs(), self.published_total - self.kept, True
        is_exact = last_seq >= self.forgotten_seq
        at = bisect_right(self.seqs, last_seq, self.start)
        return self.seqs[max(at, first_kept) :], max(first_kept - at, 0) + (not is_exact), is_exact

    def clear(self) -> None:
        """Shrink: the topic is forgotten, but entries of `PubSub._gone` may still lead here."""
        self.name, self.seqs = "", _NO_SEQS
        self.published_total = self.first_seq = self.last_seq = self.used_at_seq = 0
        self.start = self.kept = self.forgotten_seq = 0


def _size(message: Message) -> int:
    return MESSAGE_OVERHEAD_BYTES + len(message.body) + len(message.metadata)
