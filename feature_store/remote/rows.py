"""Rows as servers have answered them, one by one, and vectors put together of rows out of several answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, repeat
from operator import itemgetter
from typing import Any, NamedTuple

from feature_store.online.codec import StoredRow
from feature_store.online.vectors import EntityRows, GroupVectors, OnlineVectors, Status
from feature_store.plan.schema import ViewedSchema, ViewSchema

_MOST_ROWS = 1_000
"""Of a request; of more the server says that it is too much."""
_KEY_TYPES = {str, int, bool, datetime, type(None)}
"""Of keys as rows have them; of others the server says what is wrong."""
_FOR_EVER = float("inf")
_USABLE = (Status.PRESENT, Status.DEFAULTED)
_PASSING = (Status.EXPIRED, Status.UNAVAILABLE)
"""What only a server knows the end of: an expired row is not found some time later."""


class Answer(NamedTuple):
    """What the rows of one answer have in common.

    Attributes:
        asked_at: when the call began (`time.monotonic`, as all times here).
        offset: what has to be added to such a time, in microseconds, to have at least the server's.
        complete_at: per group.
    """

    asked_at: float
    offset: float
    complete_at: tuple[int | None, ...]


class GroupRow(NamedTuple):
    """A group's part of a row."""

    values: StoredRow
    status: Status
    timestamp: int | None
    overflows: tuple[str, ...]


class Row(NamedTuple):
    """A row of a view.

    Attributes:
        expires_at: when the first of its groups does.
        may_be_kept: whether all of its groups were read, and have not expired.
    """

    answer: Answer
    expires_at: float
    may_be_kept: bool
    groups: tuple[GroupRow, ...]


@dataclass(frozen=True, eq=False)
class Target:
    """What is read, as its last answer has it; another answer with other columns makes another one.

    Attributes:
        seconds: how old its rows may be; 0: they are not remembered.
        pick: the key columns of a row.
    """

    view: ViewSchema
    masked: tuple[str, ...]
    chosen: frozenset[str] | None
    order: tuple[str, ...]
    seconds: float
    pick: Callable[[Mapping[str, Any]], Any]

    @classmethod
    def of(cls, vectors: OnlineVectors, seconds: float) -> Target:
        """The target of an answer; `seconds` is what the client allows."""
        view = vectors.view
        ages = [viewed.group.cache or 0 for viewed in view.groups]
        is_remembered = bool(ages and view.keys and not view.on_demand and not view.request)
        pick = itemgetter(*(key.name for key in view.keys)) if view.keys else len
        allowed = min(seconds, *(age / 1e6 for age in ages)) if is_remembered else 0.0
        return cls(view, vectors.masked, vectors.chosen, vectors.order, allowed, pick)

    def has(self, vectors: OnlineVectors) -> bool:
        """Whether an answer has the same columns."""
        same = vectors.view is self.view or vectors.view == self.view
        chosen = vectors.chosen == self.chosen and vectors.order == self.order
        return same and chosen and vectors.masked == self.masked

    def keys(self, rows: Sequence[Mapping[str, Any]]) -> list[Any] | None:
        """Something for each row that equal rows have in common; None if a server has to look at the rows first."""
        if not 0 < len(rows) <= _MOST_ROWS:
            return None
        try:
            found = [*map(self.pick, rows)]
        except (KeyError, TypeError):
            return None
        if len(self.view.keys) == 1:
            kinds: list[Any] = [*map(type, found)]  # 1 equals True, but a server refuses one of them
            used = {*kinds}
        else:
            kinds = [tuple(map(type, key)) for key in found]
            used = {*chain.from_iterable(kinds)}
        return [*zip(repeat(self), found, kinds)] if used <= _KEY_TYPES else None


def rows_of(vectors: OnlineVectors, asked_at: float) -> list[Row]:
    """The rows of an answer."""
    answer = Answer(asked_at, vectors.instant - asked_at * 1e6, (*vectors.complete_at,))
    parts = [_group_rows(part) for part in vectors.groups]
    ttls = [part.group.group.ttl for part in vectors.groups]
    found = []
    for groups in zip(*parts, strict=True):
        expiries = [
            (row.timestamp + ttl - answer.offset) / 1e6
            for row, ttl in zip(groups, ttls, strict=True)
            if ttl is not None and row.timestamp is not None and row.status in _USABLE
        ]
        kept = not any(row.status in _PASSING for row in groups)
        found.append(Row(answer, min(expiries, default=_FOR_EVER), kept, groups))
    return found


def _group_rows(part: GroupVectors) -> list[GroupRow]:
    flagged: dict[int, tuple[str, ...]] = {}
    for name, places in part.overflows.items():
        for i in places:
            flagged[i] = (*flagged.get(i, ()), name)
    columns = zip(_unshared(part.group, part.rows), part.statuses, part.timestamps, strict=True)
    return [GroupRow(*columns_of_row, flagged.get(i, ())) for i, columns_of_row in enumerate(columns)]


def _unshared(viewed: ViewedSchema, rows: Sequence[StoredRow]) -> Sequence[StoredRow]:
    """Rows whose lists are nobody else's: callers may change what they are given."""
    if not any(feature.dtype.kind == "LIST" for feature in viewed.features):
        return rows
    return [[[*value] if type(value) is list else value for value in row] for row in rows]


def together(target: Target, rows: Sequence[Mapping[str, Any]], read: Sequence[Row], now: float) -> OnlineVectors:
    """Vectors of rows out of several answers."""
    answers = {id(row.answer): row.answer for row in read}.values()
    groups = []
    for i, viewed in enumerate(target.view.groups):
        values, statuses, timestamps, flagged = zip(*[row.groups[i] for row in read], strict=True)
        overflows: dict[str, list[int]] = {}
        for place, names in enumerate(flagged) if any(flagged) else ():
            for name in names:
                overflows.setdefault(name, []).append(place)
        entities = EntityRows(
            [*_unshared(viewed, values)],
            [*statuses],
            [*timestamps],
            overflows,
        )
        groups.append(GroupVectors(viewed, entities, None, [None] * len(viewed.features)))
    instants = [[answer.complete_at[i] for answer in answers] for i in range(len(groups))]
    complete_at = [None if None in of else min(each for each in of if each is not None) for of in instants]
    instant = int(min(answer.offset for answer in answers) + now * 1e6)
    return OnlineVectors(
        target.view,
        rows,
        groups,
        complete_at,
        instant,
        chosen=target.chosen,
        masked=target.masked,
        order=target.order,
    )
