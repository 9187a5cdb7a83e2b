"""Sources as external assets: what the store reads but does not make."""

from __future__ import annotations

from collections.abc import Iterable

import dagster as dg

from feature_assets.keys import source_key
from feature_store.dsl.source import BatchSource, StreamSource
from feature_store.plan.nodes import GroupPlan

_KINDS = {"jdbc": "postgres", "path": "parquet", "topic": "kafka"}


def source_specs(plans: Iterable[tuple[GroupPlan, str]]) -> list[dg.AssetSpec]:
    """One external asset for every source that some group reads, in the domain of the first such group.

    A stream is one, and so is its event log, which comes from it.
    """
    given = list(plans)
    streams = {source_key(plan.stream.log): source_key(plan.stream) for plan, _ in given if plan.stream is not None}
    found: dict[dg.AssetKey, dg.AssetSpec] = {}
    for plan, domain in given:
        read: list[BatchSource | StreamSource] = [source for source in plan.sources if not source.of_group]
        read += [] if plan.stream is None else [plan.stream]
        for source in read:
            key = source_key(source)
            comes_from = [streams[key]] if key in streams else []
            found.setdefault(key, _spec(source, domain, comes_from))
    return list(found.values())


def _spec(source: BatchSource | StreamSource, domain: str, comes_from: list[dg.AssetKey]) -> dg.AssetSpec:
    columns = [dg.TableColumn(name, type=str(dtype)) for name, dtype in source.schema.items()]
    return dg.AssetSpec(
        source_key(source),
        deps=comes_from,
        description=f"{source.description} ({source.location})".strip(),
        group_name=f"{domain}/sources",
        kinds={_KINDS.get(source.location.split(" ")[0], "table")},
        metadata={"dagster/column_schema": dg.TableSchema(columns=columns)},
    )
