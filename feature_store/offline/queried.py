"""The rows of a query over a span, by as many statements as keep the copies that one of them makes below a bound."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import reduce
from typing import TYPE_CHECKING

from feature_store.compile.span import Span
from feature_store.compile.spark import compile_spark
from feature_store.plan.nodes import GroupPlan

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

MOST_COPIES = 20_000_000
"""A lifted query copies each source row for each instant after it: 20 M copies of 100 bytes are 2 GB to shuffle."""


@contextmanager
def queried_rows(spark: SparkSession, plan: GroupPlan, span: Span, source_rows: int) -> Iterator[DataFrame]:
    """The rows of a span, to be read inside the context.

    Those of several statements are computed one after the other and stay on the disks of Spark's workers until then.

    Args:
        source_rows: how many rows the sources have together.
    """
    parts = list(parts_of(span, plan.slide, source_rows))
    if len(parts) == 1:
        yield spark.sql(compile_spark(plan, span))
        return
    with ExitStack() as stored:
        computed = [_stored(spark.sql(compile_spark(plan, part)), stored) for part in parts]
        yield reduce(lambda one, other: one.union(other), computed)


def _stored(rows: DataFrame, stored: ExitStack) -> DataFrame:
    from pyspark import StorageLevel

    rows = rows.persist(StorageLevel.DISK_ONLY)
    stored.callback(rows.unpersist)
    rows.count()  # computes and stores all of them
    return rows


def parts_of(span: Span, slide: int, source_rows: int) -> Iterator[Span]:
    """A span in parts of at most `MOST_COPIES` instants times rows each; a part has one instant at least."""
    size = max(MOST_COPIES // max(source_rows, 1), 1) * slide
    for after in range(span.after, span.until, size):
        yield Span(after, min(after + size, span.until), span.first and after == span.after)
