"""The window kernel on Spark's workers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from feature_store.compile import window_kernel
from feature_store.compile.span import Span
from feature_store.compile.spark import row_columns
from feature_store.compile.spark_sliding import compile_tiles, sliding_of, vector_columns
from feature_store.compile.window_kernel import slide_batches
from feature_store.plan.nodes import GroupPlan

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession

SLID_FROM = 300_000
"""From how many rows of the source on the kernel is worth the start of Python workers (`benchmarks/batch`)."""


def slid_rows(spark: SparkSession, plan: GroupPlan, span: Span, tiles: str | None = None) -> DataFrame:
    """The rows of a span, from the tiles that Spark computes.

    The kernel goes to the workers by value: they need numpy and Arrow, and not this package.

    Args:
        tiles: a statement whose result are the tiles, all of an entity's in one partition, one after the other.
    """
    from pyspark import cloudpickle

    cloudpickle.register_pickle_by_value(window_kernel)  # type: ignore[no-untyped-call]
    sliding = sliding_of(plan, span)

    def slide(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        return slide_batches(sliding, batches)

    slide.__module__ = "__main__"  # by value, too
    vectors = spark.sql(compile_tiles(plan, span, tiles)).mapInArrow(slide, vector_columns(plan))
    return vectors.selectExpr(*row_columns(plan))
