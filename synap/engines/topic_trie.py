"""Which subscriptions a topic matches: patterns of dot-separated levels, as RabbitMQ's topic exchanges have them.

Rules:

1. `*` stands for exactly one level and `#` for any number of them, none included, anywhere in a pattern. A level that
   merely contains such a character is literal, and a level may be empty.
2. An item that several of its patterns lead to is found once, under the one that was added first. Items are found in
   the order those patterns were added.

Costs: patterns without wildcards are found by one lookup, the others by walking a trie level by level with the set of
all nodes reached so far, which no pattern can blow up: O(levels x nodes that match so far). `check_name` bounds both.
"""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")

NAME_BYTES_MAX = 1_024
LEVELS_MAX = 64

_ONE = "*"
_MANY = "#"


def check_name(name: str) -> None:
    """Raise ValueError for a topic or pattern that is too long or has too many levels."""
    size_bytes, levels = len(name.encode()), name.count(".") + 1
    if size_bytes > NAME_BYTES_MAX:
        raise ValueError(f"expected at most {NAME_BYTES_MAX} bytes, got {size_bytes}: {name[:40]!r}...")
    if levels > LEVELS_MAX:
        raise ValueError(f"expected at most {LEVELS_MAX} levels, got {levels}: {name[:40]!r}...")


def has_wildcards(pattern: str) -> bool:
    """Whether the pattern may match another topic than the one it spells."""
    if _ONE not in pattern and _MANY not in pattern:
        return False
    return any(level in (_ONE, _MANY) for level in pattern.split("."))


def matches(pattern: str, topic: str) -> bool:
    """Whether one pattern matches. O(levels of the pattern x levels of the topic) at worst."""
    wanted, levels = pattern.split("."), topic.split(".")
    at = level = resume = 0
    many = -1
    while level < len(levels):
        if at < len(wanted) and wanted[at] == _MANY:
            # What earlier ones took need not be tried again: this one can take whatever they could have.
            many, resume = at, level
            at += 1
        elif at < len(wanted) and wanted[at] in (_ONE, levels[level]):
            at += 1
            level += 1
        elif many >= 0:
            resume += 1
            at, level = many + 1, resume
        else:
            return False
    return all(left == _MANY for left in wanted[at:])


class TopicTrie(Generic[T]):
    """Items (anything hashable) by the patterns they were added with."""

    def __init__(self) -> None:
        self._literal: dict[str, dict[T, int]] = {}
        """Topic to the items added for just this one, each with the serial number of the addition."""
        self._root: _Node[T] = _Node(is_many=False)
        self._additions = 0

    def add(self, pattern: str, item: T) -> None:
        """Let topics that match lead to `item`; nothing changes if they do already by this pattern."""
        if has_wildcards(pattern):
            node = self._root
            for level in pattern.split("."):
                child = node.children.get(level)
                if child is None:
                    child = node.children[level] = _Node(is_many=level == _MANY)
                node = child
            node.pattern, items = pattern, node.items
        else:
            items = self._literal.setdefault(pattern, {})
        self._additions += 1
        items.setdefault(item, self._additions)

    def remove(self, pattern: str, item: T) -> None:
        """Undo an addition. Raises KeyError if there was none."""
        if has_wildcards(pattern):
            self._remove_from_trie(pattern, item)
            return
        items = self._literal[pattern]
        del items[item]
        if not items:
            del self._literal[pattern]

    def match(self, topic: str) -> dict[T, str]:
        """The items the topic leads to, each with the pattern it is found under."""
        literal = self._literal.get(topic)
        if self._root.children and (nodes := self._reached(topic)):
            return _merged(topic, literal, nodes)
        return dict.fromkeys(literal, topic) if literal else {}

    def _reached(self, topic: str) -> list[_Node[T]]:
        """The nodes with items that all levels of the topic lead to."""
        active: dict[_Node[T], None] = {}
        _enter(self._root, active)
        for level in topic.split("."):
            reached: dict[_Node[T], None] = {}
            for node in active:
                if node.is_many:
                    reached[node] = None
                for key in (level, _ONE):
                    child = node.children.get(key)
                    if child is not None:
                        _enter(child, reached)
            active = reached
        return [node for node in active if node.items]

    def _remove_from_trie(self, pattern: str, item: T) -> None:
        levels = pattern.split(".")
        path = [self._root]
        for level in levels:
            path.append(path[-1].children[level])
        del path[-1].items[item]
        while levels and not path[-1].items and not path[-1].children:
            path.pop()
            del path[-1].children[levels.pop()]


class _Node(Generic[T]):
    """Where the levels of some patterns lead to."""

    __slots__ = ("children", "is_many", "items", "pattern")

    def __init__(self, *, is_many: bool) -> None:
        self.children: dict[str, _Node[T]] = {}
        self.items: dict[T, int] = {}
        """Those whose pattern ends here, with the serial numbers of their additions."""
        self.pattern = ""
        self.is_many = is_many
        """Whether it is reached by `#`, and so takes any further level."""


def _enter(node: _Node[T] | None, active: dict[_Node[T], None]) -> None:
    """Make a node active, and with it those that `#` leads to without taking a level."""
    while node is not None:
        active[node] = None
        node = node.children.get(_MANY)


def _merged(topic: str, literal: dict[T, int] | None, nodes: list[_Node[T]]) -> dict[T, str]:
    """The items of all nodes and those of just this topic, each with the pattern it was added with first."""
    if literal is None and len(nodes) == 1:
        return dict.fromkeys(nodes[0].items, nodes[0].pattern)
    additions = [(serial, item, topic) for item, serial in literal.items()] if literal else []
    for node in nodes:
        additions += [(serial, item, node.pattern) for item, serial in node.items.items()]
    # Serial numbers differ, so items are never compared. Each node's are in order, which makes the sort a merge.
    additions.sort()
    found: dict[T, str] = {}
    for _, item, pattern in additions:
        found.setdefault(item, pattern)
    return found
