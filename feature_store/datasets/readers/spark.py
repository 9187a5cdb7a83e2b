"""A dataset as a Spark DataFrame, whose workers read the files themselves, from a bucket too."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa

if TYPE_CHECKING:
    from feature_store.datasets.rows import DatasetRows

_ROWS_AT_ONCE = 1 << 15


class SparkSession(Protocol):
    """A session of Spark, of whichever kind."""

    def createDataFrame(self, data: Any) -> Any:  # noqa: N802 - Spark's name
        """A DataFrame of an Arrow table."""

    def range(self, start: int, end: int, step: int, numPartitions: int) -> Any:  # noqa: N803 - Spark's name
        """A DataFrame of numbers."""


def spark_frame(rows: DatasetRows, spark: SparkSession) -> Any:
    """`DatasetRows.to_spark`."""
    names = [file.name for file in rows.manifest.files]
    like = spark.createDataFrame(rows.schema.empty_table())
    as_spark = like.toArrow().schema

    def read(tasks: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for number in (number for task in tasks for number in task.column(0).to_pylist()):
            blocks = [block for block in rows.blocks if block.file == names[number]]
            for table in rows.tables(blocks=blocks):
                yield from table.cast(as_spark).to_batches(_ROWS_AT_ONCE)

    return spark.range(0, len(names), 1, len(names)).mapInArrow(read, like.schema)
