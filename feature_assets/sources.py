"""Sources as external assets: what the store reads but does not make."""

from __future__ import annotations

from collections.abc import Iterable

import dagster as dg

from feature_assets.keys import source_key
from feature_store.plan.nodes import GroupPlan


def source_specs(plans: Iterable[tuple[GroupPlan, str]]) -> list[dg.AssetSpec]:
    """One external asset for every source that some group reads, in the domain of the first such group."""
    found: dict[dg.AssetKey, dg.AssetSpec] = {}
    for plan, domain in plans:
        for source in plan.sources:
            columns = [dg.TableColumn(name, type=str(dtype)) for name, dtype in source.schema.items()]
            found.setdefault(
                source_key(source),
                dg.AssetSpec(
                    source_key(source),
                    description=f"{source.description} ({source.location})".strip(),
                    group_name=f"{domain}/sources",
                    kinds={source.location.split(" ")[0].replace("jdbc", "postgres").replace("path", "parquet")},
                    metadata={"dagster/column_schema": dg.TableSchema(columns=columns)},
                ),
            )
    return list(found.values())
