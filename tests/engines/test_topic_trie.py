"""Topic patterns against the cases RabbitMQ users know, and the trie against a naive twin that tries everything."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from synap.engines.topic_trie import LEVELS_MAX, NAME_BYTES_MAX, TopicTrie, check_name, has_wildcards, matches

CASES = [
    ("a", "a", True),
    ("a", "b", False),
    ("a", "a.b", False),
    ("a.b", "a.b", True),
    ("a.b", "a", False),
    ("A", "a", False),
    ("*", "a", True),
    ("*", "a.b", False),
    ("*", "", True),
    ("*.b", "a.b", True),
    ("*.b", "b", False),
    ("*.*", "a", False),
    ("a.*", "a.b", True),
    ("a.*", "a", False),
    ("a.*", "a.", True),
    ("a.*", "a.b.c", False),
    ("a.*.c", "a.b.c", True),
    ("a.*.c", "a..c", True),
    ("#", "", True),
    ("#", "a", True),
    ("#", "a.b.c", True),
    ("a.#", "a", True),
    ("a.#", "a.b.c", True),
    ("a.#", "ab", False),
    ("a.#", "b.a", False),
    ("#.c", "c", True),
    ("#.c", "a.b.c", True),
    ("#.c", "a.c.b", False),
    ("a.#.c", "a.c", True),
    ("a.#.c", "a.b.b.c", True),
    ("a.#.c", "c", False),
    ("a.#.b.#.c", "a.b.x.b.c", True),
    ("a.#.b.#.c", "a.c.b", False),
    ("#.#", "", True),
    ("#.*", "", True),
    ("#.*", "a.b", True),
    ("*.#", "a.b", True),
    ("a.*.#", "a", False),
    ("a.*.#", "a.b", True),
    ("a.#.*", "a", False),
    ("#.a.#", "b.a.c", True),
    ("#.a.#", "b.c", False),
    ("#.#.#.#.a", "a.a.a.a", True),
    ("#.#.#.#.a", "a.a.a.b", False),
    ("", "", True),
    ("", "a", False),
    (".", ".", True),
    ("a..b", "a..b", True),
    ("a..b", "a.b", False),
    ("a.#.b", "a..b", True),
    ("a*", "a*", True),
    ("a*", "ab", False),
    ("a.b*", "a.bc", False),
    ("a.##", "a.##", True),
    ("a.##", "a.b", False),
    ("**", "a", False),
    ("*", "*", True),
    ("*", "#", True),
    ("#", "*.#", True),
    ("#.a", "#", False),
    ("*.a", "*", False),
    ("#.b", "#.a", False),
    ("a.#.c", "a.#.b.c", True),
]


def naively(pattern: list[str], topic: list[str]) -> bool:
    """The rules, level by level, trying everything."""
    if not pattern:
        return not topic
    if pattern[0] == "#":
        return any(naively(pattern[1:], topic[taken:]) for taken in range(len(topic) + 1))
    return bool(topic) and pattern[0] in ("*", topic[0]) and naively(pattern[1:], topic[1:])


def found_by(pattern: str, topic: str) -> bool:
    trie: TopicTrie[int] = TopicTrie()
    trie.add(pattern, 1)
    return trie.match(topic) == {1: pattern}


@pytest.mark.parametrize(("pattern", "topic", "expected"), CASES)
def test_patterns_match_what_they_match_in_rabbitmq(pattern: str, topic: str, expected: bool) -> None:
    assert matches(pattern, topic) is expected
    assert found_by(pattern, topic) is expected
    assert naively(pattern.split("."), topic.split(".")) is expected


patterns = st.lists(st.sampled_from(["a", "b", "*", "#", "", "a*"]), min_size=1, max_size=6).map(".".join)
topics = st.lists(st.sampled_from(["a", "b", "", "a*", "*", "#"]), min_size=1, max_size=6).map(".".join)


@settings(max_examples=1_500)
@given(patterns, topics)
@example("#.a.*.#.a", "a.a.a.a")
@example("*.#.*", "a")
def test_any_pattern_matches_what_the_naive_matcher_matches(pattern: str, topic: str) -> None:
    expected = naively(pattern.split("."), topic.split("."))
    assert matches(pattern, topic) is expected
    assert found_by(pattern, topic) is expected


@settings(max_examples=300)
@given(patterns, topics)
def test_a_pattern_matches_itself_and_without_wildcards_nothing_else(pattern: str, topic: str) -> None:
    assert matches(pattern, pattern)
    if not has_wildcards(pattern):
        assert matches(pattern, topic) is (pattern == topic)


@pytest.mark.parametrize("pattern", ["*", "#", "a.*", "*.a", "a.#.b", ".*", "#."])
def test_a_level_that_is_a_star_or_a_hash_is_a_wildcard(pattern: str) -> None:
    assert has_wildcards(pattern)


@pytest.mark.parametrize("pattern", ["", "a", "a.b", "a*", "*a.b#", "**", "a.##"])
def test_a_level_that_merely_contains_one_is_not(pattern: str) -> None:
    assert not has_wildcards(pattern)


def test_an_item_is_found_once_under_the_pattern_that_was_added_first() -> None:
    trie: TopicTrie[str] = TopicTrie()
    for pattern in ("x.y", "a.*", "a.b", "#"):
        trie.add(pattern, "one")
    assert trie.match("a.b") == {"one": "a.*"}
    trie.remove("a.*", "one")
    assert trie.match("a.b") == {"one": "a.b"}
    trie.add("a.*", "one")
    assert trie.match("a.b") == {"one": "a.b"}


def test_adding_again_what_is_there_changes_nothing() -> None:
    trie: TopicTrie[str] = TopicTrie()
    for pattern in ("a.*", "#", "a.*"):
        trie.add(pattern, "one")
    assert trie.match("a.b") == {"one": "a.*"}
    trie.remove("a.*", "one")
    assert trie.match("a.b") == {"one": "#"}


@pytest.mark.parametrize("pattern", ["a.b", "a.*", "x", "x.*", "*.b"])
def test_removing_what_was_not_added_is_an_error(pattern: str) -> None:
    trie: TopicTrie[str] = TopicTrie()
    trie.add("a.b", "one")
    trie.add("a.*.c", "one")
    trie.add("*.b", "one")
    with pytest.raises(KeyError):
        trie.remove(pattern, "other")


def test_nothing_is_left_of_a_pattern_that_is_removed() -> None:
    trie: TopicTrie[int] = TopicTrie()
    chosen = ["a.b", "a.*", "a.*.#", "a.*.c", "#", "#.#.b"]
    for item, pattern in enumerate(chosen):
        trie.add(pattern, item)
    for item, pattern in enumerate(chosen):
        assert item in trie.match(pattern)
        trie.remove(pattern, item)
        assert item not in trie.match(pattern)
    assert (trie._literal, trie._root.children) == ({}, {})


@pytest.mark.timeout(20)
def test_a_hostile_pattern_is_answered_in_good_time() -> None:
    trie: TopicTrie[str] = TopicTrie()
    levels = ["#", "a"] * (LEVELS_MAX // 2)
    hostile = [".".join(levels[:length]) for length in range(1, LEVELS_MAX + 1)]
    for pattern in hostile:
        trie.add(pattern, pattern)
    topic = ".".join(["a"] * (LEVELS_MAX - 1) + ["b"])
    expected = [pattern for pattern in hostile if pattern.endswith("#")]
    assert list(trie.match(topic)) == expected
    assert [pattern for pattern in hostile if matches(pattern, topic)] == expected


def test_a_pattern_of_any_number_of_levels_can_be_added_and_removed() -> None:
    trie: TopicTrie[int] = TopicTrie()
    deep = ".".join(["*"] * 20_000)
    trie.add(deep, 1)
    assert trie.match(deep.replace("*", "a")) == {1: deep}
    trie.remove(deep, 1)
    assert trie.match(deep) == {}


@pytest.mark.parametrize("name", ["", "a.b", "a" * NAME_BYTES_MAX, "." * (LEVELS_MAX - 1)])
def test_a_name_within_the_limits_is_fine(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a" * (NAME_BYTES_MAX + 1), f"at most {NAME_BYTES_MAX} bytes, got {NAME_BYTES_MAX + 1}: 'aaa"),
        ("é" * NAME_BYTES_MAX, f"at most {NAME_BYTES_MAX} bytes, got {2 * NAME_BYTES_MAX}"),
        ("." * LEVELS_MAX, f"at most {LEVELS_MAX} levels, got {LEVELS_MAX + 1}"),
    ],
)
def test_a_name_beyond_the_limits_is_refused_with_both_numbers(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_name(name)


ALL_TOPICS = [".".join(levels) for count in (1, 2, 3) for levels in product(["a", "b", ""], repeat=count)]
items = st.sampled_from("xyz")
few_patterns = st.lists(st.sampled_from("ab*#"), min_size=1, max_size=3).map(".".join)


class AgainstTwin(RuleBasedStateMachine):
    """The twin is a list of additions, searched from the first on."""

    def __init__(self) -> None:
        super().__init__()
        self.trie: TopicTrie[str] = TopicTrie()
        self.twin: list[tuple[str, str]] = []

    @rule(pattern=few_patterns, item=items)
    def add(self, pattern: str, item: str) -> None:
        self.trie.add(pattern, item)
        if (pattern, item) not in self.twin:
            self.twin.append((pattern, item))

    @rule(pattern=few_patterns, item=items)
    def remove(self, pattern: str, item: str) -> None:
        if (pattern, item) in self.twin:
            self.trie.remove(pattern, item)
            self.twin.remove((pattern, item))
        else:
            with pytest.raises(KeyError):
                self.trie.remove(pattern, item)

    @rule(position=st.integers(0, 20))
    def remove_one(self, position: int) -> None:
        if self.twin:
            self.trie.remove(*self.twin.pop(position % len(self.twin)))

    @invariant()
    def finds_what_the_twin_finds(self) -> None:
        for topic in ALL_TOPICS:
            expected: dict[str, str] = {}
            for pattern, item in self.twin:
                if naively(pattern.split("."), topic.split(".")):
                    expected.setdefault(item, pattern)
            assert list(self.trie.match(topic).items()) == list(expected.items())

    def teardown(self) -> None:
        for pattern, item in self.twin:
            self.trie.remove(pattern, item)
        assert (self.trie._literal, self.trie._root.children) == ({}, {})


TestAgainstTwin = AgainstTwin.TestCase
TestAgainstTwin.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
