"""The rows of a stored training dataset, or some of them, as tables and batches of any library."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from feature_store.datasets.filters import Mask, RowFilter, Sample
from feature_store.datasets.manifest import Manifest
from feature_store.datasets.storage import Folder
from feature_store.errors import InputError, choices

if TYPE_CHECKING:
    import datasets
    import pandas as pd
    import polars as pl
    from torch.utils.data import IterableDataset

    from feature_store.datasets.readers.spark import SparkSession
    from feature_store.datasets.splits import TimeSplit


_INTEGERS = [f"{kind}{bits}" for kind in ("Int", "UInt") for bits in (8, 16, 32, 64)]


@dataclass(frozen=True)
class Block:
    """A row group of a file; `first_row` is the place of its first row in the dataset."""

    file: str
    number: int
    first_row: int


@dataclass(frozen=True)
class DatasetRows:
    """Rows of a dataset, in its order. Nothing is read before it is asked for.

    Attributes:
        filters: what all rows that are read have to pass.
    """

    manifest: Manifest
    folder: Folder
    filters: tuple[RowFilter, ...] = ()

    @cached_property
    def row_count(self) -> int:
        """How many rows there are; of a part of a dataset they are counted."""
        if not self.filters:
            return self.manifest.rows
        names = self._filtered_by
        return sum(int(self._mask(self._read(block, names), block).sum()) for block in self.blocks)

    @property
    def column_names(self) -> list[str]:
        return [column.name for column in self.manifest.columns]

    def to_arrow(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All rows in memory.

        Args:
            columns: the names of those that are wanted; all unless given.

        Raises:
            InputError: if there is no such column.
        """
        return pa.concat_tables(self.tables(columns))

    def to_polars(self, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """The same in Polars."""
        import polars as pl

        frame = pl.from_arrow(self.to_arrow(columns))
        assert isinstance(frame, pl.DataFrame)
        return frame

    def to_pandas(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """The same in pandas. Whole numbers and truth values are of its types with NULLs, so that none becomes a float
        because another one is missing."""
        import pandas as pd

        exact = {pa.from_numpy_dtype(name.lower()): getattr(pd, f"{name}Dtype")() for name in _INTEGERS}
        return self.to_arrow(columns).to_pandas(types_mapper={**exact, pa.bool_(): pd.BooleanDtype()}.get)

    def to_spark(self, spark: SparkSession) -> Any:
        """The same in Spark, read by its workers when it is used, a file in each task; their order is not kept."""
        from feature_store.datasets.readers.spark import spark_frame

        return spark_frame(self, spark)

    def to_torch(
        self,
        features: Sequence[str] | None = None,
        *,
        target: str | None = None,
        batch_rows: int = 8192,
        seed: int | None = None,
        dtype: str = "float32",
        share: tuple[int, int] = (0, 1),
    ) -> IterableDataset[Any]:
        """An IterableDataset of batches: a tensor of rows by features, with a target also one of the targets.

        Give it to a DataLoader with `batch_size=None`, which puts no batches together; its workers share the files.

        Args:
            features: numbers, truth values and embeddings; all features that are such unless given. NULL is NaN.
            target: a column of the same kind; whole numbers stay whole.
            seed: shuffles the rows: the blocks of the files, and the rows of several blocks at a time. The same seed
                gives the same order; `set_epoch` another one.
            dtype: "float32", which has whole numbers up to 2^24, or "float64".
            share: which of how many processes reads; each reads other rows.

        Raises:
            InputError: if a column cannot be in a tensor.
            StackError: if torch is not installed.
        """
        from feature_store.datasets.readers.matrices import MatrixBatches
        from feature_store.datasets.readers.optional import required

        batches = MatrixBatches.of(self, features, target=target, batch_rows=batch_rows, seed=seed, dtype=dtype)
        required("torch")
        from feature_store.datasets.readers.torch import TensorBatches

        return TensorBatches(batches, share)

    def to_huggingface(self, cache: Path | str | None = None) -> datasets.Dataset:
        """The same as a `datasets.Dataset`.

        Args:
            cache: a file to write the rows to, which is then mapped into memory; without it they are all in memory.

        Raises:
            StackError: if datasets is not installed.
        """
        from feature_store.datasets.readers.huggingface import huggingface_dataset

        return huggingface_dataset(self, cache)

    def batches(self, rows: int, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """The rows in batches of exactly so many, but for the last; no more than a block of a file is in memory.

        Raises:
            InputError: if there is no such column, or `rows` is no positive number.
        """
        _check_positive(rows, "rows")
        return _of_length(self.tables(columns), rows)

    def tables(self, columns: Sequence[str] | None = None, blocks: Iterable[Block] | None = None) -> Iterator[pa.Table]:
        """The rows block by block, of all blocks unless given."""
        names = self.known(self.column_names if columns is None else columns)
        return (self.block(block, names) for block in (self.blocks if blocks is None else blocks))

    def block(self, block: Block, names: Sequence[str]) -> pa.Table:
        """The rows of a block."""
        if not self.filters:
            return self._read(block, names)
        table = self._read(block, list(dict.fromkeys([*names, *self._filtered_by])))
        return table.filter(pa.array(self._mask(table, block))).select(names)

    @property
    def schema(self) -> pa.Schema:
        """The columns and their types."""
        return next(iter(self._footers.values())).schema.to_arrow_schema()

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """All row groups of its files, in order."""
        blocks, first = [], 0
        for name, footer in self._footers.items():
            for number in range(footer.num_row_groups):
                blocks.append(Block(name, number, first))
                first += footer.row_group(number).num_rows
        return tuple(blocks)

    def sample(self, share: float | Mapping[Any, float], *, seed: int, by: str = "") -> DatasetRows:
        """About a share of the rows, the same ones for the same seed, however they are read.

        Args:
            share: of all rows; or, of each value of the column `by`, the share of its rows: those of values that are
                not named are left out.

        Raises:
            InputError: if a share is not between 0 and 1, or there is no such column.
        """
        shares = share if isinstance(share, Mapping) else {"": share}
        for value, wanted in shares.items():
            if not 0 <= wanted <= 1:
                raise InputError(
                    f"{wanted} is not between 0 and 1",
                    where=f"share of {value!r}" if by else "share",
                    remedy="0.1 keeps about a tenth of the rows",
                    code="sample",
                )
        if isinstance(share, Mapping) != bool(by):
            raise InputError(
                "shares of classes need the column that has the classes, and only they do",
                where="share, by",
                remedy="write sample({True: 1.0, False: 0.1}, by='bought', seed=1), or sample(0.1, seed=1)",
                code="sample",
            )
        if isinstance(share, Mapping):
            dtype = self._classes(by)
            for value in share:
                _check_class(value, dtype, by)
        stream = sum(isinstance(each, Sample) for each in self.filters)
        return self.part(Sample(share, seed, by, stream))

    def split(
        self,
        *,
        validation: datetime | float | None = None,
        test: datetime | float | None = None,
        gap: timedelta | str | None = None,
    ) -> TimeSplit:
        """Parts for training, validation and test, one after the other in time, without a leak from one to the next.

        Args:
            validation, test: the time at which the part begins, or the share of the rows that it has.
            gap: rows so long before the beginning of a part are in none: what they are computed from may reach into the
                part before. The view's longest window unless given.

        Raises:
            InputError: if the times or shares make no sense, or the gap is not known.
        """
        from feature_store.datasets.splits import split_by_time

        return split_by_time(self, validation, test, gap)

    def class_counts(self, column: str) -> dict[Any, int]:
        """How many rows have each value of a column, NULL among them as None.

        Raises:
            InputError: if there is no such column, or its values are no classes.
        """
        self._classes(column)
        counts = Counter[Any]()
        for table in self.tables([column]):
            counts.update({each["values"]: each["counts"] for each in table[column].value_counts().to_pylist()})
        return dict(counts)

    def class_weights(self, column: str) -> dict[Any, float]:
        """What the rows of each value of a column weigh if all values together are to weigh the same: the number of
        rows, by the number of values, by that of the rows which have it. Rows with NULL do not count.

        Raises:
            InputError: if there is no such column.
        """
        counts = {value: count for value, count in self.class_counts(column).items() if value is not None}
        return {value: sum(counts.values()) / len(counts) / count for value, count in counts.items()}

    def part(self, *filters: RowFilter) -> DatasetRows:
        """The rows that also pass other filters."""
        return DatasetRows(self.manifest, self.folder, (*self.filters, *filters))

    def known(self, names: Sequence[str]) -> list[str]:
        """These names of columns.

        Raises:
            InputError: if there is no such column.
        """
        for name in names:
            if name not in self.column_names:
                raise InputError(
                    "the dataset has no such column",
                    where=f"column {name!r}",
                    remedy=choices(name, self.column_names),
                    code="missing-column",
                )
        return list(names)

    def _read(self, block: Block, names: Sequence[str]) -> pa.Table:
        with (
            self.folder.open(block.file) as source,
            pq.ParquetFile(source, metadata=self._footers[block.file], pre_buffer=self.folder.in_bucket) as file,
        ):
            return file.read_row_group(block.number, columns=names).select(names)

    @property
    def _filtered_by(self) -> list[str]:
        return list(dict.fromkeys(name for each in self.filters for name in each.columns))

    def _mask(self, table: pa.Table, block: Block) -> Mask:
        kept: Mask = np.logical_and.reduce([each.mask(table, block.first_row) for each in self.filters])
        return kept

    def _classes(self, column: str) -> pa.DataType:
        """The type of a column whose values are classes."""
        (name,) = self.known([column])
        dtype = self.schema.field(name).type
        if pa.types.is_nested(dtype):
            raise InputError(
                f"it is {dtype}, whose values are no classes",
                where=f"column {name!r}",
                remedy="name a column of texts, numbers or truth values",
                code="sample",
            )
        return dtype

    @cached_property
    def _footers(self) -> dict[str, pq.FileMetaData]:
        footers = {}
        for file in self.manifest.files:
            with self.folder.open(file.name) as source:
                footers[file.name] = pq.read_metadata(source)
        return footers


def _check_positive(number: int, where: str) -> None:
    if number < 1:
        raise InputError(f"{number} is no positive number", where=where, remedy="write 8192", code="batch-rows")


def _check_class(value: Any, dtype: pa.DataType, column: str) -> None:
    try:
        pa.scalar(value, dtype)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise InputError(
            f"it has no value {value!r}: {error}",
            where=f"column {column!r}, which is {dtype}",
            remedy="name its values as class_counts gives them",
            code="sample",
        ) from error


def _of_length(tables: Iterator[pa.Table], rows: int) -> Iterator[pa.RecordBatch]:
    left: pa.Table | None = None
    for table in tables:
        left = table if left is None or not left.num_rows else pa.concat_tables([left, table])
        whole = left.num_rows - left.num_rows % rows
        for start in range(0, whole, rows):
            yield _batch(left.slice(start, rows))
        left = left.slice(whole)
    if left is not None and left.num_rows:
        yield _batch(left)


def _batch(table: pa.Table) -> pa.RecordBatch:
    (batch,) = table.combine_chunks().to_batches()
    return batch
