"""Vectors without the values that a reader must not see."""

from __future__ import annotations

from collections.abc import Set

import msgspec

from feature_store.online.codec import StoredRow
from feature_store.online.vectors import EntityRows, GroupVectors, OnlineVectors


def without(vectors: OnlineVectors, masked: Set[str]) -> OnlineVectors:
    """The same vectors, as a server answers them to somebody who must not see some features: these are None."""
    hidden = tuple(column.name for column in vectors.outputs if column.name in masked)
    if not masked:
        return vectors
    return msgspec.structs.replace(
        vectors,
        groups=[_group_without(part, masked) for part in vectors.groups],
        on_demand=[
            [None] * len(vectors) if column.name in masked else values
            for column, values in zip(vectors.view.on_demand, vectors.on_demand, strict=True)
        ],
        on_demand_overflows={name: of for name, of in vectors.on_demand_overflows.items() if name not in masked},
        failures={name: why for name, why in vectors.failures.items() if name not in masked},
        masked=hidden,
    )


def _group_without(part: GroupVectors, masked: Set[str]) -> GroupVectors:
    names = [feature.name for feature in part.group.features]
    if masked.isdisjoint(names):
        return part

    def shown(row: StoredRow) -> StoredRow:
        return [None if name in masked else value for name, value in zip(names, row, strict=True)]

    known = part.entities
    overflows = {name: of for name, of in known.overflows.items() if name not in masked}
    entities = EntityRows([*map(shown, known.rows)], known.statuses, known.timestamps, overflows)
    return GroupVectors(part.group, entities, part.places, shown(part.absent))
