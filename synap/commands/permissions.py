"""What a credential may do: permissions as `command-pattern[:key-pattern]`, and the question whether one holds.

    kv.*                 every command of kv, on any key
    kv.get:user:*        kv.get, on keys that begin with "user:"
    queue.*:tasks        every queue command, on the queue "tasks"

Both patterns are globs (engines/glob.py). Which fields of a payload are keys is declared with each command; so one
check serves all of them. A field that names many keys at once - the prefix of a scan, the pattern of a
subscription - must lie inside the key pattern. Where that cannot be told for sure the answer is no.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from synap.commands.table import Command, Scope
from synap.engines import glob

PERMISSION_CHARS_MAX = 1_024
_WILDCARDS = frozenset("*?[\\")
# Those of a topic that a glob of the same spelling might not match.
_TOPIC_ONLY = frozenset("#[\\")


class Permission(NamedTuple):
    """Some commands, on any key or on some."""

    commands: str
    keys: str | None

    @classmethod
    def parse(cls, text: str) -> Permission:
        """From `command-pattern[:key-pattern]`. Raises ValueError."""
        commands, colon, keys = text.partition(":")
        if not commands or (colon and not keys) or len(text) > PERMISSION_CHARS_MAX:
            raise ValueError(
                "expected command-pattern[:key-pattern] of at most"
                f" {PERMISSION_CHARS_MAX} characters, such as kv.get:user:*, got {text[:100]!r}"
            )
        return cls(commands, None if keys == "*" else keys or None)

    def covers(self, other: Permission) -> bool:
        """Whether all that `other` allows is allowed by this alone."""
        if not lies_inside(other.commands, "glob", self.commands):
            return False
        return self.keys is None or (other.keys is not None and lies_inside(other.keys, "glob", self.keys))

    def __str__(self) -> str:
        return self.commands if self.keys is None else f"{self.commands}:{self.keys}"


class KeyPatterns(tuple[str, ...]):
    """The key patterns that a command is allowed on; none when it is not allowed."""

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        # What nearly all patterns are like: told by two look-ups, however many there are.
        self._keys = frozenset(p for p in self if _WILDCARDS.isdisjoint(p))
        stemmed = [p for p in self if p.endswith("*") and _WILDCARDS.isdisjoint(p[:-1])]
        self._stems = tuple(p[:-1] for p in stemmed)
        self._globs = tuple(p for p in self if p not in self._keys and p not in stemmed)

    def hold(self, key: str) -> bool:
        """Whether a key matches one of them."""
        if key.startswith(self._stems) or key in self._keys:
            return True
        return any(glob.compiled(pattern).fullmatch(key) for pattern in self._globs)


class Rules(dict[str, KeyPatterns | None]):
    """For each command by name: None when it is allowed on any key, else the key patterns it is allowed on.

    No pattern at all means that the command is not allowed. Worked out when a command is first asked for.
    """

    def __init__(self, permissions: Iterable[Permission]) -> None:
        super().__init__()
        self._permissions = tuple(permissions)

    def __missing__(self, command: str) -> KeyPatterns | None:
        matching = [p for p in self._permissions if glob.compiled(p.commands).fullmatch(command)]
        if any(p.keys is None for p in matching):
            rule = None
        else:
            rule = KeyPatterns(dict.fromkeys(p.keys for p in matching if p.keys is not None))
        self[command] = rule
        return rule


def outside(command: Command, payload: Any, patterns: KeyPatterns) -> str | None:
    """What a payload asks for outside all key patterns: a key, a scope or "*" for everything. None: nothing."""
    if command.scopes:
        given = {f: scope for f, scope in command.scopes.items() if getattr(payload, f) is not None}
        strays = [_first_outside(_names(payload, (field,)), scope, patterns) for field, scope in given.items()]
        return None if None in strays else next(iter(strays), "*")
    if not command.keys:
        return "*"
    return next((key for key in named_keys(command, payload) if not patterns.hold(key)), None)


def named_keys(command: Command, payload: Any) -> Iterator[str]:
    """The keys a payload names."""
    return _names(payload, command.keys)


def lies_inside(text: str, scope: Scope | None, pattern: str) -> bool:
    """Whether every key that `text` stands for matches `pattern`; False when in doubt. Without a scope it is a key."""
    start, is_exact = _extent(text, scope)
    stem = pattern.removesuffix("*")
    if _WILDCARDS.isdisjoint(stem):
        # What nearly all patterns are like: no need to compile those of many credentials again and again.
        return start.startswith(stem) if stem != pattern else is_exact and start == pattern
    if is_exact:
        return glob.compiled(pattern).fullmatch(start) is not None
    return text == pattern and (scope == "glob" or (scope == "topic" and _TOPIC_ONLY.isdisjoint(text)))


def _extent(text: str, scope: Scope | None) -> tuple[str, bool]:
    """What every key begins with that `text` stands for, and whether that is the only key."""
    if scope is None:
        return text, True
    if scope == "prefix":
        return text, False
    if scope == "scan":
        return glob.literal_prefix(text), False
    if scope == "glob":
        return glob.literal_prefix(text), _WILDCARDS.isdisjoint(text)
    levels = text.split(".")
    wild = next((n for n, level in enumerate(levels) if level in ("*", "#")), None)
    if wild is None:
        return text, True
    start = ".".join(levels[:wild])
    return (start, False) if levels[wild] == "#" or not wild else (start + ".", False)


def _first_outside(names: Iterable[str], scope: Scope, patterns: tuple[str, ...]) -> str | None:
    outsiders = (name for name in names if not any(lies_inside(name, scope, pattern) for pattern in patterns))
    return next(outsiders, None)


def _names(payload: Any, fields: tuple[str, ...]) -> Iterator[str]:
    """The texts in fields of a payload: one, a list of them, pairs with a key, or a map by key."""
    if isinstance(payload, tuple):
        yield payload[0]
        return
    for field in fields:
        value = getattr(payload, field)
        for item in (value,) if isinstance(value, str) else value or ():
            yield item if isinstance(item, str) else item.key
