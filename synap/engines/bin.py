"""What has been thrown away and takes long to free: it is taken apart in portions, between requests.

Freeing a collection of a million elements takes 0.1 s. What is thrown in here is not part of the state any more, so
nobody can tell when it goes. Where nobody comes to free it (`is_emptied`), it goes at once.

Only what nobody else holds is taken apart: what lives on in another place just leaves the bin.
"""

from __future__ import annotations

import gc
import sys
from collections import deque
from typing import Any

from sortedcontainers import SortedList

from synap.engines.collection import Collection, NameOrder

PORTION = 500
"""How many elements are freed at a time: some tenths of a millisecond."""
WORTH_THROWING = 1_000
"""What has fewer elements is freed where it is dropped."""

_CONTAINERS = (dict, list, deque)
# A container inside another is taken apart by itself if it has as many elements.
_WORTH_KEEPING = 50
# What holds containers in its attributes and takes no time itself.
_HULLS = (Collection, NameOrder, SortedList)
# `free` has one, and the function that counts has another.
_OUR_REFERENCES = 2


class Bin:
    """Everything thrown away on one server that has not been freed yet."""

    def __init__(self) -> None:
        self.is_emptied = False
        """Whether somebody comes to `free` what is in it; if not it takes nothing."""
        self._content: list[Any] = []

    def __bool__(self) -> bool:
        return bool(self._content)

    def throw(self, value: Any, elements: int) -> None:
        """Have a container or collection of so many elements freed later. The caller drops it now."""
        if self.is_emptied and elements >= WORTH_THROWING:
            self._content.append(value)

    def free(self) -> None:
        """Free one portion of what is there."""
        value = self._content.pop()
        if sys.getrefcount(value) > _OUR_REFERENCES:
            return
        if isinstance(value, _CONTAINERS):
            self._free_portion(value)
        else:
            self._keep(gc.get_referents(value))

    def _free_portion(self, value: dict[Any, Any] | list[Any] | deque[Any]) -> None:
        """Free a portion of a container, and put it back if there is more."""
        count = min(PORTION, len(value))
        if isinstance(value, list):
            parts = value[-count:]
            del value[-count:]
        elif isinstance(value, deque):
            parts = [value.pop() for _ in range(count)]
        else:
            parts = _values_of_portion(value)
        if value:
            self._content.append(value)
        self._keep(parts)

    def _keep(self, parts: list[Any]) -> None:
        """Take what is worth it among the parts of something. Hulls come to be freed first: they hold the others."""
        self._content += [part for part in parts if isinstance(part, _CONTAINERS) and len(part) >= _WORTH_KEEPING]
        self._content += [part for part in parts if isinstance(part, _HULLS)]


def _values_of_portion(table: dict[Any, Any]) -> list[Any]:
    """Values taken out of a table, fewer when they hold much themselves."""
    values = []
    weight = 0
    while table and weight < PORTION:
        _, value = table.popitem()
        weight += 1
        if isinstance(value, Collection):
            weight += value.tallied_elements
        values.append(value)
    return values
