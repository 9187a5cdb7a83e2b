"""Downstream of each offline asset: the newest row of every entity in Redis."""

import dagster as dg

from feature_assets.keys import offline_key, online_key, op_name
from feature_assets.metadata import freshness_metadata, vector_metadata
from feature_assets.offline import described, freshness_policy, table_tags
from feature_store.plan.nodes import GroupPlan
from feature_store.streaming.freshness import Freshness
from resources.store import FeatureStoreResource

FRESH = "fresh"


def online_asset(plan: GroupPlan, domain: str) -> dg.AssetsDefinition:
    """The asset of a group's online vectors."""
    group = plan.group
    key = online_key(group)
    spec = dg.AssetSpec(
        key,
        deps=[offline_key(group)],
        description=f"The newest vector of every {group.entity.name} in Redis. {described(group)}",
        group_name=f"{domain}/{group.name}",
        owners=[group.owner],
        tags=table_tags(plan, group.refresh),
        kinds={"redis"},
        code_version=plan.fingerprint,
        metadata=vector_metadata(plan),
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


def fresh_check(plan: GroupPlan) -> dg.AssetChecksDefinition:
    """The check of a streaming group's own SLA, of seconds. A sensor reports it all the time; it can be run, too."""
    group = plan.group

    @dg.asset_check(
        asset=online_key(group),
        name=FRESH,
        description=f"Redis was up to date within {group.freshness_size / 1e6:g} s. An error after twice of it.",
    )
    def fresh(store: FeatureStoreResource) -> dg.AssetCheckResult:
        (found,) = store.freshness([plan])
        return dg.AssetCheckResult(
            passed=found.verdict == "fresh", severity=severity_of(found), metadata=freshness_metadata(found)
        )

    return fresh


def severity_of(found: Freshness) -> dg.AssetCheckSeverity:
    """Overdue is an error; late, or nothing known yet, a warning."""
    return dg.AssetCheckSeverity.ERROR if found.verdict == "overdue" else dg.AssetCheckSeverity.WARN
