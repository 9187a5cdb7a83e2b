"""A MessagePack answer of the server, as it writes it and clients read it; docs/serving.md has the format."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from feature_store.online.codec import StoredRow
from feature_store.online.vectors import Status


class PackedGroup(msgspec.Struct, omit_defaults=True):
    """A group in a MessagePack answer: each entity once, values as they are stored.

    Attributes:
        rows: per entity the features; EMBEDDING is little-endian float32, TIMESTAMP microseconds.
        places: of every row of the request the place of its entity, -1 if it has none; absent if row i is of entity i.
        absent: the features of a row without an entity.
    """

    group: str
    stale: bool
    updated_at: int | None
    features: list[str]
    rows: list[StoredRow]
    statuses: list[Status]
    feature_timestamps: list[int | None]
    absent: StoredRow
    places: Sequence[int] | None = None


class PackedAnswer(msgspec.Struct, omit_defaults=True):
    """The groups of a view, its on-demand features column by column, and what does not fit 64 bits.

    Attributes:
        order: of a registered model its features, in its order: they may be some of the view's only.
    """

    id: str
    request_time: int
    row_count: int
    groups: list[PackedGroup]
    on_demand: dict[str, Sequence[Any]] = {}
    overflowed: dict[str, Sequence[int]] = {}
    masked: list[str] = []
    failed: dict[str, str] = {}
    order: list[str] = []
