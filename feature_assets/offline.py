"""One partitioned asset for each group: Spark computes it, great_expectations audits it, Iceberg keeps it."""

import warnings
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import dagster as dg

from feature_assets.checks import RunAudit, check_specs
from feature_assets.keys import offline_key, op_name, source_key
from feature_assets.metadata import run_metadata, table_metadata
from feature_assets.partitions import partitions_of
from feature_store.dsl.group import FeatureGroup
from feature_store.dsl.source import BatchSource
from feature_store.duration import SECOND
from feature_store.errors import ConflictError, QualityError
from feature_store.plan.lineage import personal_data
from feature_store.plan.nodes import GroupPlan
from resources.spark import SparkResource
from resources.store import FeatureStoreResource


def freshness_policy(plan: GroupPlan) -> dg.FreshnessPolicy:
    """The group's SLA as Dagster knows it (Dagster's shortest is one minute)."""
    return dg.FreshnessPolicy.time_window(fail_window=timedelta(seconds=max(60, plan.schema.freshness // SECOND)))


def table_facts(plan: GroupPlan, domain: str) -> dict[str, Any]:
    """What an asset says of a group's offline table, whichever engine writes it."""
    group = plan.group
    return {
        "description": described(group),
        "group_name": f"{domain}/{group.name}",
        "owners": [group.owner],
        "code_version": plan.fingerprint,
        "partitions_def": partitions_of(group),
        "freshness_policy": freshness_policy(plan),
    }


def table_tags(plan: GroupPlan, cadence: str) -> dict[str, str]:
    """The tags of a group's tables; `cadence` is how often they are written."""
    status = "active" if plan.group.deprecated is None else "deprecated"
    return {**plan.group.tags, "entity": plan.group.entity.name, "cadence": cadence, "status": status}


def described(group: FeatureGroup) -> str:
    """The group's description, and first of all what comes after it, if it is deprecated."""
    if group.deprecated is None:
        return group.description
    note = str(group.deprecated)
    return f"{note[0].upper()}{note[1:]}. {group.description}".strip()


def _upstream(source: BatchSource) -> dg.AssetDep:
    """A source; of another group the partition before, too, because its last rows count in the next partition."""
    if not source.of_group:
        return dg.AssetDep(source_key(source))
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", dg.BetaWarning
        )  # said of the partition before the first one, which is not there
        mapping = dg.TimeWindowPartitionMapping(start_offset=-1, allow_nonexistent_upstream_partitions=True)
    return dg.AssetDep(source_key(source), partition_mapping=mapping)


def _of_this_run(context: dg.AssetExecutionContext, plans: Sequence[GroupPlan]) -> list[GroupPlan]:
    """Those of some groups whose tables a run computes."""
    steps, names = context.run.step_keys_to_execute, {plan.group.id: op_name(offline_key(plan.group)) for plan in plans}
    present = {name for name in names.values() if context.job_def.has_node_named(name)}
    wanted = present if steps is None else present.intersection(steps)
    return [plan for plan in plans if names[plan.group.id] in wanted]


def offline_asset(plan: GroupPlan, domain: str, chunk: int, sharing: Sequence[GroupPlan] = ()) -> dg.AssetsDefinition:
    """The asset of a group's offline table.

    Args:
        chunk: how many partitions a run of a backfill computes at most.
        sharing: the groups, this one among them, that are computed from the same tiles where one run computes them.
    """
    key = offline_key(plan.group)
    spec = dg.AssetSpec(
        key,
        deps=[_upstream(source) for source in plan.sources],
        tags=table_tags(plan, plan.group.refresh),
        kinds={"spark", "iceberg"},
        metadata=table_metadata(plan),
        **table_facts(plan, domain),
    )

    @dg.multi_asset(
        name=op_name(key),
        specs=[spec],
        check_specs=check_specs(key, plan),
        backfill_policy=dg.BackfillPolicy.multi_run(chunk),
        pool="spark",
    )
    def compute(
        context: dg.AssetExecutionContext, spark: SparkResource, store: FeatureStoreResource
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        from feature_store.offline.materialize import materialize_span, preview_rows

        audit = RunAudit(key, plan)
        window, together = context.partition_time_window, _of_this_run(context, sharing)
        try:
            done = materialize_span(
                spark.session(),
                store.settings,
                store.catalog,
                plan,
                window.start,
                window.end,
                audit,
                spark.tiles_of(together) if len(together) > 1 else None,
            )
        except (ConflictError, QualityError) as error:
            yield from audit.results(error)
            raise dg.Failure(str(error), allow_retries=False) from error
        context.log.info(f"{done.profile.rows:,} rows of {done.profile.entities:,} entities in {done.seconds:.1f} s")
        preview = preview_rows(spark.session(), plan, done, window.start, window.end)
        yield dg.MaterializeResult(
            asset_key=key,
            metadata=run_metadata(done, preview, personal_data(plan)),
            data_version=dg.DataVersion(str(done.snapshot_id)),
            check_results=list(audit.results()),
        )

    return compute
