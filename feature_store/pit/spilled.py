"""The join of labels that do not fit in memory: through scratch files, with the results of the join in memory.

For the groups of one entity the labels' keys, times and positions go into a scratch file, by the bucket of their key.
Buckets are joined one after the other (by each worker), a bucket of many labels slice by slice: any labels may be
joined apart from the others, also those of one key that most labels have. The values that are found go into another
scratch file, by the piece of the result that they belong to; with all groups joined, pieces are put together in the
order of the labels. What is in memory is a slice, or a piece, for each worker, and the rows of groups that may be.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from threading import Lock
from typing import TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from feature_store.pit.budget import JoinBudget
from feature_store.pit.gathering import SpilledLabels
from feature_store.pit.join import Joined
from feature_store.pit.output import output_column
from feature_store.pit.part import (
    PartLabels,
    buckets_of,
    files_of,
    join_group,
    number_of_parts,
    of_one_entity,
    split_by_part,
)
from feature_store.pit.planning import GroupPlan
from feature_store.pit.scratch import BatchFile, Place, Scratch
from feature_store.pit.semantics import LABEL_TIMESTAMP, KnownBy
from feature_store.plan.schema import ViewSchema

Int64s = NDArray[np.int64]

_Task = TypeVar("_Task")

_POSITION = "position"


class FoundValues:
    """The values found for labels, in scratch files: a file for each group, cut into the pieces of the result."""

    def __init__(self, scratch: Scratch, view: ViewSchema, piece_rows: int) -> None:
        self._scratch = scratch
        self._view = view
        self._piece_rows = piece_rows
        self._files: dict[str, BatchFile] = {}
        self._lock = Lock()

    def put(self, plan: GroupPlan, positions: Int64s, values: Mapping[str, pa.Array]) -> None:
        """Adds the values of one group for the labels at some positions (ascending)."""
        batch = pa.record_batch({_POSITION: pa.array(positions), **values})
        file = self._file(plan, batch.schema)
        pieces, starts = np.unique(positions // self._piece_rows, return_index=True)
        for piece, start, end in zip(pieces, starts, np.append(starts[1:], len(positions)), strict=True):
            file.add(int(piece), batch.slice(start, end - start))

    def piece(self, number: int, rows: int, names: Collection[str] | None = None) -> Joined:
        """The features of the labels of a piece, of which there are so many; all of them unless named."""
        wanted = [feature for feature in self._view.features if names is None or feature.name in names]
        outputs = {feature.name: output_column(feature, rows) for feature in wanted}
        for viewed in self._view.groups:
            file = self._files.get(viewed.id)
            if file is None or not any(feature.name in outputs for feature in viewed.features):
                continue
            for place in file.places(number):
                found = file.read(place).combine_chunks()
                positions = found[_POSITION].to_numpy() - number * self._piece_rows
                for feature in viewed.group.features:
                    output = outputs.get(f"{viewed.prefix}{feature.name}")
                    if output is not None and feature.name in found.column_names:
                        output.put(positions, found[feature.name].chunk(0))
        finished = {name: output.finish() for name, output in outputs.items()}
        return Joined(
            pa.table({name: column.values for name, column in finished.items()}),
            {name: column.missing for name, column in finished.items()},
        )

    def _file(self, plan: GroupPlan, schema: pa.Schema) -> BatchFile:
        with self._lock:
            name = plan.viewed.id
            if name not in self._files:
                self._files[name] = self._scratch.file(schema)
            return self._files[name]


def join_spilled(
    labels: SpilledLabels, view: ViewSchema, plans: Sequence[GroupPlan], known_by: KnownBy, budget: JoinBudget
) -> FoundValues:
    """The values of a view's stored features for each label: those of `join_view`.

    Args:
        plans: one for each group of the view, in order.
    """
    found = FoundValues(labels.scratch, view, labels.piece_rows)
    with ThreadPoolExecutor(budget.workers) as pool:
        for places in view.rounds:
            for members in of_one_entity([plans[place] for place in places]):
                _join_entity(pool, labels, members, known_by, budget, found)
    return found


def _join_entity(
    pool: ThreadPoolExecutor,
    labels: SpilledLabels,
    plans: Sequence[GroupPlan],
    known_by: KnownBy,
    budget: JoinBudget,
    found: FoundValues,
) -> None:
    """Joins the labels with groups of one key and number of buckets."""
    keys = plans[0].viewed.keys
    count = number_of_parts(plans[0].buckets, labels.row_count, budget.slice_rows)
    names = [f"key_{place}" for place in range(len(keys))]

    def key_table(piece: int) -> pa.Table:
        """Times and keys of a piece; of the keys, some may be features of groups that are joined already."""
        given = [key.name for key in keys if key.name in labels.schema.names]
        table = labels.piece(piece, list(dict.fromkeys([LABEL_TIMESTAMP, *given])))
        features = found.piece(piece, table.num_rows, {key.name for key in keys} - set(given)).features
        columns = [table[key.name] if key.name in given else features[key.name] for key in keys]
        positions = np.arange(table.num_rows) + piece * labels.piece_rows
        return pa.table([pa.array(positions), table[LABEL_TIMESTAMP], *columns], [_POSITION, LABEL_TIMESTAMP, *names])

    def spill(piece: int) -> None:
        table = key_table(piece)
        for part, places in split_by_part(buckets_of(table[names[0]], plans[0]), count):
            parts.add(part, table.take(pa.array(places)), piece)

    def join(task: tuple[int, list[Place]]) -> None:
        part, places = task
        table = parts.read(*places).combine_chunks()
        of_part = PartLabels(
            table[_POSITION].to_numpy(),
            tuple(table[name].chunk(0) for name in names),
            table[LABEL_TIMESTAMP].cast(pa.int64()).to_numpy(),
        )
        for plan in plans:
            rows = max(budget.group_rows // budget.workers, 1)
            join_group(of_part, plan, files_of(plan, part, count), known_by, found.put, rows)

    parts = labels.scratch.file(key_table(0).schema)
    try:
        _run(pool, spill, labels.pieces)
        _run(pool, join, _slices(parts, budget.slice_rows))
    finally:
        parts.close()


def _run(pool: ThreadPoolExecutor, work: Callable[[_Task], None], tasks: Iterable[_Task]) -> None:
    """Does all the work; if some fails, nothing runs any more when its error is raised."""
    running = [pool.submit(work, task) for task in tasks]
    try:
        for one in running:
            one.result()
    finally:
        for one in running:
            one.cancel()
        wait(running)


def _slices(parts: BatchFile, slice_rows: int) -> Iterator[tuple[int, list[Place]]]:
    """The batches that are joined at once: of one part, and as many as have no more rows than may be in memory."""
    for part in parts.numbers():
        taken: list[Place] = []
        for place in parts.places(part):
            if taken and sum(one.rows for one in taken) + place.rows > slice_rows:
                yield part, taken
                taken = []
            taken.append(place)
        yield part, taken
