"""The files of a training dataset, written piece by piece, and what is counted meanwhile."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain

import pyarrow as pa
import pyarrow.parquet as pq

from feature_store.datasets.manifest import DatasetFile
from feature_store.datasets.statistics import TableSketch
from feature_store.datasets.storage import Folder
from feature_store.errors import StackError
from feature_store.pit.budget import PIECE_ROWS
from feature_store.pit.pieces import Piece, Pieces

_ROWS_PER_FILE = 4 * PIECE_ROWS


@dataclass(frozen=True)
class WrittenFile:
    """A file that was written: of its features, how many values are missing, and what they look like."""

    file: DatasetFile
    missing: Mapping[str, int]
    features: TableSketch


@dataclass(frozen=True)
class WrittenRows:
    """All files of a dataset, in the order of the rows, and the same of all of them."""

    files: tuple[DatasetFile, ...]
    missing: Mapping[str, int]
    features: TableSketch


def write_rows(folder: Folder, pieces: Pieces, workers: int, features: Sequence[str]) -> WrittenRows:
    """Writes rows to files of equal length, several at a time.

    Args:
        features: the names of the columns that statistics are wanted of.

    Raises:
        StackError: if other rows were written than there are labels.
    """
    count, per_file = -(-pieces.rows // pieces.length), max(_ROWS_PER_FILE // pieces.length, 1)

    def write(number: int) -> WrittenFile:
        first = number * per_file
        return write_file(folder, number, map(pieces.read, range(first, min(first + per_file, count))), features)

    with ThreadPoolExecutor(workers) as pool:
        return written_rows(pool.map(write, range(-(-count // per_file))), folder, pieces)


def write_file(folder: Folder, number: int, pieces: Iterable[Piece], features: Sequence[str]) -> WrittenFile:
    """Writes a file of some pieces, at least one of them. Any process may do it; what it gives can be sent back.

    Args:
        number: its place among the files.
    """
    name = f"part-{number:05}.parquet"
    missing, sketch, rows = Counter[str](), TableSketch(), 0
    remaining = iter(pieces)
    first = next(remaining)
    text = [field.name for field in first.table.schema if pa.types.is_string(field.type)]
    with folder.create(name) as sink:
        with pq.ParquetWriter(
            sink,
            first.table.schema,
            compression="snappy",
            use_dictionary=text,  # numbers rarely repeat: trying to find out that they do not takes half of the time
        ) as file:
            for piece in chain([first], remaining):
                file.write_table(piece.table, row_group_size=PIECE_ROWS)
                missing.update(piece.missing)
                sketch.add(piece.table, features)
                rows += piece.table.num_rows
        size = sink.tell()
    return WrittenFile(DatasetFile(name, rows, size), missing, sketch)


def written_rows(files: Iterable[WrittenFile], folder: Folder, pieces: Pieces) -> WrittenRows:
    """All files together, which have as many rows as there are labels, or the dataset is not to be.

    Raises:
        StackError: if they do not.
    """
    missing, sketch, written = Counter(pieces.missing), TableSketch(), []
    for each in files:
        missing.update(each.missing)
        sketch.merge(each.features)
        written.append(each.file)
    rows = sum(file.rows for file in written)
    if rows != pieces.rows:
        raise StackError(
            f"{rows} rows were written for {pieces.rows} labels",
            where=folder.url,
            remedy="nothing was kept; report this, with the view and the labels",
            code="row-count",
        )
    return WrittenRows(tuple(written), missing, sketch)
