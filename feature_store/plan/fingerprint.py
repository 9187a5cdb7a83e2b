"""A short hash of everything that alters a group's values, and of nothing else."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from feature_store.dsl.group import FeatureGroup
from feature_store.dsl.source import BatchSource
from feature_store.plan.expressions import Expression
from feature_store.plan.nodes import Aggregate, QueriedRows, WindowedRows


def fingerprint_of(
    group: FeatureGroup, rows: WindowedRows | QueriedRows, derived: tuple[tuple[str, Expression], ...]
) -> str:
    """16 hex digits; equal for definitions that compute the same values, however they are spelt or ordered."""
    computed: dict[str, Any] = {
        "entity": [group.entity.join_key, str(group.entity.dtype)],
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
    return hashlib.sha256(json.dumps(computed, sort_keys=True).encode()).hexdigest()[:16]


def _source(source: BatchSource) -> list[Any]:
    columns = sorted([name, str(dtype)] for name, dtype in source.schema.items())
    return [source.location, source.event_timestamp, source.event_id, columns]


def _aggregate(aggregate: Aggregate) -> list[str]:
    return [str(part) for part in (aggregate.name, aggregate.function, aggregate.dtype, aggregate.column, aggregate.by,
                                   aggregate.k, aggregate.where, aggregate.window)]  # fmt: skip
