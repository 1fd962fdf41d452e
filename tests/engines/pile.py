"""A list of numbers that stands for every type of value that is not a string."""

from __future__ import annotations

from typing import Any, ClassVar

from synap.engines.collection import Collection


class Pile(Collection):
    __slots__ = ("items",)
    type_name: ClassVar[str] = "pile"

    def __init__(self, items: list[int]) -> None:
        super().__init__()
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def used_bytes(self) -> int:
        return 100 + 8 * len(self.items)

    def copy(self) -> Pile:
        return Pile(self.items.copy())

    def dump(self) -> Any:
        return list(self.items)

    @classmethod
    def load(cls, dumped: Any) -> Pile:
        return cls(dumped)
