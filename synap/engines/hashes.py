"""Hashes: fields with JSON values, in the order the fields were first set.

Small hashes are mostly records with the same fields: their names are interned, so that a million records hold each
name once. It is counted for the hash that brought it, which makes the memory of a single hash depend on the past.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from itertools import compress, filterfalse, repeat
from typing import Any, ClassVar

from synap.engines.collection import FEW, Collection, NameOrder, json_bytes, jsons_bytes, text_bytes, texts_bytes

# The object, its dict's head and the keyspace's reference to it.
_BASE_BYTES = 110
# A hash of up to this many fields may be a record among others.
_RECORD_FIELDS_MAX = 64


class Hash(Collection):
    """Fields of one key. Every operation on a field is O(1), or O(log n) once the hash has been scanned."""

    __slots__ = ("_names_bytes", "_order", "_values_bytes", "fields")
    type_name: ClassVar[str] = "hash"

    def __init__(self) -> None:
        super().__init__()
        self.fields: dict[str, bytes] = {}
        """To look at; `set` and `delete` change it."""
        self._order = NameOrder(self.fields)
        self._names_bytes = 0
        """Of names that no other hash held when they came."""
        self._values_bytes = 0

    def set(self, field: str, value: bytes) -> bool:
        """Store a value; says whether the field is new."""
        old = self.fields.get(field)
        if old is not None:
            self.fields[field] = value
            self._values_bytes += len(value) - len(old)
            return False
        own = field.encode().decode()  # the decoder of requests shares short names itself
        field = sys.intern(own) if len(self.fields) < _RECORD_FIELDS_MAX else own
        self.fields[field] = value
        if field is own:
            self._names_bytes += text_bytes(field)
        self._values_bytes += json_bytes(value)
        self._order.added(field)
        return True

    def delete(self, field: str) -> bool:
        """Drop a field; says whether it was there."""
        old = self.fields.pop(field, None)
        if old is None:
            return False
        self._names_bytes -= min(text_bytes(field), self._names_bytes)
        self._values_bytes -= json_bytes(old)
        self._order.removed(field)
        return True

    def set_all(self, fields: dict[str, bytes]) -> int:
        """Store values; says how many fields are new."""
        if len(self.fields) + len(fields) <= _RECORD_FIELDS_MAX:
            return sum([self.set(field, value) for field, value in fields.items()])
        old = list(filter(None, map(self.fields.get, fields)))
        new = list(filterfalse(self.fields.__contains__, fields)) if old else list(fields)
        self._names_bytes += texts_bytes(new)
        self._values_bytes += jsons_bytes(fields.values()) - jsons_bytes(old)
        self.fields.update(fields)
        self._order.added_all(new)
        return len(new)

    def delete_all(self, fields: Sequence[str]) -> int:
        """Drop fields; says how many were there."""
        if len(fields) <= FEW:
            return sum([self.delete(field) for field in fields])
        values = list(map(self.fields.pop, fields, repeat(b"")))
        deleted, old = list(compress(fields, values)), list(filter(None, values))
        self._names_bytes -= min(texts_bytes(deleted), self._names_bytes)
        self._values_bytes -= jsons_bytes(old)
        if self.fields:
            self._order.removed_all(deleted)
        else:
            self._order.cleared()
        return len(deleted)

    def after(self, field: str | None, prefix: str) -> Iterator[str]:
        """Fields in order from the first one behind `field` on, see NameOrder.after."""
        return self._order.after(field, prefix)

    def __len__(self) -> int:
        return len(self.fields)

    def used_bytes(self) -> int:
        """See Collection."""
        return _BASE_BYTES + sys.getsizeof(self.fields) + self._names_bytes + self._values_bytes

    def copy(self) -> Hash:
        """See Collection."""
        if len(self.fields) <= _RECORD_FIELDS_MAX:
            return Hash.load(self.fields)
        copied = Hash()
        copied.fields.update(self.fields)
        copied._names_bytes, copied._values_bytes = self._names_bytes, self._values_bytes
        return copied

    def dump(self) -> Any:
        """See Collection."""
        return dict(self.fields)

    @classmethod
    def load(cls, dumped: Any) -> Hash:
        """See Collection."""
        loaded = cls()
        loaded.set_all(dumped)
        return loaded
