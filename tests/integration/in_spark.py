"""Rows of a group by Spark, of events given as plain rows."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pyarrow as pa
from hypothesis import HealthCheck, settings

from feature_store import BatchSource
from feature_store.compile.reference_events import Row
from feature_store.compile.span import Span
from feature_store.compile.spark import compile_spark
from feature_store.dtypes import arrow_type
from feature_store.plan.nodes import GroupPlan
from tests.integration.compared import COMPARED

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

IN_SPARK = settings(
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


def in_spark(spark: SparkSession, plan: GroupPlan, rows: dict[str, list[Row]], span: Span) -> list[Row]:
    show(spark, plan, rows)
    return computed(spark, plan, span)


def show(spark: SparkSession, plan: GroupPlan, rows: dict[str, list[Row]]) -> None:
    """Gives Spark the rows of the sources, in another order than the reference has them."""
    for source in plan.sources:
        table = arrow_table(source, shuffled(rows[source.name], random.Random(0)))
        spark.createDataFrame(table).createOrReplaceTempView(source.name)


def computed(spark: SparkSession, plan: GroupPlan, span: Span) -> list[Row]:
    found: list[Row] = spark.sql(compile_spark(plan, span)).toArrow().to_pylist()
    COMPARED["spans of groups in Spark"] += 1
    return found


def arrow_table(source: BatchSource, rows: list[Row]) -> pa.Table:
    types = pa.schema([(name, arrow_type(dtype)) for name, dtype in source.schema.items()])
    return pa.Table.from_pylist(rows, schema=types)


def shuffled(rows: list[Row], pick: random.Random) -> list[Row]:
    return pick.sample(rows, len(rows))


def stored_by(spark: SparkSession) -> int:
    """How many results Spark stores at this time."""
    found: int = spark.sparkContext._jsc.getPersistentRDDs().size()  # type: ignore[union-attr]
    return found
