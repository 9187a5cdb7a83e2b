"""The join of all labels with all groups of a view: entity by entity, bucket by bucket, on all cores of one machine."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from feature_store.offline.masking import with_nulls
from feature_store.pit.chunks import Chunk, newest_first
from feature_store.pit.kernel import NO_ROW, EncodedLabels, encode_labels, match_rows
from feature_store.pit.output import OutputColumn, output_column
from feature_store.pit.planning import GroupPlan, PlannedFile, bucket_numbers
from feature_store.pit.reading import KeyShare, read_rows, share_numbers
from feature_store.pit.semantics import LABEL_TIMESTAMP, KnownBy
from feature_store.plan.schema import GroupSchema, ViewSchema
from feature_store.settings import JOIN_ROWS

Int64s = NDArray[np.int64]

_ROWS_PER_PART = 200_000  # small enough for the processor's cache, large enough that Python costs nothing
_NO_BUCKET = -1


@dataclass(frozen=True)
class Joined:
    """The features of all labels, in order of the labels, and how many labels found no value of each."""

    features: pa.Table
    missing: dict[str, int]

    def without(self, masked: Set[str]) -> Joined:
        """The same with some features NULL on all rows."""
        missing = {name: self.features.num_rows if name in masked else of for name, of in self.missing.items()}
        return Joined(with_nulls(self.features, masked), missing)


@dataclass(frozen=True)
class _Part:
    """The labels at some positions, with the files of each group that hold their keys."""

    positions: Int64s
    inputs: tuple[tuple[GroupPlan, tuple[PlannedFile, ...]], ...]


@dataclass(frozen=True)
class _PartLabels:
    """The labels of a part, or some of them: where they stand among all labels, their keys and times."""

    positions: Int64s
    keys: tuple[pa.Array, ...]
    times: Int64s

    def some(self, places: Int64s) -> _PartLabels:
        chosen = pa.array(places)
        return _PartLabels(self.positions[places], tuple(key.take(chosen) for key in self.keys), self.times[places])

    @cached_property
    def encoded(self) -> EncodedLabels:
        return encode_labels(self.keys, self.times)


def join_view(
    labels: pa.Table, view: ViewSchema, plans: Sequence[GroupPlan], known_by: KnownBy, rows_at_once: int = JOIN_ROWS
) -> Joined:
    """The features of a view for each label, in their order.

    A group keyed by a feature of another is joined after that one, by the value that holds at the label's own time.

    Args:
        labels: label rows as `read_labels` gives them.
        plans: one for each group of the view, in order.
        rows_at_once: how many rows of the groups' tables may be in memory.
    """
    keys = {key.name for group in view.groups for key in group.keys}
    columns: dict[str, pa.ChunkedArray] = {}
    missing: dict[str, int] = {}
    for places in view.rounds:
        joined = join_labels(labels, [plans[place] for place in places], known_by, rows_at_once=rows_at_once)
        columns |= dict(zip(joined.features.column_names, joined.features.columns, strict=True))
        missing |= joined.missing
        for name in keys.intersection(joined.missing):
            labels = labels.append_column(name, columns[name])
    names = [feature.name for feature in view.features]
    return Joined(pa.table({name: columns[name] for name in names}), {name: missing[name] for name in names})


def join_labels(
    labels: pa.Table,
    plans: Sequence[GroupPlan],
    known_by: KnownBy,
    workers: int | None = None,
    rows_at_once: int = JOIN_ROWS,
) -> Joined:
    """The features of the planned groups for each label, in order of the plans.

    Threads are enough: what takes time here (reading, sorting, searching, gathering) runs outside Python's lock.

    Args:
        labels: label rows with all the keys of these groups, as `read_labels` gives them.
        workers: parts joined at the same time; as many as there are cores if not given.
        rows_at_once: how many rows of the groups' tables may be in memory, by all workers together.
    """
    features = [feature for plan in plans for feature in plan.viewed.features]
    outputs = {feature.name: output_column(feature, labels.num_rows) for feature in features}
    workers = workers or os.cpu_count() or 1
    rows = max(rows_at_once // workers, 1)
    with ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(lambda part: _join_part(labels, part, known_by, outputs, rows), list(_parts(labels, plans))):
            pass
        finished = dict(zip(outputs, pool.map(lambda column: column.finish(), outputs.values()), strict=True))
    return Joined(
        pa.table({name: column.values for name, column in finished.items()}),
        {name: column.missing for name, column in finished.items()},
    )


def _parts(labels: pa.Table, plans: Sequence[GroupPlan]) -> Iterator[_Part]:
    """The work, cut so that parts need nothing of each other: groups of one key and number of buckets together."""
    together: dict[tuple[tuple[str, ...], int], list[GroupPlan]] = {}
    for plan in plans:
        if plan.files:
            together.setdefault((tuple(key.name for key in plan.viewed.keys), plan.buckets), []).append(plan)
    for members in together.values():
        yield from _parts_of_entity(labels, members)


def _parts_of_entity(labels: pa.Table, plans: Sequence[GroupPlan]) -> Iterator[_Part]:
    buckets = plans[0].buckets
    of_label = _buckets_of_labels(labels, plans[0])
    present = set(np.unique(of_label[of_label != _NO_BUCKET]).tolist())
    needed = [(plan, tuple(file for file in plan.files if file.bucket % buckets in present)) for plan in plans]
    most_rows = max(labels.num_rows, *(sum(file.rows for file in files) for _, files in needed))
    parts = _number_of_parts(buckets, most_rows)
    part_of_label = np.where(of_label == _NO_BUCKET, parts, of_label % parts)
    by_part = np.argsort(part_of_label.astype(np.min_scalar_type(parts)), kind="stable")  # 8 and 16 bits sort by radix
    ends = np.searchsorted(part_of_label[by_part], np.arange(parts + 1))
    for part in range(parts):
        positions = by_part[ends[part] : ends[part + 1]]
        if len(positions):
            inputs = ((plan, tuple(file for file in files if file.bucket % parts == part)) for plan, files in needed)
            yield _Part(positions, tuple(inputs))


def _buckets_of_labels(labels: pa.Table, plan: GroupPlan) -> Int64s:
    """The bucket of each label; none where the key is NULL, for then it is missing everywhere."""
    keys = labels[plan.bucket_key.name]
    if plan.buckets == 1:
        return np.where(pc.is_null(keys).to_numpy(), _NO_BUCKET, 0)
    numbers: Int64s = pc.fill_null(bucket_numbers(keys, plan.bucket_key.dtype, plan.buckets), _NO_BUCKET).to_numpy()
    return numbers


def _number_of_parts(buckets: int, rows: int) -> int:
    """The smallest divisor of the buckets that keeps a part small: a key of bucket b is in part b % divisor."""
    return next(n for n in range(1, buckets + 1) if buckets % n == 0 and (rows <= n * _ROWS_PER_PART or n == buckets))


def _join_part(
    labels: pa.Table, part: _Part, known_by: KnownBy, outputs: dict[str, OutputColumn], rows_at_once: int
) -> None:
    """Joins the labels of one part with every group that has rows for them."""
    positions = pa.array(part.positions)
    keys = tuple(_taken(labels[key.name], positions) for key in part.inputs[0][0].viewed.keys)
    times = _taken(labels[LABEL_TIMESTAMP], positions).cast(pa.int64()).to_numpy()
    of_part = _PartLabels(part.positions, keys, times)
    for plan, files in part.inputs:
        _join_group(of_part, plan, files, known_by, outputs, rows_at_once)


def _join_group(
    labels: _PartLabels,
    plan: GroupPlan,
    files: Sequence[PlannedFile],
    known_by: KnownBy,
    outputs: dict[str, OutputColumn],
    rows_at_once: int,
) -> None:
    """Joins labels with one group, chunk by chunk, until each of them has found its row or none can."""
    waiting = np.ones(len(labels.times), np.bool_)
    for chunk in newest_first(files, len(labels.times), rows_at_once):
        asking = np.flatnonzero(waiting & _may_find(labels.times, chunk, plan.group))
        for share, places in _shares(labels, asking, chunk):
            asked = labels if len(places) == len(labels.times) else labels.some(places)
            found = _join_rows(asked, plan, chunk, share, known_by, outputs)
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


def _shares(labels: _PartLabels, asking: Int64s, chunk: Chunk) -> Iterator[tuple[KeyShare | None, Int64s]]:
    """The labels that look into a chunk, by the share of its keys; without the shares that none needs."""
    if chunk.shares == 1 and len(asking):
        yield None, asking
    elif len(asking):
        numbers = share_numbers(labels.some(asking).keys, chunk.shares)
        for number in np.unique(numbers):
            yield KeyShare(int(number), chunk.shares), asking[numbers == number]


def _join_rows(
    labels: _PartLabels,
    plan: GroupPlan,
    chunk: Chunk,
    share: KeyShare | None,
    known_by: KnownBy,
    outputs: dict[str, OutputColumn],
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
    positions, row_numbers = labels.positions[matched], pa.array(found[matched])
    for name, values in rows.features.items():
        outputs[f"{plan.viewed.prefix}{name}"].put(positions, values.take(row_numbers))
    return matched


def _taken(column: pa.ChunkedArray, positions: pa.Array) -> pa.Array:
    taken = column.take(positions).combine_chunks()
    return taken if isinstance(taken, pa.Array) else pa.concat_arrays(taken.chunks)
