"""One part of a join: labels, and the files that hold the rows of their keys, joined chunk by chunk.

Whoever schedules parts says what becomes of the values that are found: `join` puts them into columns in memory,
`spilled` into a scratch file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from feature_store.pit.chunks import Chunk, newest_first
from feature_store.pit.kernel import NO_ROW, EncodedLabels, encode_labels, match_rows
from feature_store.pit.planning import GroupPlan, PlannedFile, bucket_numbers
from feature_store.pit.reading import KeyShare, read_rows, share_numbers
from feature_store.pit.semantics import KnownBy
from feature_store.plan.schema import GroupSchema

Int64s = NDArray[np.int64]

Put: TypeAlias = "Callable[[GroupPlan, Int64s, Mapping[str, pa.Array]], None]"
"""Takes the positions of labels, ascending, and the values found for them, by the group's names of the features."""

NO_BUCKET = -1


@dataclass(frozen=True)
class PartLabels:
    """The labels of a part, or some of them: where they stand among all labels (ascending), their keys and times."""

    positions: Int64s
    keys: tuple[pa.Array, ...]
    times: Int64s

    def some(self, places: Int64s) -> PartLabels:
        chosen = pa.array(places)
        return PartLabels(self.positions[places], tuple(key.take(chosen) for key in self.keys), self.times[places])

    @cached_property
    def encoded(self) -> EncodedLabels:
        return encode_labels(self.keys, self.times)


def of_one_entity(plans: Sequence[GroupPlan]) -> list[list[GroupPlan]]:
    """The plans that have files, those of one key and number of buckets together."""
    together: dict[tuple[tuple[str, ...], int], list[GroupPlan]] = {}
    for plan in plans:
        if plan.files:
            together.setdefault((tuple(key.name for key in plan.viewed.keys), plan.buckets), []).append(plan)
    return list(together.values())


def buckets_of(keys: pa.ChunkedArray, plan: GroupPlan) -> Int64s:
    """The bucket of each value of a plan's bucket key; none where it is NULL: such a key is missing."""
    if plan.buckets == 1:
        return np.where(pc.is_null(keys).to_numpy(), NO_BUCKET, 0)
    numbers: Int64s = pc.fill_null(bucket_numbers(keys, plan.bucket_key.dtype, plan.buckets), NO_BUCKET).to_numpy()
    return numbers


def present_buckets(keys: pa.ChunkedArray, plan: GroupPlan) -> set[int]:
    """The buckets of a plan that hold one of the keys."""
    numbers = buckets_of(keys, plan)
    return set(np.unique(numbers[numbers != NO_BUCKET]).tolist())


def number_of_parts(buckets: int, rows: int, rows_per_part: int) -> int:
    """The smallest divisor of the buckets that keeps a part small: a key of bucket b is in part b % divisor."""
    return next(n for n in range(1, buckets + 1) if buckets % n == 0 and (rows <= n * rows_per_part or n == buckets))


def split_by_part(buckets: Int64s, parts: int) -> Iterator[tuple[int, Int64s]]:
    """The places of the labels in each part that has some, ascending; those of no bucket are in none."""
    part_of_label = np.where(buckets == NO_BUCKET, parts, buckets % parts)
    by_part = np.argsort(part_of_label.astype(np.min_scalar_type(parts)), kind="stable")  # 8 and 16 bits sort by radix
    ends = np.searchsorted(part_of_label[by_part], np.arange(parts + 1))
    for part in range(parts):
        if ends[part] < ends[part + 1]:
            yield part, by_part[ends[part] : ends[part + 1]]


def files_of(plan: GroupPlan, part: int, parts: int) -> tuple[PlannedFile, ...]:
    """The files that hold the rows of a part's keys."""
    return tuple(file for file in plan.files if file.bucket % parts == part)


def join_group(
    labels: PartLabels,
    plan: GroupPlan,
    files: Sequence[PlannedFile],
    known_by: KnownBy,
    put: Put,
    rows_at_once: int,
) -> None:
    """Joins labels with one group, chunk by chunk, until each of them has found its row or none can."""
    waiting = np.ones(len(labels.times), np.bool_)
    for chunk in newest_first(files, len(labels.times), rows_at_once):
        asking = np.flatnonzero(waiting & _may_find(labels.times, chunk, plan.group))
        for share, places in _shares(labels, asking, chunk):
            asked = labels if len(places) == len(labels.times) else labels.some(places)
            found = _join_rows(asked, plan, chunk, share, known_by, put)
            waiting[places[found]] = False
        if not waiting.any():
            return


def _may_find(times: Int64s, chunk: Chunk, group: GroupSchema) -> NDArray[np.bool_]:
    """Whether a chunk can have a row for a label."""
    may_find = np.ones(len(times), np.bool_)
    if chunk.begin is not None and chunk.end is not None:
        may_find &= times - group.availability_delay >= chunk.begin
        if group.ttl is not None:
            may_find &= times - group.ttl < chunk.end
    return may_find


def _shares(labels: PartLabels, asking: Int64s, chunk: Chunk) -> Iterator[tuple[KeyShare | None, Int64s]]:
    """The labels that look into a chunk, by the share of its keys; without the shares that none needs."""
    if chunk.shares == 1 and len(asking):
        yield None, asking
    elif len(asking):
        numbers = share_numbers(labels.some(asking).keys, chunk.shares)
        for number in np.unique(numbers):
            yield KeyShare(int(number), chunk.shares), asking[numbers == number]


def _join_rows(
    labels: PartLabels,
    plan: GroupPlan,
    chunk: Chunk,
    share: KeyShare | None,
    known_by: KnownBy,
    put: Put,
) -> Int64s:
    """Joins labels with the rows of a chunk; gives the places of those that found one."""
    rows, group = read_rows(plan, chunk.files, share), plan.group
    found = match_rows(
        labels.encoded,
        rows.candidates,
        delay=group.availability_delay,
        ttl=group.ttl,
        known_at_label=known_by == "label",
    )
    matched = np.flatnonzero(found != NO_ROW)
    if len(matched):
        row_numbers = pa.array(found[matched])
        put(plan, labels.positions[matched], {name: v.take(row_numbers) for name, v in rows.features.items()})
    return matched
