"""Up to when a group is computed without a hole, in a one-file catalog, against days counted one by one."""

from __future__ import annotations

from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyiceberg.catalog.sql import SqlCatalog

from feature_store import INT
from feature_store.compile.span import Span
from feature_store.offline.computed import computed_until, note_computed
from feature_store.offline.tables import ensure_table
from feature_store.plan.schema import Column, GroupSchema

GROUP = GroupSchema("g", 1, (Column("user_id", INT),), (Column("n", INT),), None, 0, 1, 1)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 3)), min_size=1, max_size=6))
def test_a_hole_keeps_it_until_it_is_filled(tmp_path: Path, spans: list[tuple[int, int]]) -> None:
    catalog = SqlCatalog("fs", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}/warehouse")
    if catalog.namespace_exists("features"):
        catalog.drop_table(GROUP.table)
    table = ensure_table(catalog, GROUP)
    assert computed_until(table.properties) is None
    days: set[int] = set()
    until = sum(spans[0])
    for after, length in spans:
        with table.transaction() as transaction:
            note_computed(transaction, Span(after, after + length))
        days |= set(range(after, after + length))
        while until in days:
            until += 1
        assert computed_until(table.properties) == until
