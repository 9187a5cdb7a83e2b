"""A server's MessagePack answer as vectors: values stay as they are stored until they are asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any

import msgspec

from feature_store.dtypes import from_micros
from feature_store.online.codec import StoredRow
from feature_store.online.packed import PackedAnswer, PackedGroup
from feature_store.online.vectors import EntityRows, GroupVectors, OnlineVectors
from feature_store.plan.schema import Column, ViewedSchema, ViewSchema

read_answer = msgspec.msgpack.Decoder(PackedAnswer).decode


def vectors_of(
    answer: PackedAnswer, view: ViewSchema, rows: Sequence[Mapping[str, Any]], features: Sequence[str] | None
) -> OnlineVectors | None:
    """The vectors that an answer holds; None if it is not one of this view as it is known here.

    Args:
        rows: that were asked for.
        features: likewise; None: all.
    """
    order = tuple(answer.order)
    chosen = frozenset(order) if order else None if features is None else frozenset(features)
    groups = answer.groups
    if not _fits(answer, view, chosen):
        return None
    computed = answer.on_demand
    overflowed = answer.overflowed
    stored = {name for part in groups for name in part.features} if overflowed else ()
    return OnlineVectors(
        view,
        rows,
        [_group_vectors(part, viewed, overflowed) for part, viewed in zip(groups, view.groups, strict=True)],
        [part.updated_at for part in groups],
        answer.request_time,
        [_values(column, computed.get(column.name), len(rows)) for column in view.on_demand],
        {name: of for name, of in overflowed.items() if name not in stored},
        answer.failed,
        chosen,
        tuple(answer.masked),
        [part.stale for part in groups],
        order=order,
    )


def _fits(answer: PackedAnswer, view: ViewSchema, chosen: frozenset[str] | None) -> bool:
    """Whether an answer has the groups and features of a view, or those of them that were asked for."""
    if answer.order and not frozenset(answer.order).issubset(column.name for column in view.outputs):
        return False
    if answer.id != view.id or len(answer.groups) != len(view.groups):
        return False
    for part, viewed in zip(answer.groups, view.groups, strict=True):
        if part.group != viewed.id or part.features != _wanted(viewed.features, chosen):
            return False
    return [*answer.on_demand] == _wanted(view.on_demand, chosen)


def _wanted(columns: Sequence[Column], chosen: frozenset[str] | None) -> list[str]:
    return [column.name for column in columns if chosen is None or column.name in chosen]


def _group_vectors(part: PackedGroup, viewed: ViewedSchema, overflowed: Mapping[str, Sequence[int]]) -> GroupVectors:
    rows: list[StoredRow] = [*part.rows]
    absent: StoredRow = part.absent
    if len(part.features) < len(viewed.features):  # the others are NULL: vectors have the places of the view
        places = {name: i for i, name in enumerate(part.features)}
        spread = [places.get(feature.name, -1) for feature in viewed.features]
        rows = [_spread(row, spread) for row in rows]
        absent = _spread(absent, spread)
    return GroupVectors(
        viewed,
        EntityRows(rows, part.statuses, part.feature_timestamps, _overflows(part, overflowed)),
        part.places,
        absent,
    )


def _spread(row: StoredRow, places: Sequence[int]) -> StoredRow:
    found = itemgetter(*places)((*row, None))
    return found if len(places) > 1 else (found,)


def _overflows(part: PackedGroup, overflowed: Mapping[str, Sequence[int]]) -> dict[str, list[int]]:
    """The entities of which a feature does not fit 64 bits; an answer tells the rows."""
    places = part.places
    return {
        name: [*overflowed[name]] if places is None else sorted({places[row] for row in overflowed[name]})
        for name in part.features
        if name in overflowed
    }


def _values(column: Column, values: Sequence[Any] | None, count: int) -> Sequence[Any]:
    """An on-demand feature: NULL where it was not asked for; an answer has instants as numbers."""
    if values is None:
        return [None] * count
    if column.dtype.kind == "TIMESTAMP":
        return [None if value is None else from_micros(value) for value in values]
    return values
