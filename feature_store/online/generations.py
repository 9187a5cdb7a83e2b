"""What is remembered, in a bounded number of entries."""

from __future__ import annotations

from itertools import islice
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Generations(Generic[K, V]):
    """A dict in two generations.

    When the young one has half of all entries, it becomes the old one, and what was old is forgotten but for what was
    kept again since: so there are never more, and what is read often stays.

    Args:
        entries: how many there are at most.
    """

    def __init__(self, entries: int) -> None:
        self._half = max(1, entries // 2)
        self.young: dict[K, V] = {}
        self.old: dict[K, V] = {}

    def __len__(self) -> int:
        return len(self.young) + len(self.old)

    def keep(self, entries: dict[K, V]) -> None:
        """Takes entries into the young generation, as many of them as half of all; the dict is given away."""
        if len(entries) > self._half:
            entries = dict(islice(entries.items(), self._half))
        if len(self.young) + len(entries) > self._half:
            self.old, self.young = self.young, entries
        else:
            self.young.update(entries)
