"""traceparent: what the W3C recommendation takes and refuses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synap.commands import trace

TRACE_ID, PARENT_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED = f"00-{TRACE_ID}-{PARENT_ID}-01"


@pytest.mark.parametrize(
    "header",
    [
        SAMPLED,
        f"00-{TRACE_ID}-{PARENT_ID}-00",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        f"00-{TRACE_ID}-{PARENT_ID}-ff",
        "00-00000000000000000000000000000001-0000000000000001-00",
    ],
)
def test_a_traceparent_is_kept_as_it_came(header: str) -> None:
    assert trace.parse(header) == header
    assert trace.trace_id(header) == header.split("-")[1]


@pytest.mark.parametrize("later", ["", "-", "-what-the-future-will-be-like", "-" + "a" * 200])
def test_a_later_version_may_have_more_behind_the_four_fields(later: str) -> None:
    header = f"cc-{TRACE_ID}-{PARENT_ID}-01{later}"
    assert trace.parse(header) == header
    assert trace.trace_id(header) == TRACE_ID


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "nonsense",
        SAMPLED.upper(),
        f"00-{TRACE_ID[:-1]}-{PARENT_ID}-01",
        f"00-{TRACE_ID}0-{PARENT_ID}-01",
        f"00-{TRACE_ID}-{PARENT_ID[:-1]}-01",
        f"00-{TRACE_ID}-{PARENT_ID}",
        f"00-{TRACE_ID}-{PARENT_ID}-1",
        f"0-{TRACE_ID}-{PARENT_ID}-01",
        f"ff-{TRACE_ID}-{PARENT_ID}-01",
        f"ff-{TRACE_ID}-{PARENT_ID}-01-more",
        f"00-{'0' * 32}-{PARENT_ID}-01",
        f"00-{TRACE_ID}-{'0' * 16}-01",
        f"cc-{'0' * 32}-{PARENT_ID}-01-more",
        f"{SAMPLED}-",
        f"{SAMPLED}-more",
        f"cc-{TRACE_ID}-{PARENT_ID}-01more",
        f"cc-{TRACE_ID}-{PARENT_ID}-01.more",
        f"cc-{TRACE_ID}-{PARENT_ID}-01-{'a' * 201}",
        f"cc-{TRACE_ID}-{PARENT_ID}-01-a\nb",
        f"{SAMPLED}\n",
        f" {SAMPLED}",
        f"{SAMPLED}, {SAMPLED}",
        SAMPLED.replace("4", "\u0664", 1),
    ],
)
def test_anything_else_is_none(header: str | None) -> None:
    assert trace.parse(header) is None


@given(st.text(st.sampled_from("0123456789abcdefABCDEFg-_ "), max_size=60) | st.text(max_size=60))
def test_what_is_kept_has_a_version_and_two_ids(header: str) -> None:
    assert trace.parse(header) is None or header[2] == header[35] == header[52] == "-"


@given(
    st.integers(0, 254),
    st.integers(1, 2**128 - 1),
    st.integers(1, 2**64 - 1),
    st.integers(0, 255),
    st.text("az-", max_size=9),
)
def test_every_traceparent_that_can_be_made_is_kept(
    version: int, trace_id: int, parent: int, flags: int, more: str
) -> None:
    header = f"{version:02x}-{trace_id:032x}-{parent:016x}-{flags:02x}" + (f"-{more}" if version and more else "")
    assert trace.parse(header) == header
    assert int(trace.trace_id(header), 16) == trace_id
