"""Short hashes: of everything that alters a group's values, and of what the state of its Flink job depends on."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from feature_store.dsl.group import FeatureGroup
from feature_store.dsl.source import BatchSource
from feature_store.plan.expression_nodes import Expression
from feature_store.plan.nodes import Aggregate, QueriedRows, WindowedRows


def fingerprint_of(
    group: FeatureGroup, rows: WindowedRows | QueriedRows, derived: tuple[tuple[str, Expression], ...]
) -> str:
    """16 hex digits; equal for definitions that compute the same values, however they are spelt or ordered."""
    computed: dict[str, Any] = {
        "entity": [text for key, dtype in group.entity.keys.items() for text in (key, str(dtype))],
        "sources": sorted(json.dumps(_source(source)) for source in group.all_sources),
        "slide": group.slide_size,
        "emit": group.emits,
        "delay": group.availability_delay,
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
    kept = {
        "entity": [text for key, dtype in group.entity.keys.items() for text in (key, str(dtype))],
        "source": sorted([name, str(dtype)] for name, dtype in source.schema.items() if name in read),
        "event_timestamp": source.event_timestamp,
        "event_id": source.event_id,
        "slide": group.slide_size,
        "columns": sorted([name, str(expression)] for name, expression in rows.computed if name in read),
        "where": str(rows.where),
        "aggregates": sorted(_aggregate(aggregate) for aggregate in rows.aggregates),
    }
    return _hash(kept)


def _hash(parts: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _source(source: BatchSource) -> list[Any]:
    columns = sorted([name, str(dtype)] for name, dtype in source.schema.items())
    return [source.location, source.event_timestamp, source.event_id, columns]


def _aggregate(aggregate: Aggregate) -> list[str]:
    parts = [str(part) for part in (aggregate.name, aggregate.function, aggregate.dtype, aggregate.column, aggregate.by,
                                    aggregate.k, aggregate.where, aggregate.window)]  # fmt: skip
    parts += [f"q={aggregate.q!r}"] if aggregate.q is not None else []
    return [*parts, "session"] if aggregate.session else parts
