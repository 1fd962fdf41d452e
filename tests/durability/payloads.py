"""A strategy for the payload of every write command, over a few keys, so that commands meet each other's traces."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import strategies as st

Payloads = st.SearchStrategy[dict[str, Any]]

# Sorted by their bytes they come in another order than they are written here.
KEYS = ["a", "B", "é", "\U0001f511", "a\0b", "long" * 20]
VALUES = [
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

keys = st.sampled_from(KEYS)
some_keys = st.lists(keys, min_size=1, max_size=4)
values = st.sampled_from(VALUES).map(orjson.Fragment)
ttls = st.sampled_from([2.0, 0.001, 0.5, 1, 10, 86_400])
texts = st.sampled_from(["", "x", "é\U0001f511", 'quote " and \\', "y" * 200])
amounts = st.one_of(st.integers(-3, 3), st.sampled_from([2**63 - 1, -(2**63)]))
flags = st.booleans()
pairs = st.one_of(
    st.lists(st.fixed_dictionaries({"key": keys, "value": values}, optional={"ttl": ttls}), max_size=4),
    st.dictionaries(keys, values, max_size=4),
)


def fields(required: dict[str, Any], /, **optional: Any) -> Payloads:
    """Payloads with all of the required fields and any of the optional ones."""
    return st.fixed_dictionaries(required, optional=optional)


increments = fields({"key": keys}, amount=amounts)
renames = fields({"source": keys, "destination": keys})

WRITES: dict[str, st.SearchStrategy[Any]] = {
    "kv.set": st.one_of(
        fields({"key": keys, "value": values, "ttl": ttls}),
        fields({"key": keys, "value": values}, ttl=ttls, nx=flags, xx=flags, get=flags, keep_ttl=flags),
    ),
    "kv.del": st.one_of(fields({"key": keys}), fields({"keys": some_keys})),
    "kv.incr": increments,
    "kv.decr": increments,
    "kv.incrbyfloat": fields({"key": keys, "amount": st.sampled_from([0, 0.1, -2.5, 1e300, -1e300])}),
    "kv.expire": fields({"key": keys, "ttl": st.one_of(ttls, st.sampled_from([0, -1]))}),
    "kv.persist": fields({"key": keys}),
    "kv.mset": fields({"pairs": pairs}),
    "kv.msetnx": st.one_of(
        fields({"pairs": pairs}), fields({"key": keys, "value": values}), st.tuples(keys, values).map(list)
    ),
    "kv.mdel": fields({"keys": some_keys}),
    "kv.append": fields({"key": keys, "value": texts}),
    "kv.setrange": fields({"key": keys, "offset": st.integers(0, 12), "value": texts}),
    "kv.getset": fields({"key": keys, "value": values}),
    "kv.getdel": fields({"key": keys}),
    "kv.flushdb": st.just({}),
    "key.rename": renames,
    "key.renamenx": renames,
    "key.copy": fields({"source": keys, "destination": keys}, replace=flags),
}

# Reads matter too: they may be the first to notice that something has expired, and that is journalled.
READS: dict[str, st.SearchStrategy[Any]] = {
    "kv.get": fields({"key": keys}),
    "kv.mget": fields({"keys": some_keys}),
    "kv.scan": fields({}, count=st.integers(1, 3)),
    "kv.stats": st.just({}),
    "kv.dbsize": st.just({}),
    "key.randomkey": st.just({}),
}

# Commands that are rare in life are rare here, too, or no sequence would ever get anywhere.
RARE = {"kv.flushdb"}
