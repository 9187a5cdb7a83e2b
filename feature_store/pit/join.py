"""The join of all labels with all groups of a view: entity by entity, bucket by bucket, on all cores of one machine."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from feature_store.pit.budget import MOST_GROUP_ROWS
from feature_store.pit.output import output_column
from feature_store.pit.part import (
    NO_BUCKET,
    PartLabels,
    Put,
    buckets_of,
    files_of,
    join_group,
    number_of_parts,
    of_one_entity,
    split_by_part,
)
from feature_store.pit.planning import GroupPlan, PlannedFile
from feature_store.pit.semantics import LABEL_TIMESTAMP, KnownBy
from feature_store.plan.schema import ViewSchema

Int64s = NDArray[np.int64]

_ROWS_PER_PART = 200_000  # small enough for the processor's cache, large enough that Python costs nothing


@dataclass(frozen=True)
class Joined:
    """The features of all labels, in order of the labels, and how many labels found no value of each."""

    features: pa.Table
    missing: dict[str, int]


@dataclass(frozen=True)
class _Part:
    """The labels at some positions, with the files of each group that hold their keys."""

    positions: Int64s
    inputs: tuple[tuple[GroupPlan, tuple[PlannedFile, ...]], ...]


def join_view(
    labels: pa.Table,
    view: ViewSchema,
    plans: Sequence[GroupPlan],
    known_by: KnownBy,
    rows_at_once: int = MOST_GROUP_ROWS,
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
    rows_at_once: int = MOST_GROUP_ROWS,
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

    def put(plan: GroupPlan, positions: Int64s, values: Mapping[str, pa.Array]) -> None:
        for name, found in values.items():
            outputs[f"{plan.viewed.prefix}{name}"].put(positions, found)

    with ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(lambda part: _join_part(labels, part, known_by, put, rows), list(_parts(labels, plans))):
            pass
        finished = dict(zip(outputs, pool.map(lambda column: column.finish(), outputs.values()), strict=True))
    return Joined(
        pa.table({name: column.values for name, column in finished.items()}),
        {name: column.missing for name, column in finished.items()},
    )


def _parts(labels: pa.Table, plans: Sequence[GroupPlan]) -> Iterator[_Part]:
    """The work, cut so that parts need nothing of each other: groups of one key and number of buckets together."""
    for members in of_one_entity(plans):
        buckets = buckets_of(labels[members[0].bucket_key.name], members[0])
        present = set(np.unique(buckets[buckets != NO_BUCKET]).tolist())
        needed = [[file.rows for file in plan.files if file.bucket % plan.buckets in present] for plan in members]
        parts = number_of_parts(members[0].buckets, max(labels.num_rows, *map(sum, needed)), _ROWS_PER_PART)
        for part, positions in split_by_part(buckets, parts):
            inputs = []
            for plan in members:
                files = files_of(plan, part, parts)
                inputs.append((plan, tuple(file for file in files if file.bucket % plan.buckets in present)))
            yield _Part(positions, tuple(inputs))


def _join_part(labels: pa.Table, part: _Part, known_by: KnownBy, put: Put, rows_at_once: int) -> None:
    """Joins the labels of one part with every group that has rows for them."""
    positions = pa.array(part.positions)
    keys = tuple(_taken(labels[key.name], positions) for key in part.inputs[0][0].viewed.keys)
    times = _taken(labels[LABEL_TIMESTAMP], positions).cast(pa.int64()).to_numpy()
    of_part = PartLabels(part.positions, keys, times)
    for plan, files in part.inputs:
        join_group(of_part, plan, files, known_by, put, rows_at_once)


def _taken(column: pa.ChunkedArray, positions: pa.Array) -> pa.Array:
    taken = column.take(positions).combine_chunks()
    return taken if isinstance(taken, pa.Array) else pa.concat_arrays(taken.chunks)
