"""Batches of numbers for training: rows by features in one array, in order or shuffled, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from feature_store.dtypes import parse_dtype
from feature_store.errors import InputError

if TYPE_CHECKING:
    from feature_store.datasets.rows import Block, DatasetRows

Matrix = NDArray[Any]
Batch = tuple[Matrix, Matrix | None]

_POOL_ROWS = 1 << 18
"""Rows that are shuffled together: those of two full blocks, which lie anywhere in the dataset."""
_TILE_ROWS = 1 << 11
"""Rows of a matrix that are filled feature by feature while they are in the processor's cache."""
_TENSOR_KINDS = ("INT", "FLOAT", "BOOL", "EMBEDDING")


@dataclass(frozen=True)
class MatrixBatches:
    """How a dataset is read into arrays.

    Attributes:
        widths: by feature, how many columns of the array it takes: the size of an embedding, otherwise 1.
        seed: None: in the order of the dataset.
    """

    rows: DatasetRows
    widths: dict[str, int]
    target: str | None
    batch_rows: int
    seed: int | None
    dtype: str

    @classmethod
    def of(
        cls,
        rows: DatasetRows,
        features: Sequence[str] | None = None,
        *,
        target: str | None = None,
        batch_rows: int = 8192,
        seed: int | None = None,
        dtype: str = "float32",
    ) -> MatrixBatches:
        """The arguments of `DatasetRows.to_torch`, checked."""
        if batch_rows < 1:
            raise InputError(f"{batch_rows} is no positive number", where="batch_rows", code="batch-rows")
        if dtype not in ("float32", "float64"):
            raise InputError(
                f"{dtype!r} is no type of a tensor", where="dtype", remedy="write float32 or float64", code="no-tensor"
            )
        if target is not None:
            _widths(rows, [target])
        if features is None:
            features = [c.name for c in rows.manifest.columns if c.role != "label" and _width(c.dtype)]
        return cls(rows, _widths(rows, features), target, batch_rows, seed, dtype)

    def read(self, epoch: int = 0, share: tuple[int, int] = (0, 1)) -> Iterator[Batch]:
        """The batches of one pass.

        Args:
            epoch: each has an order of its own, if rows are shuffled.
            share: which of how many readers this is: each one reads other blocks.

        Raises:
            InputError: if a whole-numbered target is NULL somewhere.
        """
        number, readers = share
        blocks = list(self.rows.blocks)
        if self.seed is None:
            return self._batches(self._matrix(block) for block in blocks[number::readers])
        order = np.random.default_rng([self.seed % 2**64, epoch]).permutation(len(blocks))
        mine = [blocks[place] for place in order[number::readers]]
        within = np.random.default_rng([self.seed % 2**64, epoch, number + 1])
        return self._batches(self._shuffled(mine, within))

    def _shuffled(self, blocks: Sequence[Block], random: np.random.Generator) -> Iterator[Batch]:
        pool: list[Batch] = []
        for place, block in enumerate(blocks, 1):
            pool.append(self._matrix(block))
            if place == len(blocks) or sum(len(features) for features, _ in pool) >= _POOL_ROWS:
                features, target = _joined(pool)
                order = random.permutation(len(features))
                pool = []
                yield features[order], None if target is None else target[order]

    def _batches(self, matrices: Iterator[Batch]) -> Iterator[Batch]:
        left: Batch | None = None
        for matrix in matrices:
            features, target = matrix if left is None or not len(left[0]) else _joined([left, matrix])
            whole = len(features) - len(features) % self.batch_rows
            for start in range(0, whole, self.batch_rows):
                yield _part(features, target, start, start + self.batch_rows)
            left = _part(features, target, whole, len(features))
        if left is not None and len(left[0]):
            yield left

    def _matrix(self, block: Block) -> Batch:
        names = [*self.widths, *([] if self.target is None else [self.target])]
        table = self.rows.block(block, list(dict.fromkeys(names)))
        features = np.empty((table.num_rows, sum(self.widths.values())), self.dtype)
        columns = [(_numbers(table[name], width, self.dtype), width) for name, width in self.widths.items()]
        for start in range(0, table.num_rows, _TILE_ROWS):
            rows, place = slice(start, start + _TILE_ROWS), 0
            for values, width in columns:
                features[rows, place : place + width] = values[rows]
                place += width
        return features, None if self.target is None else self._targets(table[self.target])

    def _targets(self, column: pa.ChunkedArray) -> Matrix:
        if not pa.types.is_integer(column.type):
            return np.ascontiguousarray(_numbers(column, 1, self.dtype)[:, 0], self.dtype)
        if column.null_count:
            raise InputError(
                f"{column.null_count} rows or more have no value",
                where=f"target {self.target!r}",
                remedy="leave them out: sample({0: 1.0, 1: 1.0}, by=…, seed=0) keeps the rows of the values it names",
                code="no-tensor",
            )
        return np.array(column.to_numpy(), np.int64)


def _widths(rows: DatasetRows, names: Sequence[str]) -> dict[str, int]:
    """How many columns of the array each feature takes."""
    dtypes = {column.name: column.dtype for column in rows.manifest.columns}
    for name in rows.known(names):
        if not _width(dtypes[name]):
            raise InputError(
                f"it is {dtypes[name]}, of which there are no tensors",
                where=f"column {name!r}",
                remedy="choose numbers, truth values and embeddings; encode others yourself, from batches(rows)",
                code="no-tensor",
            )
    return {name: _width(dtypes[name]) for name in names}


def _width(dtype: str) -> int:
    """How many numbers a value of a type is; 0: it is none."""
    if dtype in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "float", "double", "bool"):
        return 1
    try:
        found = parse_dtype(dtype)
    except ValueError:
        return 0
    return (found.size or 1) if found.kind in _TENSOR_KINDS else 0


def _numbers(column: pa.ChunkedArray, width: int, dtype: str) -> Matrix:
    """The values of a column as rows of an array; NULL is NaN."""
    if pa.types.is_list(column.type):
        vectors = np.full((len(column), width), np.nan, dtype)
        vectors[column.is_valid().to_numpy()] = pc.list_flatten(column).to_numpy().reshape(-1, width)
        return vectors
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.uint8())
    if column.null_count and pa.types.is_integer(column.type):
        column = pc.cast(column, pa.float64(), safe=False)
    return np.asarray(column.to_numpy()).reshape(-1, 1)


def _joined(batches: Sequence[Batch]) -> Batch:
    targets = [target for _, target in batches if target is not None]
    return np.concatenate([features for features, _ in batches]), np.concatenate(targets) if targets else None


def _part(features: Matrix, target: Matrix | None, start: int, end: int) -> Batch:
    return features[start:end], None if target is None else target[start:end]
