"""Short hashes: of what alters a group's values, of what its Flink job's state depends on, of what a feature is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from feature_store.dsl.group import FeatureGroup
from feature_store.dsl.source import BatchSource
from feature_store.duration import format_duration
from feature_store.plan.expression_nodes import Expression
from feature_store.plan.nodes import Aggregate, GroupPlan, QueriedRows, WindowedRows


def fingerprint_of(
    group: FeatureGroup, rows: WindowedRows | QueriedRows, derived: tuple[tuple[str, Expression], ...]
) -> str:
    """16 hex digits; equal for definitions that compute the same values, however they are spelt or ordered."""
    computed: dict[str, Any] = {
        "entity": [text for key, dtype in group.entity.keys.items() for text in (key, str(dtype))],
        "sources": _sources(group.all_sources, rows),
        "slide": group.slide_size,
        "emit": group.emits,
        "delay": format_duration(group.availability_delay_size),
        "derived": sorted([name, str(expression)] for name, expression in derived),
    }
    if isinstance(rows, WindowedRows):
        computed["columns"] = sorted([name, str(expression)] for name, expression in rows.computed)
        computed["where"] = str(rows.where)
        computed["features"] = sorted(_aggregate(aggregate) for aggregate in rows.aggregates)
    else:
        computed["query"] = rows.lifted
        computed["features"] = sorted([feature.name, str(feature.dtype)] for feature in group.features)
    return _hash(computed)


def state_fingerprint_of(group: FeatureGroup, rows: WindowedRows) -> str:
    """16 hex digits; equal for definitions whose Flink jobs can take up each other's state."""
    source, read = rows.source, rows.columns_read
    kept: dict[str, Any] = {
        "entity": [text for key, dtype in group.entity.keys.items() for text in (key, str(dtype))],
        "source": sorted([name, str(dtype)] for name, dtype in source.schema.items() if name in read),
        "event_timestamp": source.event_timestamp,
        "event_id": source.event_id,
        "slide": group.slide_size,
        "columns": sorted([name, str(expression)] for name, expression in rows.computed if name in read),
        "where": str(rows.where),
        "aggregates": sorted(_aggregate(aggregate) for aggregate in rows.aggregates),
    }
    if source.event_id is not None:
        kept["events_by_id_within"] = source.deduplicate_size  # state of "copies" had ids without their times
    return _hash(kept)


def _hash(parts: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _sources(sources: Iterable[BatchSource], rows: WindowedRows | QueriedRows) -> list[str]:
    deletions = rows.deletions if isinstance(rows, QueriedRows) else {}
    return sorted(json.dumps([*_source(source), *_states(source, deletions.get(source.name))]) for source in sources)


def _states(source: BatchSource, deletion: Expression | None) -> list[Any]:
    """What says how the states of a log of changes, or of copies, are read; nothing of events."""
    return [sorted(source.changes_of), str(deletion), source.copies] if source.holds_states else []


def _source(source: BatchSource) -> list[Any]:
    columns = sorted([name, str(dtype)] for name, dtype in source.schema.items())
    return [source.location, source.event_timestamp, source.event_id, columns, *_copies(source)]


def _copies(source: BatchSource) -> list[Any]:
    """What says which rows are copies: the order of columns too, by which simultaneous ones are compared."""
    if source.event_id is None:
        return []
    return [source.deduplicate_size, [[name, str(dtype)] for name, dtype in source.schema.items()]]


def _aggregate(aggregate: Aggregate) -> list[str]:
    parts = [str(part) for part in (aggregate.name, aggregate.function, aggregate.dtype, aggregate.column, aggregate.by,
                                    aggregate.k, aggregate.where, aggregate.window)]  # fmt: skip
    parts += [f"q={aggregate.q!r}"] if aggregate.q is not None else []
    return [*parts, "session"] if aggregate.session else parts


def feature_fingerprints(plan: GroupPlan) -> dict[str, str]:
    """For each feature and derived feature 16 hex digits; equal where the same value is computed, whatever its name.

    A value is the same at every instant: of the same entity, from the same rows, on the same grid. How long it holds,
    when it is known and what readers get instead of NULL is not part of it.
    """
    group, rows = plan.group, plan.rows
    keys = [[name, str(dtype)] for name, dtype in group.entity.keys.items()]
    shared: list[Any] = [keys, group.slide_size, group.emits]
    if isinstance(rows, QueriedRows):
        shared += [rows.lifted, _sources(rows.sources, rows)]
        found = {feature.name: _digest([*shared, feature.name, str(feature.dtype)]) for feature in group.features}
    else:
        columns = {name: f"{name}:{dtype}" for name, dtype in rows.source.schema.items()}
        for name, expression in rows.computed:
            columns[name] = _digest(canonical(expression, columns))
        source = rows.source
        shared += [source.location, source.event_timestamp, source.event_id, *_copies(source)]
        shared += [_condition(rows.where, columns)]
        found = {aggregate.name: _digest([*shared, *_computation(aggregate, columns)]) for aggregate in rows.aggregates}
    of_features = dict(found)
    for name, expression in plan.derived:
        found[name] = _digest(["derived", *shared, canonical(expression, of_features)])
    return found


def canonical(expression: Expression, columns: Mapping[str, str]) -> str:
    """The expression over other names of its columns, its operands sorted where their order has no effect."""
    if expression.op == "column":
        return columns[str(expression.value)]
    if expression.op == "literal":
        return str(expression)
    args = [canonical(arg, columns) for arg in _operands(expression)]
    return f"{expression.op}({', '.join(sorted(args) if expression.op in _COMMUTATIVE else args)})"


_COMMUTATIVE = frozenset(["and", "or", "eq", "ne", "add", "mul"])
_ASSOCIATIVE = frozenset(["and", "or"])  # sums and products of FLOATs are not


def _operands(expression: Expression) -> Iterator[Expression]:
    for arg in expression.args:
        if arg.op == expression.op and arg.op in _ASSOCIATIVE:
            yield from _operands(arg)
        else:
            yield arg


def _computation(aggregate: Aggregate, columns: Mapping[str, str]) -> list[Any]:
    read = [columns[name] if name is not None else None for name in (aggregate.column, aggregate.by)]
    where = _condition(aggregate.where, columns)
    return [aggregate.function, *read, aggregate.k, aggregate.q, where, aggregate.window, aggregate.session]


def _condition(condition: Expression | None, columns: Mapping[str, str]) -> str | None:
    return None if condition is None else canonical(condition, columns)


def _digest(parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
