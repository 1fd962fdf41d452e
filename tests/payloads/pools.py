"""What random payloads are made of: few values, so that commands meet each other's, and each there for a reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from msgspec import inspect

# Sorted by their bytes they come in another order than they are written here.
KEYS = ("a", "B", "é", "\U0001f511", "a\0b", "long" * 20)
TTLS = (2.0, 0.001, 0.5, 1, 10, 86_400, 0, -1)

JSON = [
    b"1",
    b"0",
    b"7",
    b"-3",
    b"9223372036854775807",
    b"12345678901234567890123",
    b"1.10",
    b"1e999",
    b"-0.0",
    b"null",
    b'""',
    b'"text"',
    b'"\\u00e9\\/\\ud83d\\udd11"',
    '"é\U0001f511"'.encode(),
    b"[1, [ 2 ],{}]",
    b'{"b":1, "a" : [ ],"b":2}',
    b'"%b"' % (b"x" * 300),
]
BASE64 = ["AP9iaW4=", "", "aGVsbG8="]
FRAGMENTS = [orjson.Fragment(text) for text in JSON]

_NAMES = ["m", "", "n", "é\U0001f511", 'quote " and \\ and \0']
_TEXTS = ["x", "", "é\U0001f511", 'quote " and \\', "y" * 200]
_TEXTS_BY_FIELD = {
    **dict.fromkeys(("field", "fields", "element", "elements", "prefix"), _NAMES),
    **dict.fromkeys(("member", "members", "member1", "member2"), _NAMES),
    "match": ["*", "m*", "[A-n]", "?", "none"],
    "cursor": ["Pm0=", "PmE="],
    "min": ["-inf", "(1", "0"],
    "max": ["+inf", "(1", "2"],
    "type": ["u8", "i5", "u1", "i1", "i64", "u63"],
    "offset": ["#0", "#3"],
    "message_id": ["msg_1_1", "msg_1_2", "msg_2_1", "msg_2_2", "msg_1_3", "none"],
    "message_ids": ["msg_1_1", "msg_1_2", "msg_2_1", "msg_1_3"],
    "consumer_id": ["worker", "é", "other"],
    "dedup_id": ["once", "é", "twice"],
    "group": ["readers", "é"],
    "from_offsets": ["0", "1", "none"],
    "event_type": ["created", "é", "deleted"],
    "event_types": ["created", "é"],
    "epoch": ["none"],
    "username": ["ann", "é\U0001f511", "bob"],
    **{field: ["painters", "reader", "printers"] for field in ("role", "roles")},
    "permissions": ["kv.*", "kv.get:user:*", "queue.*:tasks"],
    "allowed_ips": ["127.0.0.1", "10.0.0.0/8", "::1"],
    "id": ["key_1", "key_2", "key_3", "key_4"],
}

_EXTREMES = [1, 2, -3, 0, 2**63 - 1, -(2**63)]
_POSITIONS = [0, -1, 1, -2, 2, 5, -5]
_FRACTIONS = [1.0, 0.1, -2.5, 0, 3, 1e300, -1e300]
_EXTENTS = [200.5, 0, 1, 20_000, 3e7]
_NUMBERS_BY_FIELD: dict[str, Sequence[float]] = {
    **{field: [*_EXTREMES, *_FRACTIONS] for field in ("amount", "increment")},
    "value": _EXTREMES,
    **dict.fromkeys(("start", "stop", "end", "index"), _POSITIONS),
    "rank": [1, -1, 2, -2, 0],
    "count": [1, 2, 3, 0, -1, -2],
    "offset": [0, 1, 2, 7, 8, 12, 100],
    "seed": [0, 1, 2, 3, 12_345, 2**53],
    "timeout": [0.01],
    "delay_secs": [0, 0.5, 2, 86_400],
    "ack_deadline": [0.5, 2, 30, 0.001],
    "ack_deadline_secs": [1, 0.002, 30],
    "max_retries": [1, 0, 3],
    "max_depth": [3, 1, 1_000],
    "max_messages": [2, 1, 10],
    "message_ttl_secs": [1.5, 0.001, 60],
    "initial_secs": [0, 0.25, 1],
    "max_secs": [60, 0.5, 0],
    "multiplier": [2, 1.5, 1],
    "priority": [5, 9, 0],
    "delivery": [1, 2],
    "deliveries": [1, 2],
    "partition": [0, 1, 2],
    "partitions": [1, 2, 3],
    "from_offset": [0, 1, 2, 50],
    "from_offsets": [0, 1, 2, 50],
    "from_timestamp": [0, 1_700_000_000_000, 9_000_000_000_000],
    "max_events": [2, 1, 100],
    "max_bytes": [40, 1, 100_000],
    "max_age_secs": [1, 0.001, 3_600],
    "last_seq": [0, 1, 100],
    "prefetch": [1, 2, 10_000],
    "limit": [2, 1, 100],
    **dict.fromkeys(("radius", "width", "height"), _EXTENTS),
    "longitude": [13.361389, 15.087269, 0, -180, 180],
    "latitude": [38.115556, 37.502669, 0, -85, 85],
}
_INTEGERS = [1, 0, -1, 2, 7, 12]


@dataclass(frozen=True)
class Pools:
    """What a caller may want to choose: whose keys, and how long they live."""

    keys: tuple[str, ...] = KEYS
    ttls: tuple[float, ...] = TTLS

    def numbers(self, node: inspect.IntType | inspect.FloatType, field: str) -> list[float]:
        """What the type and the name of a field allow, the plainest first."""
        named = self.ttls if field == "ttl" else _NUMBERS_BY_FIELD.get(field)
        unnamed = _INTEGERS if isinstance(node, inspect.IntType) else _FRACTIONS
        candidates: list[Sequence[float | None]] = [named or [], unnamed, [node.ge, node.le]]
        for pool in candidates:
            if found := [number for number in pool if number is not None and _fits(number, node)]:
                return found
        raise TypeError(f"{field}: {node} allows no number that is known here")


def texts(node: inspect.StrType, field: str) -> list[str]:
    """What the type and the name of a field allow, the plainest first."""
    shortest = node.min_length or 0
    return [text for text in _TEXTS_BY_FIELD.get(field, _TEXTS) if len(text) >= shortest]


def listed(node: inspect.Metadata) -> list[Any]:
    """The values that the schema of a field lists; none where it lists none."""
    values: list[Any] = (node.extra_json_schema or {}).get("enum", [])
    return values


def _fits(number: float, node: inspect.IntType | inspect.FloatType) -> bool:
    return (
        (isinstance(node, inspect.FloatType) or isinstance(number, int))
        and (node.ge is None or number >= node.ge)
        and (node.gt is None or number > node.gt)
        and (node.le is None or number <= node.le)
        and (node.lt is None or number < node.lt)
    )
