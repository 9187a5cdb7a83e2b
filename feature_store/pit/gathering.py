"""Label rows brought together for a join: in memory if they and their features fit, otherwise in scratch files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from feature_store.errors import InputError
from feature_store.pit.budget import JoinBudget
from feature_store.pit.content_hash import content_hash, hash_of_columns
from feature_store.pit.labels import LabelStream
from feature_store.pit.scratch import Scratch
from feature_store.pit.semantics import LABEL_TIMESTAMP


@dataclass(frozen=True)
class Labels:
    """Label rows in memory; `hash` is that of their content."""

    table: pa.Table
    hash: str

    @property
    def row_count(self) -> int:
        return int(self.table.num_rows)

    def times(self) -> Iterator[pa.ChunkedArray]:
        """The label_timestamps, in order."""
        yield self.table[LABEL_TIMESTAMP]


class SpilledLabels:
    """Label rows in scratch files: in pieces of equal length, each column in a file of its own."""

    def __init__(self, scratch: Scratch, schema: pa.Schema, piece_rows: int) -> None:
        self.scratch = scratch
        self.schema = schema
        self.piece_rows = piece_rows
        self.row_count = 0
        self._columns = {field.name: scratch.file(pa.schema([field])) for field in schema}

    @property
    def pieces(self) -> range:
        """The numbers of the pieces."""
        return range(-(-self.row_count // self.piece_rows))

    def add(self, table: pa.Table) -> None:
        """Adds a piece; all but the last are of `piece_rows` rows."""
        for name, column in self._columns.items():
            column.add(self.row_count // self.piece_rows, table.select([name]))
        self.row_count += table.num_rows

    def piece(self, number: int, names: Sequence[str] | None = None) -> pa.Table:
        """The rows of a piece, all columns of them unless named."""
        names = self.schema.names if names is None else names
        return pa.table({name: self._read(name, number) for name in names})

    def times(self) -> Iterator[pa.ChunkedArray]:
        """The label_timestamps, in order."""
        return (self._read(LABEL_TIMESTAMP, number) for number in self.pieces)

    @property
    def hash(self) -> str:
        """The hash of their content: that of the same rows in memory."""
        columns = ((self._read(name, number) for number in self.pieces) for name in self.schema.names)
        return hash_of_columns(self.row_count, self.schema, columns)

    def _read(self, name: str, number: int) -> pa.ChunkedArray:
        column = self._columns[name]
        return column.read(*column.places(number))[name]


def gather_labels(
    stream: LabelStream, budget: Callable[[int], JoinBudget], scratch: Scratch
) -> tuple[Labels | SpilledLabels, JoinBudget]:
    """All label rows of a stream, and what a join of them may have in memory.

    Args:
        budget: what a join may have in memory whose labels take so many bytes each.
        scratch: gets the labels that are not kept in memory.

    Raises:
        InputError: if there are none, or what reading and checking them raises.
    """
    read: list[pa.Table] = []
    rows, size, allowed = 0, 0, budget(0)
    for table in stream.tables:
        read.append(table)
        rows, size = rows + table.num_rows, size + table.nbytes
        allowed = budget(size // max(rows, 1))
        if not allowed.holds(rows, size):
            return _spilled(_from(read, stream.tables), stream.schema, allowed.piece_rows, scratch), allowed
    whole = pa.concat_tables([stream.schema.empty_table(), *read]).combine_chunks()
    if not whole.num_rows:
        raise InputError(
            "there are no rows",
            where="labels",
            remedy="give one row for each time at which a model is to be trained",
            code="no-labels",
        )
    return Labels(whole, content_hash(whole)), allowed


def _from(read: list[pa.Table], rest: Iterator[pa.Table]) -> Iterator[pa.Table]:
    while read:
        yield read.pop(0)
    yield from rest


def _spilled(tables: Iterator[pa.Table], schema: pa.Schema, piece_rows: int, scratch: Scratch) -> SpilledLabels:
    labels = SpilledLabels(scratch, schema, piece_rows)
    left = schema.empty_table()
    for table in tables:
        left = pa.concat_tables([left, table])
        whole = left.num_rows - left.num_rows % piece_rows
        for start in range(0, whole, piece_rows):
            labels.add(left.slice(start, piece_rows))
        left = left.slice(whole)
    if left.num_rows:
        labels.add(left)
    return labels


def first_and_last(labels: Labels | SpilledLabels) -> tuple[int, int]:
    """The first and the last label_timestamp, in microseconds."""
    bounds = [pc.min_max(times.cast(pa.int64())) for times in labels.times()]
    return min(b["min"].as_py() for b in bounds), max(b["max"].as_py() for b in bounds)
