"""Downstream of each offline asset: the newest row of every entity in Redis."""

import dagster as dg

from feature_assets.keys import offline_key, online_key, op_name
from feature_assets.offline import freshness_policy
from feature_store.plan.nodes import GroupPlan
from resources.store import FeatureStoreResource


def online_asset(plan: GroupPlan, domain: str) -> dg.AssetsDefinition:
    """The asset of a group's online vectors."""
    group = plan.group
    key = online_key(group)
    spec = dg.AssetSpec(
        key,
        deps=[offline_key(group)],
        description=f"The newest vector of every {group.entity.name} in Redis. {group.description}",
        group_name=f"{domain}/{group.name}",
        owners=[group.owner],
        tags={**group.tags, "entity": group.entity.name, "cadence": group.refresh},
        kinds={"redis"},
        code_version=plan.fingerprint,
        freshness_policy=freshness_policy(plan),
    )

    @dg.multi_asset(name=op_name(key), specs=[spec], pool="redis")
    def publish(context: dg.AssetExecutionContext, store: FeatureStoreResource) -> dg.MaterializeResult[None]:
        report = store.materialize_online(plan.schema)
        rate = report.entities / report.seconds if report.seconds else 0.0
        context.log.info(f"{report.written:,} vectors written, {rate:,.0f} entities/s")
        return dg.MaterializeResult(
            asset_key=key,
            metadata={
                "dagster/row_count": report.entities,
                "written": report.written,
                "already newer": report.stale,
                "expired": report.expired,
                "whole table": report.full,
                "seconds": round(report.seconds, 2),
                "entities per second": round(rate),
            },
        )

    return publish
