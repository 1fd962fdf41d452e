"""Glob patterns against the cases Redis users know and against a naive matcher with Redis's rules."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from synap.engines import glob


def matches(pattern: str, text: str) -> bool:
    return glob.compiled(pattern).fullmatch(text) is not None


CASES = [
    ("hello", "hello", True),
    ("hello", "hell", False),
    ("hello", "hello!", False),
    ("HELLO", "hello", False),
    ("", "", True),
    ("", "a", False),
    ("*", "", True),
    ("*", "anything\nat all", True),
    ("***", "abc", True),
    ("h*llo", "hllo", True),
    ("h*llo", "heeeello", True),
    ("h*llo", "heeeell", False),
    ("*a*b*", "xxaxxbxx", True),
    ("*a*b*", "xxbxxaxx", False),
    ("*aab", "aaab", True),
    ("a*a", "a", False),
    ("a**a", "aa", True),
    ("foo*bar*", "foobar", True),
    ("?", "", False),
    ("?", "é", True),
    ("?", "\n", True),
    ("h?llo", "hallo", True),
    ("h?llo", "hllo", False),
    ("*?", "", False),
    ("*?", "x", True),
    ("h[ae]llo", "hello", True),
    ("h[ae]llo", "hillo", False),
    ("h[^e]llo", "hallo", True),
    ("h[^e]llo", "hello", False),
    ("h[^e]llo", "hllo", False),
    ("h[a-c]llo", "hbllo", True),
    ("h[a-c]llo", "hdllo", False),
    ("h[c-a]llo", "hbllo", True),
    ("h[^a-c]llo", "hdllo", True),
    ("h[a-cx-z0]llo", "hyllo", True),
    ("h[a-cx-z0]llo", "h0llo", True),
    ("h[a-cx-z0]llo", "h-llo", False),
    ("[é-ü]", "ö", True),
    ("[a-]", "a", True),
    ("[a-]", "^", True),
    ("[-a]", "-", True),
    ("[a^]", "^", True),
    ("[!a]", "!", True),
    ("[!a]", "b", False),
    ("[]", "]", False),
    ("[]", "", False),
    ("[]]", "]", False),
    ("[^]", "a", True),
    ("[^]", "", False),
    ("[^]]", "a]", True),
    ("[*]", "*", True),
    ("[*]", "a", False),
    ("[?]x", "?x", True),
    ("[[]", "[", True),
    ("[.]", "a", False),
    ("[a&&b]", "&", True),
    ("[a||b]", "|", True),
    ("[a~~b]", "~", True),
    ("[\\]]", "]", True),
    ("[\\]]", "\\", False),
    ("[\\^a]", "^", True),
    ("[a\\-z]", "-", True),
    ("[a\\-z]", "m", False),
    ("[\\\\]", "\\", True),
    ("[abc", "b", True),
    ("[abc", "[abc", False),
    ("[^abc", "d", True),
    ("[^abc", "a", False),
    ("[a-c", "b", True),
    ("[a-", "-", True),
    ("[a\\", "\\", True),
    ("[", "[", False),
    ("x[", "x", False),
    ("[^", "a", True),
    ("\\*", "*", True),
    ("\\*", "a", False),
    ("\\?", "?", True),
    ("\\[a]", "[a]", True),
    ("\\a", "a", True),
    ("\\\\", "\\", True),
    ("\\", "\\", True),
    ("a\\", "a\\", True),
    ("]", "]", True),
    ("a]", "a]", True),
    ("^a$", "^a$", True),
    ("a.c", "abc", False),
    ("(a|b)+", "(a|b)+", True),
    ("user:*:name", "user:1:2:name", True),
    ("user:*:name", "user::name", True),
    ("user:*:name", "user:name", False),
    ("b\x00*", "b\x00c", True),
]


@pytest.mark.parametrize(("pattern", "text", "expected"), CASES)
def test_patterns_match_what_they_match_in_redis(pattern: str, text: str, expected: bool) -> None:
    assert matches(pattern, text) is expected
    assert naively(pattern, text) is expected


def naively(pattern: str, text: str) -> bool:
    """Redis's rules, character by character, trying everything."""
    if not pattern:
        return not text
    if pattern[0] == "*":
        return any(naively(pattern[1:], text[skipped:]) for skipped in range(len(text) + 1))
    if not text:
        return False
    if pattern[0] == "?":
        return naively(pattern[1:], text[1:])
    if pattern[0] == "[":
        found, rest = naively_in_class(pattern[1:], text[0])
        return found and naively(rest, text[1:])
    if pattern[0] == "\\" and len(pattern) > 1:
        pattern = pattern[1:]
    return pattern[0] == text[0] and naively(pattern[1:], text[1:])


def naively_in_class(rest: str, char: str) -> tuple[bool, str]:
    """Whether the class that `rest` begins with holds `char`, and what comes behind the class."""
    negated = rest.startswith("^")
    rest, found = rest[negated:], False
    while rest and rest[0] != "]":
        if rest[0] == "\\" and len(rest) > 1:
            found, rest = found or rest[1] == char, rest[2:]
        elif len(rest) > 2 and rest[1] == "-":
            low, high = sorted((rest[0], rest[2]))
            found, rest = found or low <= char <= high, rest[3:]
        else:
            found, rest = found or rest[0] == char, rest[1:]
    return found != negated, rest[1:]


@settings(max_examples=1_500, deadline=None)
@given(st.text("ab*?[]^-\\", max_size=10), st.text("abc-^]\\", max_size=7))
@example("*a[^", "ba")
@example("[a-]*]", "b]")
def test_any_pattern_matches_what_the_naive_matcher_matches(pattern: str, text: str) -> None:
    assert matches(pattern, text) is naively(pattern, text)


@settings(max_examples=300, deadline=None)
@given(st.text("ab*?\\[", max_size=8), st.text("ab*?\\[", max_size=8))
def test_every_match_begins_with_the_literal_prefix(pattern: str, text: str) -> None:
    if matches(pattern, text):
        assert text.startswith(glob.literal_prefix(pattern))


@pytest.mark.parametrize(
    ("pattern", "prefix"),
    [("user:*", "user:"), ("user:1", "user:1"), ("a?b", "a"), ("a[b]", "a"), ("a\\*", "a"), ("*", ""), ("", "")],
)
def test_the_literal_prefix_ends_at_the_first_special_character(pattern: str, prefix: str) -> None:
    assert glob.literal_prefix(pattern) == prefix


HOSTILE = ["a*" * 50, "*a" * 50, "*" * 1_000, "*?" * 50, "*[a-z]" * 50, "*" + "a" * 500, "*a?[^b]" * 20]


@pytest.mark.timeout(20)
@pytest.mark.parametrize("pattern", HOSTILE)
def test_a_hostile_pattern_is_answered_in_good_time(pattern: str) -> None:
    assert matches(pattern, "a" * 10_000)
    assert not matches(pattern + "b", "a" * 10_000)
    assert not matches(pattern + "*[^a]", "a" * 10_000)
