"""The files of a training dataset, written piece by piece."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from feature_store.errors import StackError
from feature_store.pit.budget import PIECE_ROWS
from feature_store.pit.pieces import Pieces

_ROWS_PER_FILE = 4 * PIECE_ROWS


def write_rows(folder: Path, pieces: Pieces, workers: int) -> dict[str, int]:
    """Writes rows to files of equal length, several at a time; gives how many values of each feature are missing.

    Raises:
        StackError: if other rows were written than there are labels.
    """
    count, per_file = -(-pieces.rows // pieces.length), max(_ROWS_PER_FILE // pieces.length, 1)
    missing = Counter(pieces.missing)

    def write(first: int) -> Counter[str]:
        piece = pieces.read(first)
        counted = Counter(piece.missing)
        text = [field.name for field in piece.table.schema if pa.types.is_string(field.type)]
        with pq.ParquetWriter(
            folder / f"part-{first // per_file:05}.parquet",
            piece.table.schema,
            compression="snappy",
            use_dictionary=text,  # numbers rarely repeat: trying to find out that they do not takes half of the time
        ) as file:
            file.write_table(piece.table, row_group_size=PIECE_ROWS)
            for number in range(first + 1, min(first + per_file, count)):
                piece = pieces.read(number)
                counted.update(piece.missing)
                file.write_table(piece.table, row_group_size=PIECE_ROWS)
        return counted

    with ThreadPoolExecutor(workers) as pool:
        for counted in pool.map(write, range(0, count, per_file)):
            missing.update(counted)
    _check_rows(folder, pieces.rows)
    return dict(missing)


def _check_rows(folder: Path, labels: int) -> None:
    """As many rows as labels are in the files, or the dataset is not to be."""
    written = sum(pq.read_metadata(path).num_rows for path in folder.glob("part-*.parquet"))
    if written != labels:
        raise StackError(
            f"{written} rows were written for {labels} labels",
            where=str(folder),
            remedy="nothing was kept; report this, with the view and the labels",
            code="row-count",
        )
