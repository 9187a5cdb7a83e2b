"""Where a feature comes from: the source columns that its value depends on, and whether it is personal data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import sqlglot
from sqlglot import expressions as exp

from feature_store.plan.clock import AS_OF
from feature_store.plan.nodes import Aggregate, GroupPlan, QueriedRows, WindowedRows

Origin = tuple[str, str]
"""A source's name and one of its columns."""
_COUNTS = ("count", "count_distinct", "approx_count_distinct")


def feature_lineage(plan: GroupPlan) -> dict[str, tuple[Origin, ...]]:
    """For each feature and derived feature the source columns it is computed from, sorted."""
    if isinstance(plan.rows, QueriedRows):
        found = _of_query(plan, plan.rows)
    else:
        found = {a.name: _of_aggregate(plan.rows, a) for a in plan.rows.aggregates}
    for name, expression in plan.derived:
        found[name] = set().union(*(found[column] for column in expression.columns))
    return {name: tuple(sorted(origins)) for name, origins in found.items()}


def personal_data(plan: GroupPlan) -> frozenset[str]:
    """The features that are personal data, and the derived ones that read one of them.

    A feature is where it says so; where it says nothing, if a personal column of a source is in its lineage, unless it
    counts: how many addresses somebody has is none of them.
    """
    columns = {(source.name, column) for source in plan.group.all_sources for column in source.pii}
    lineage = feature_lineage(plan) if columns else {}
    counts = frozenset[str]()
    if isinstance(plan.rows, WindowedRows):
        counts = frozenset(a.name for a in plan.rows.aggregates if a.function in _COUNTS)
    personal = {feature.name for feature in plan.group.features if feature.pii}
    for feature in plan.group.features:
        if feature.pii is None and feature.name not in counts and not columns.isdisjoint(lineage.get(feature.name, ())):
            personal.add(feature.name)
    return frozenset(personal | {name for name, each in plan.derived if not personal.isdisjoint(each.columns)})


def _of_aggregate(rows: WindowedRows, aggregate: Aggregate) -> set[Origin]:
    """The inputs of an aggregate, of its conditions and of the computed columns they read; at least the event time."""
    read = rows.columns_of(aggregate) - {name for name, _ in rows.computed}
    return {(rows.source.name, column) for column in read | {rows.source.event_timestamp}}


def _of_query(plan: GroupPlan, rows: QueriedRows) -> dict[str, set[Origin]]:
    """The columns named in a feature's expression, followed through WITH clauses."""
    query = sqlglot.parse_one(rows.query, read="spark")
    assert isinstance(query, exp.Select)
    sources = {source.name: set(source.schema) for source in rows.sources}
    known: dict[str, Mapping[str, set[Origin]]] = {
        name: {column: {(name, column)} for column in columns} for name, columns in sources.items()
    }
    for cte in query.ctes:
        known[cte.alias] = _of_select(cte.this, known)
    outputs = _of_select(query, known)
    return {feature.name: set(outputs.get(feature.name, set())) for feature in plan.group.features}


def _of_select(select: exp.Expression, known: Mapping[str, Mapping[str, set[Origin]]]) -> dict[str, set[Origin]]:
    tables = {table.alias_or_name: known[table.name] for table in _tables(select) if table.name in known}
    outputs: dict[str, set[Origin]] = {}
    for projection in select.selects if isinstance(select, exp.Select) else []:
        outputs[projection.alias_or_name] = set().union(*_origins(projection.find_all(exp.Column), tables))
    return outputs


def _tables(select: exp.Expression) -> Iterable[exp.Table]:
    parts = [select.find(exp.From), *(select.args.get("joins") or [])]
    return [part.this for part in parts if part is not None and isinstance(part.this, exp.Table)]


def _origins(columns: Iterable[exp.Column], tables: Mapping[str, Mapping[str, set[Origin]]]) -> list[set[Origin]]:
    found = []
    for column in columns:
        if column.name == AS_OF:
            continue
        candidates = [tables[column.table]] if column.table in tables else list(tables.values())
        found += [table[column.name] for table in candidates if column.name in table]
    return found
