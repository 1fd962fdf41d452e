"""Permissions: what they cover, which keys of a payload lie outside, and that what is let in is always inside."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from synap.commands import TABLE
from synap.commands.permissions import (
    PERMISSION_CHARS_MAX,
    KeyPatterns,
    Permission,
    Rules,
    lies_inside,
    named_keys,
    outside,
)
from synap.commands.table import Command, Scope
from synap.engines import topic_trie
from tests.engines.test_glob import naively, naively_in_class
from tests.payloads.samples import SAMPLE_KEY, key_places, samples

ALPHABET = "ab.:*?[]\\#^-"
PLAIN = "ab.:"
TEXTS = st.text(ALPHABET, max_size=7)
SCOPES: tuple[Scope | None, ...] = (None, "prefix", "glob", "topic")

PUBLIC = {row.name: row for row in TABLE.public()}

# What concerns no key, or all of them: nothing for a credential whose permissions are limited to keys.
KEYLESS = {
    *(f"{kind}.stats" for kind in ("bitmap", "hash", "hyperloglog", "kv", "list", "pubsub", "set", "sortedset")),
    *("auth.login", "auth.me", "auth.list_users", "auth.list_keys", "auth.list_roles"),
    *("key.randomkey", "kv.dbsize", "kv.flushdb", "queue.list", "stream.rooms"),
}
KEYLESS_NAMESPACES = {"admin", "replication"}
# The one command on keys that may name none: it ends the connection's own subscriptions then.
ON_NO_KEY = {"pubsub.unsubscribe"}
STRAY_KEY = "a stray key"


def permission(text: str) -> Permission:
    return Permission.parse(text)


def stray(command: str, patterns: tuple[str, ...], payload: Any) -> str | None:
    """What of a payload, given as data, lies outside the patterns."""
    row = PUBLIC[command]
    return outside(row, msgspec.json.decode(msgspec.json.encode(payload), type=row.payload), KeyPatterns(patterns))


# Texts


@pytest.mark.parametrize(
    ("text", "commands", "keys"),
    [
        ("kv.*", "kv.*", None),
        ("kv.get:user:*", "kv.get", "user:*"),
        ("queue.*:tasks", "queue.*", "tasks"),
        ("*", "*", None),
        ("kv.get:*", "kv.get", None),
        ("kv.get::", "kv.get", ":"),
        ("kv.get:a b", "kv.get", "a b"),
    ],
)
def test_a_permission_is_commands_and_perhaps_keys(text: str, commands: str, keys: str | None) -> None:
    parsed = permission(text)
    assert parsed == (commands, keys)
    assert permission(str(parsed)) == parsed


@pytest.mark.parametrize("text", ["", ":", ":user:*", "kv.get:", "k" * (PERMISSION_CHARS_MAX + 1)])
def test_a_text_without_commands_or_with_an_empty_key_is_no_permission(text: str) -> None:
    with pytest.raises(ValueError, match="expected command-pattern"):
        permission(text)


def test_a_permission_may_be_as_long_as_the_limit() -> None:
    assert permission("k" * PERMISSION_CHARS_MAX).keys is None


# Rules


def test_a_command_is_allowed_on_any_key_or_on_some_or_not_at_all() -> None:
    rules = Rules(map(permission, ["kv.get:user:*", "kv.*:tmp:*", "kv.get:user:*", "queue.*", "queue.peek:tasks"]))
    assert rules["kv.get"] == ("user:*", "tmp:*")
    assert rules["kv.set"] == ("tmp:*",)
    assert rules["queue.peek"] is None
    assert rules["stream.create"] == ()


def test_a_command_pattern_matches_whole_names() -> None:
    rules = Rules([permission("kv.get"), permission("list.?push")])
    assert [rules[name] for name in ("kv.getset", "akv.get", "list.lpush", "list.lpushx")] == [(), (), None, ()]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.builds(Permission, TEXTS, st.none() | TEXTS), max_size=4), TEXTS)
def test_a_rule_is_what_the_matching_permissions_say_together(permissions: list[Permission], command: str) -> None:
    matching = [p.keys for p in permissions if naively(p.commands, command)]
    rule = Rules(permissions)[command]
    if None in matching:
        assert rule is None
    else:
        assert rule is not None
        assert (set(rule), len(rule)) == (set(matching), len(set(matching)))


# Payloads


@pytest.mark.parametrize(
    ("command", "payload", "expected"),
    [
        ("kv.get", {"key": "user:1"}, None),
        ("kv.get", {"key": "user:"}, None),
        ("kv.get", {"key": "user"}, "user"),
        ("kv.get", {"key": "xuser:1"}, "xuser:1"),
        ("hash.set", {"key": "user:1", "field": "other", "value": 1}, None),
        ("hash.set", {"key": "other", "field": "user:1", "value": 1}, "other"),
        ("hash.mset", {"key": "other", "fields": {"user:1": 1}}, "other"),
        ("key.rename", {"source": "user:1", "destination": "user:2"}, None),
        ("key.rename", {"source": "user:1", "destination": "other"}, "other"),
        ("key.rename", {"source": "other", "destination": "user:1"}, "other"),
        ("kv.del", {"key": "other"}, "other"),
        ("kv.del", {"keys": ["user:1", "other", "another"]}, "other"),
        ("kv.mget", {"keys": ["user:1", "user:2"]}, None),
        ("kv.mget", {"keys": []}, None),
        ("kv.mset", {"pairs": [{"key": "user:1", "value": 1}, {"key": "user:2", "value": 1}]}, None),
        ("kv.mset", {"pairs": [{"key": "user:1", "value": 1}, {"key": "other", "value": 1}]}, "other"),
        ("kv.mset", {"pairs": {"user:1": 1, "user:2": 1}}, None),
        ("kv.mset", {"pairs": {"user:1": 1, "other": 1}}, "other"),
        ("kv.msetnx", {"pairs": {"user:1": 1, "other": 1}}, "other"),
        ("kv.msetnx", {"key": "user:1", "value": 1}, None),
        ("kv.msetnx", {"key": "other", "value": 1}, "other"),
        ("kv.msetnx", ["user:1", 1], None),
        ("kv.msetnx", ["other", "user:1"], "other"),
        ("sortedset.zunionstore", {"destination": "user:1", "keys": ["user:2", "other"]}, "other"),
        ("sortedset.zunionstore", {"destination": "other", "keys": ["user:2"]}, "other"),
        ("queue.publish", {"queue": "user:1", "message": 1}, None),
        ("queue.publish", {"queue": "other", "message": 1}, "other"),
        ("stream.publish", {"room": "other", "event_type": "user:1", "key": "user:1", "data": 1}, "other"),
        ("pubsub.publish", {"topic": "user:1", "message": 1}, None),
        ("pubsub.publish", {"topic": "other", "message": 1}, "other"),
    ],
)
def test_every_key_of_a_payload_must_lie_inside(command: str, payload: Any, expected: str | None) -> None:
    assert stray(command, ("user:*",), payload) == expected


def test_each_key_may_lie_inside_another_pattern() -> None:
    assert stray("kv.mget", ("user:*", "tmp"), {"keys": ["tmp", "user:1"]}) is None
    assert stray("kv.mget", ("user:*", "tmp"), {"keys": ["tmp", "tmp:1"]}) == "tmp:1"


def test_no_pattern_admits_no_key() -> None:
    assert stray("kv.get", (), {"key": "user:1"}) == "user:1"
    assert stray("kv.keys", (), {"match": "user:1"}) == "user:1"


@pytest.mark.parametrize("command", ["kv.dbsize", "kv.flushdb", "key.randomkey", "queue.list", "pubsub.stats"])
def test_a_command_without_keys_concerns_all_of_them(command: str) -> None:
    assert stray(command, ("user:*", "*"), {}) == "*"


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ({}, "*"),
        ({"count": 5}, "*"),
        ({"prefix": "user:"}, None),
        ({"prefix": "user:1"}, None),
        ({"prefix": "user"}, "user"),
        ({"prefix": ""}, ""),
        ({"match": "user:*"}, None),
        ({"match": "user:?"}, None),
        ({"match": "user:[ab]*"}, None),
        ({"match": "*"}, "*"),
        ({"match": "user*"}, "user*"),
        ({"match": "[u]ser:*"}, "[u]ser:*"),
        ({"prefix": "user:", "match": "*:name"}, None),
        ({"prefix": "u", "match": "user:*"}, None),
        ({"prefix": "u", "match": "*:name"}, "u"),
    ],
)
def test_a_scan_is_let_in_when_its_prefix_or_its_pattern_lies_inside(payload: Any, expected: str | None) -> None:
    assert stray("kv.scan", ("user:*",), payload) == expected


@pytest.mark.parametrize(
    ("payload", "expected"),
    [({}, "*"), ({"match": "*"}, "*"), ({"match": "user:*"}, None), ({"match": "user:1"}, None), ({"match": "u"}, "u")],
)
def test_keys_are_listed_when_their_pattern_lies_inside(payload: Any, expected: str | None) -> None:
    assert stray("kv.keys", ("user:*",), payload) == expected


@pytest.mark.parametrize(
    ("topics", "expected"),
    [
        (["news.*"], None),
        (["news.sport"], None),
        (["news.*.x"], None),
        (["news.sport.#"], None),
        (["news.sport", "news.*", "news.a.*.b"], None),
        (["news.#"], "news.#"),
        (["news"], "news"),
        (["*"], "*"),
        (["#"], "#"),
        (["*.sport"], "*.sport"),
        (["#.sport"], "#.sport"),
        (["news.sport", "newspaper.*"], "newspaper.*"),
    ],
)
def test_every_topic_that_is_subscribed_to_must_lie_inside(topics: list[str], expected: str | None) -> None:
    assert stray("pubsub.subscribe", ("news.*",), {"topics": topics}) == expected


@pytest.mark.parametrize(
    ("payload", "expected"),
    [({}, "*"), ({"pattern": "news.*"}, None), ({"pattern": "news.#"}, "news.#"), ({"pattern": "news.sport"}, None)],
)
def test_topics_are_listed_when_their_pattern_lies_inside(payload: Any, expected: str | None) -> None:
    assert stray("pubsub.topics", ("news.*",), payload) == expected


def test_all_levels_below_a_topic_and_the_topic_itself_need_two_permissions() -> None:
    assert not lies_inside("news.#", "topic", "news.*")
    assert lies_inside("news.#", "topic", "news*")
    assert lies_inside("#", "topic", "*")


@pytest.mark.parametrize(
    ("topic", "pattern"), [("a.[b].*", "a.[b].*"), ("a.\\b.*", "a.\\b.*"), ("a.[b]", "a.[b]"), ("*.[b]", "*.[b]")]
)
def test_what_is_a_letter_in_a_topic_and_a_sign_in_a_glob_is_not_confused(topic: str, pattern: str) -> None:
    assert not lies_inside(topic, "topic", pattern)


# Properties: whatever is let in is inside


@settings(max_examples=500, deadline=None)
@given(TEXTS, TEXTS)
def test_a_key_lies_inside_just_the_patterns_that_match_it(key: str, pattern: str) -> None:
    assert lies_inside(key, None, pattern) is naively(pattern, key)


def globbed(pattern: str) -> st.SearchStrategy[str]:
    """Texts that a glob matches; of a class without members, none that it does."""
    pieces: list[st.SearchStrategy[str]] = []
    while pattern:
        sign, pattern = pattern[0], pattern[1:]
        if sign == "*":
            pieces.append(st.text(ALPHABET, max_size=3))
        elif sign == "?":
            pieces.append(st.sampled_from(ALPHABET))
        elif sign == "[":
            members = [char for char in ALPHABET if naively_in_class(pattern, char)[0]]
            pieces.append(st.sampled_from(members or ["a"]))
            pattern = naively_in_class(pattern, "a")[1]
        else:
            if sign == "\\" and pattern:
                sign, pattern = pattern[0], pattern[1:]
            pieces.append(st.just(sign))
    return st.tuples(*pieces).map("".join)


def named(topic: str) -> st.SearchStrategy[str]:
    """Topics that a topic pattern matches."""
    level = st.text(ALPHABET.replace(".", ""), max_size=2)
    one_level = {"*": st.tuples(level), "#": st.lists(level, max_size=2)}
    runs = [one_level.get(wanted, st.just((wanted,))) for wanted in topic.split(".")]
    return st.tuples(*runs).map(lambda found: ".".join(level for run in found for level in run))


def stands_for(text: str, scope: Scope | None, name: str) -> bool:
    if scope is None:
        return name == text
    if scope == "prefix":
        return name.startswith(text)
    return naively(text, name) if scope == "glob" else topic_trie.matches(text, name)


@st.composite
def scoped(draw: st.DrawFn, scope: Scope | None) -> tuple[str, str, str]:
    """A text, a pattern that it may well lie inside, and a name that the text stands for."""
    text = draw(TEXTS)
    start = text[: draw(st.integers(0, len(text)))]
    pattern = draw(st.one_of(st.just(text), st.just(start + "*"), st.just(start), TEXTS))
    match scope:
        case None:
            name = text
        case "prefix":
            name = text + draw(st.text(ALPHABET, max_size=3))
        case "glob":
            name = draw(globbed(text))
        case "topic":
            name = draw(named(text))
    return text, pattern, name


@pytest.mark.parametrize("scope", SCOPES)
@settings(max_examples=1_500, deadline=None)
@given(data=st.data())
def test_whatever_a_text_inside_a_pattern_stands_for_matches_the_pattern(
    scope: Scope | None, data: st.DataObject
) -> None:
    text, pattern, name = data.draw(scoped(scope))
    if stands_for(text, scope, name) and lies_inside(text, scope, pattern):
        assert naively(pattern, name)


@pytest.mark.parametrize("scope", SCOPES)
@settings(max_examples=300, deadline=None)
@given(stem=st.text(PLAIN, max_size=4), rest=st.text(ALPHABET, max_size=4))
def test_a_text_that_goes_on_from_the_stem_of_a_pattern_lies_inside(scope: Scope | None, stem: str, rest: str) -> None:
    if scope == "topic":
        rest = rest.replace("#", "*")
        stem += "."
    assert lies_inside(stem + rest, scope, stem + "*")


PERMISSIONS = st.builds(Permission, TEXTS, st.none() | TEXTS)


@st.composite
def narrowed(draw: st.DrawFn) -> tuple[Permission, Permission]:
    """A permission, and one that may well cover it."""
    one = draw(PERMISSIONS)
    texts = (one.commands, one.keys or "*")
    wide = [draw(st.sampled_from([text, text[: len(text) // 2] + "*", "*"])) for text in texts]
    return one, Permission(wide[0], draw(st.sampled_from([None, wide[1]])))


@settings(max_examples=1_500, deadline=None)
@given(st.one_of(narrowed(), st.tuples(PERMISSIONS, PERMISSIONS)), st.data())
@example((Permission("kv.get", None), Permission("kv.*", "*")), None)
def test_what_a_covered_permission_allows_is_allowed_by_the_other(
    pair: tuple[Permission, Permission], data: st.DataObject | None
) -> None:
    one, other = pair
    if data is None:
        assert not other.covers(one)
        return
    command = data.draw(globbed(one.commands))
    key = data.draw(globbed("*" if one.keys is None else one.keys))
    if other.covers(one) and allows(one, command, key):
        assert allows(other, command, key)
        assert other.keys is None or one.keys is not None


def allows(permission: Permission, command: str, key: str) -> bool:
    return naively(permission.commands, command) and (permission.keys is None or naively(permission.keys, key))


@pytest.mark.parametrize(
    ("wide", "narrow", "expected"),
    [
        ("*", "kv.get:user:*", True),
        ("kv.*", "kv.get", True),
        ("kv.*", "kv.*:user:*", True),
        ("kv.*:user:*", "kv.get:user:1", True),
        ("kv.*:user:*", "kv.*:user:*", True),
        ("kv.[gs]et:a*b", "kv.[gs]et:a*b", True),
        ("kv.get", "kv.*", False),
        ("kv.*:user:*", "kv.get", False),
        ("kv.*:user:*", "kv.get:u*", False),
        ("kv.get:user:*", "*", False),
    ],
)
def test_a_permission_covers_what_is_narrower(wide: str, narrow: str, expected: bool) -> None:
    assert permission(wide).covers(permission(narrow)) is expected


@settings(max_examples=200, deadline=None)
@given(PERMISSIONS)
def test_a_permission_covers_itself(one: Permission) -> None:
    assert one.covers(one)


# The whole table

every_command = pytest.mark.parametrize("row", PUBLIC.values(), ids=lambda row: row.name)
commands_on_keys = [row for row in PUBLIC.values() if row.keys or row.scopes]


@every_command
def test_a_command_says_which_fields_are_keys_or_is_known_to_have_none(row: Command) -> None:
    has_none = row.name in KEYLESS or row.namespace in KEYLESS_NAMESPACES
    assert bool(row.keys or row.scopes) is not has_none
    if row.scopes:
        assert set(row.keys) <= set(row.scopes), "keys beside scopes would go unchecked"


@every_command
def test_a_command_that_declares_no_keys_takes_none(row: Command) -> None:
    assert row.keys or row.scopes or not key_places(row)


@pytest.mark.parametrize("row", commands_on_keys, ids=lambda row: row.name)
def test_a_stray_key_is_found_wherever_it_stands_in_a_payload(row: Command) -> None:
    for place in key_places(row):
        own, stray = (msgspec.json.decode(place % f'"{key}"', type=row.payload) for key in (SAMPLE_KEY, STRAY_KEY))
        assert outside(row, own, KeyPatterns((SAMPLE_KEY,))) is None, place
        assert outside(row, stray, KeyPatterns((SAMPLE_KEY,))) == STRAY_KEY, place


@pytest.mark.parametrize("row", [row for row in commands_on_keys if not row.scopes], ids=lambda row: row.name)
def test_a_command_on_keys_names_at_least_one(row: Command) -> None:
    payloads = [msgspec.json.decode(msgspec.json.encode(sample), type=row.payload) for sample in samples(row)]
    names_none = [payload for payload in payloads if not list(named_keys(row, payload))]
    assert bool(names_none) is (row.name in ON_NO_KEY)


def test_the_lists_of_exceptions_name_only_what_exists() -> None:
    assert set(PUBLIC) >= KEYLESS | ON_NO_KEY
