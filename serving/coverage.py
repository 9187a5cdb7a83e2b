"""How much of what models read is there, feature by feature, from a sample: one row of one answer in eight.

To count every row would cost as much as to read it. Which rows count is left to chance, so over many answers the shares
are those of all rows, each answer with the same weight. The first answers of a process count all.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
from msgspec import Raw

from feature_store.online.codec import StoredRow
from feature_store.online.vectors import NO_ENTITY, GroupVectors, OnlineVectors, Status
from feature_store.plan.schema import ViewSchema
from serving.families import Family, Labels

COUNTED_ALL = 1_000
"""Answers of a process of which each counts."""
_LONGEST_GAP = 15
"""Between two answers that count, later; seven others on average."""
Outcome = Literal["present", "defaulted", "missing", "expired", "unavailable"]
_NIL = b"\xc0"
_WITHOUT_ROW: dict[Status, Outcome] = {
    Status.EXPIRED: "expired",
    Status.NOT_FOUND: "missing",
    Status.UNAVAILABLE: "unavailable",
}
_unpack = msgspec.msgpack.Decoder().decode


@dataclass
class _Part:
    """The counts of some features that are read together: those of a group, or the on-demand features of a view.

    Attributes:
        owner: the group or view.
        whole: rows on which all features were present; and other rows, by what was the same of all features.
        single: of other rows what was found of each feature, by its place.
    """

    owner: str
    features: tuple[str, ...]
    may_be_null: bool = True
    whole: Counter[Outcome] = field(default_factory=Counter)
    single: Counter[tuple[int, Outcome]] = field(default_factory=Counter)

    def note(self, values: StoredRow, absent: StoredRow, *, is_filled: bool) -> None:
        """Counts a row; where defaults are filled in, what is the default is taken for it."""
        for i, value in enumerate(values):
            if value is None:
                self.single[i, "missing"] += 1
            else:
                self.single[i, "defaulted" if is_filled and value == absent[i] else "present"] += 1

    def counts(self) -> Iterator[tuple[Labels, float]]:
        """What was found of each feature, and how often."""
        single, whole = self.single.copy(), self.whole.copy()
        for i, feature in enumerate(self.features):
            for outcome in ("present", "defaulted", "missing", "expired", "unavailable"):
                if number := whole[outcome] + single[i, outcome]:
                    yield (self.owner, feature, outcome), number


class Coverage:
    """The counts of one server process."""

    def __init__(self) -> None:
        self._parts: dict[tuple[str, tuple[str, ...], bool], _Part] = {}
        self._counted = self._passed_over = 0
        self._views: dict[tuple[str, str], tuple[ViewSchema, list[_Part]]] = {}

    def note(self, kind: str, vectors: OnlineVectors) -> None:
        """Counts one row of an answer, if it is its turn; `kind` is whether it is of a group or a view."""
        if self.is_due():
            self.count(kind, vectors)

    def is_due(self) -> bool:
        """Whether it is the turn of an answer; is asked once for each."""
        if self._passed_over:
            self._passed_over -= 1
            return False
        self._counted += 1
        if self._counted >= COUNTED_ALL:
            self._passed_over = int(random.random() * _LONGEST_GAP)
        return True

    def count(self, kind: str, vectors: OnlineVectors) -> None:
        """Counts one row of an answer, whose turn it is."""
        view = vectors.view
        known = self._views.get((kind, view.id))
        if known is None or known[0] is not view:
            known = self._views[kind, view.id] = (view, self._of(view))
        size = len(vectors.rows)
        place = 0 if size == 1 else int(random.random() * size)
        for part, counted in zip(vectors.groups, known[1], strict=False):  # on-demand features come last
            entity = place if part.places is None else part.places[place]
            if entity == NO_ENTITY:
                counted.whole["missing"] += 1
                continue
            status = part.entities.statuses[entity]
            if status is Status.PRESENT and not (counted.may_be_null and _has_null(part.entities.rows[entity])):
                counted.whole["present"] += 1
            elif status in _WITHOUT_ROW:
                counted.whole[_WITHOUT_ROW[status]] += 1
            else:
                _note_row(part, counted, entity, status)
        if vectors.on_demand:
            computed = [column[place] for column in vectors.on_demand]
            known[1][-1].note(computed, computed, is_filled=False)

    def families(self) -> Iterator[Family]:
        """The metric at the moment."""
        numbers: Counter[Labels] = Counter()
        for part in [*self._parts.values()]:
            numbers.update(dict(part.counts()))
        yield Family(
            "feature_store_feature_rows",
            "What was found of a feature, in a sample: one row of one answer in eight, by chance. It is present, "
            "defaulted (NULL or newer than the row, and has a default), missing (NULL, or no row), expired or "
            "unavailable. The owner is its group, of on-demand features the view",
            "counter",
            ("owner", "feature", "outcome"),
            dict(numbers),
        )

    def _of(self, view: ViewSchema) -> list[_Part]:
        """The counts for the groups of a view, and for its on-demand features."""
        found = []
        for viewed in view.groups:
            group = viewed.group
            may_be_null = any(feature.default is None for feature in group.features)
            found.append(self._part(group.id, tuple(feature.name for feature in group.features), may_be_null))
        if view.on_demand:
            found.append(self._part(view.id, tuple(column.name for column in view.on_demand), True))
        return found

    def _part(self, owner: str, features: tuple[str, ...], may_be_null: bool) -> _Part:
        return self._parts.setdefault((owner, features, may_be_null), _Part(owner, features, may_be_null))


def _has_null(row: Any) -> bool:
    if type(row) is Raw:
        body = bytes(row)
        return _NIL in body and None in _unpack(body)
    return None in row


def _note_row(part: GroupVectors, counted: _Part, entity: int, status: Status) -> None:
    row: Any = part.entities.rows[entity]
    values = _unpack(row) if type(row) is Raw else row
    counted.note(values, part.absent, is_filled=status is Status.DEFAULTED)
