"""A lifted query, all instants at once, against the query itself at each instant: both on DuckDB."""

from __future__ import annotations

from typing import Any

import duckdb
import pyarrow as pa
import pytest
import sqlglot
from hypothesis import HealthCheck, given, settings

from feature_store.compile.query_binding import in_duckdb
from feature_store.compile.reference import run_reference
from feature_store.compile.spark import compile_spark
from feature_store.dtypes import arrow_type
from feature_store.plan.build import build_plan
from feature_store.plan.nodes import GroupPlan, QueriedRows
from feature_store.plan.query_language import CONSTRUCTS, FUNCTIONS
from tests.integration.compared import assert_same_rows
from tests.unit.compile.query_cases import SPAN, all_groups, source_rows

PLANS = [build_plan(group) for group in all_groups()]


def lifted_rows(plan: GroupPlan, rows: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The rows of the statement that Spark is given, by DuckDB."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("CREATE MACRO timestamp_micros(x) AS make_timestamptz(x)")
        for source in plan.sources:
            types = pa.schema([(name, arrow_type(dtype)) for name, dtype in source.schema.items()])
            connection.register(source.name, pa.Table.from_pylist(rows[source.name], schema=types))
        text = in_duckdb(sqlglot.parse_one(compile_spark(plan, SPAN), read="spark"))
        found: list[dict[str, Any]] = connection.sql(text).to_arrow_table().to_pylist()
        return found


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.rows.query[:60])
@settings(deadline=None, max_examples=3, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(rows=source_rows())
def test_a_lifted_query_gives_what_the_query_gives_at_each_instant(
    plan: GroupPlan, rows: dict[str, list[dict[str, Any]]]
) -> None:
    assert_same_rows(lifted_rows(plan, rows), run_reference(plan, rows, SPAN), plan.keys)


def test_every_allowed_node_is_in_one_of_these_queries() -> None:
    used = set()
    for plan in PLANS:
        assert isinstance(plan.rows, QueriedRows)
        used |= {type(node) for node in sqlglot.parse_one(plan.rows.query, read="spark").walk()}
    assert FUNCTIONS | CONSTRUCTS.keys() <= used
