"""What the writers of answers have in common, whatever the protocol."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from feature_store.dtypes import TIMESTAMP, to_micros
from feature_store.plan.schema import Column, ViewSchema

_MOST_SELECTIONS = 256
"""Of a view, whose writers are kept."""

Chosen = tuple[str, ...] | None
"""The names of the features of an answer; None: all."""
W = TypeVar("W")


class AnswerWriters(Generic[W]):
    """The writers of all views; of a changed view a new one is made.

    Args:
        make: makes the writer of a view with certain features, some of them masked.
    """

    def __init__(self, make: Callable[[ViewSchema, Chosen, frozenset[str]], W]) -> None:
        self._make = make
        self._known: dict[str, tuple[ViewSchema, dict[tuple[Chosen, frozenset[str]], W]]] = {}

    def of(self, view: ViewSchema, chosen: Chosen, masked: frozenset[str]) -> W:
        """The writer of a view with certain features, some of them masked.

        Raises:
            InputError: if the view has no feature of a name.
        """
        known = self._known.get(view.id)
        if known is None or known[0] is not view:
            known = self._known[view.id] = (view, {})
        writer = known[1].get((chosen, masked))
        if writer is None:
            writer = self._make(view, chosen, masked)
            if len(known[1]) < _MOST_SELECTIONS:
                known[1][chosen, masked] = writer
        return writer


def in_micros(column: Column, values: Sequence[Any]) -> Sequence[Any]:
    """Values of a column with numbers in the place of instants: microseconds since the epoch."""
    if column.dtype != TIMESTAMP:
        return values
    return [None if value is None else to_micros(value) for value in values]
