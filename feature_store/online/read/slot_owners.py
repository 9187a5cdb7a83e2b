"""Who has which slots of a cluster, as the native core takes it: a number for each slot."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Generic, TypeVar

from feature_store.online.read.topology import SLOTS

T = TypeVar("T")
_NOBODY = 0xFFFF
_MOST = 0xFFFE


class SlotOwners(Generic[T]):
    """Owners by numbers.

    Attributes:
        table: of each slot the number of its owner, as `NativeCommand.by_node` takes it.
    """

    def __init__(self) -> None:
        self._numbers: dict[T, int] = {}
        self._owners: list[T] = []
        self._of_slot = array("H", [_NOBODY]) * SLOTS
        self.table = self._of_slot.tobytes()

    def __getitem__(self, number: int) -> T:
        return self._owners[number]

    def adopt(self, owners: Sequence[T | None]) -> None:
        """Takes over who has which slot; None: nobody is known to."""
        self._numbers, self._owners = {}, []
        self._of_slot = array("H", [_NOBODY if owner is None else self._number_of(owner) for owner in owners])
        self.table = self._of_slot.tobytes()

    def move(self, slot: int, owner: T) -> None:
        """Notes another owner of a slot."""
        if len(self._owners) < _MOST:  # else the next look at the topology says it
            self._of_slot[slot] = self._number_of(owner)
            self.table = self._of_slot.tobytes()

    def _number_of(self, owner: T) -> int:
        number = self._numbers.setdefault(owner, len(self._owners))
        if number == len(self._owners):
            self._owners.append(owner)
        return number
