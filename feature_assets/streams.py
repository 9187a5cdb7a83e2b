"""The assets of a streaming group: its table, which Flink writes and Spark backfills, and the daily reconcile."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import dagster as dg

from feature_assets.checks import RunAudit, check_specs
from feature_assets.keys import log_key, offline_key, op_name, reconcile_key, source_key
from feature_assets.metadata import consistency_metadata, null_rates, run_metadata, sql_text, table_metadata
from feature_assets.offline import table_facts, table_tags
from feature_assets.partitions import partitions_of
from feature_store.compile.flink import NOWHERE, Start, group_job
from feature_store.errors import ConflictError, QualityError
from feature_store.plan.lineage import personal_data
from feature_store.plan.nodes import GroupPlan
from resources.spark import SparkResource
from resources.store import FeatureStoreResource

if TYPE_CHECKING:
    from feature_store.offline.history import Consistency
    from feature_store.offline.materialize import Materialization

CONSISTENT = "consistent"
LEAST_CONSISTENCY = 0.999
"""Share of rows that the stream must have written as batch computes them, for the reconcile's check to pass."""


def stream_asset(plan: GroupPlan, domain: str, chunk: int) -> dg.AssetsDefinition:
    """The asset of a streaming group's offline table. Flink writes it; running a partition backfills it with Spark.

    A backfill is asked for, so it takes the event log as it is. Of a day whose events are not all in the log it adds
    rows that the day's reconcile corrects. `chunk` is how many partitions a run of a backfill computes at most.
    """
    group, stream = plan.group, plan.stream
    assert stream is not None
    key = offline_key(group)
    spec = dg.AssetSpec(
        key,
        deps=[source_key(stream), log_key(stream)],
        tags=table_tags(plan, "stream"),
        kinds={"flink", "iceberg"},
        metadata={
            **table_metadata(plan),
            "slide": f"{plan.slide / 1e6:g} s",
            "max_out_of_orderness": stream.max_out_of_orderness,
            "allowed_lateness": stream.allowed_lateness,
            "commit_interval": group.commit_interval,
            "sql": sql_text(group_job(plan, NOWHERE, Start()).text),
        },
        **table_facts(plan, domain),
    )

    @dg.multi_asset(
        name=op_name(key),
        specs=[spec],
        check_specs=check_specs(key, plan),
        backfill_policy=dg.BackfillPolicy.multi_run(chunk),
        pool="spark",
    )
    def backfill(
        context: dg.AssetExecutionContext, spark: SparkResource, store: FeatureStoreResource
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        from feature_store.offline.materialize import preview_rows

        audit, window = RunAudit(key, plan), context.partition_time_window
        try:
            done, found = _reconcile(context, plan, spark, store, audit)
        except (ConflictError, QualityError) as error:
            yield from audit.results(error)
            raise dg.Failure(str(error), allow_retries=False) from error
        preview = preview_rows(spark.session(), plan, done, window.start, window.end)
        yield dg.MaterializeResult(
            asset_key=key,
            metadata={**run_metadata(done, preview, personal_data(plan)), **consistency_metadata(found)},
            data_version=dg.DataVersion(str(done.snapshot_id)),
            check_results=list(audit.results()),
        )

    return backfill


def reconcile_asset(plan: GroupPlan, domain: str, chunk: int) -> dg.AssetsDefinition:
    """The daily comparison of what the stream wrote with what batch computes; it corrects what differs."""
    group = plan.group
    key = reconcile_key(group)
    spec = dg.AssetSpec(
        key,
        deps=[offline_key(group)],
        description=f"Is {group.id} the same number in batch? Recomputed from the event log, row for row, corrected.",
        group_name=f"{domain}/{group.name}",
        owners=[group.owner],
        tags=table_tags(plan, group.refresh),
        kinds={"spark"},
        code_version=plan.fingerprint,
        partitions_def=partitions_of(group),
    )
    check = dg.AssetCheckSpec(
        CONSISTENT,
        asset=key,
        description=f"At least {LEAST_CONSISTENCY:.1%} of the rows were as batch computes them.",
    )

    @dg.multi_asset(
        name=op_name(key),
        specs=[spec],
        check_specs=[check],
        backfill_policy=dg.BackfillPolicy.multi_run(chunk),
        pool="spark",
    )
    def reconcile(
        context: dg.AssetExecutionContext, spark: SparkResource, store: FeatureStoreResource
    ) -> Iterator[dg.MaterializeResult[None]]:
        window = context.partition_time_window
        try:
            store.require_log(plan, window.end)
            done, found = _reconcile(context, plan, spark, store, RunAudit(key, plan), now=datetime.now(UTC))
        except (ConflictError, QualityError) as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        if found.corrected:
            store.materialize_online(plan.schema)
        passed = found.rate >= LEAST_CONSISTENCY
        if not passed:
            context.log.error(
                f"{group.id}: {found.rate:.3%} of the rows were right, at least {LEAST_CONSISTENCY:.1%} should"
            )
        result = dg.AssetCheckResult(
            asset_key=key,
            check_name=CONSISTENT,
            passed=passed,
            severity=dg.AssetCheckSeverity.ERROR,
            metadata={"consistency": found.rate, "least consistency": LEAST_CONSISTENCY},
        )
        rates = null_rates(done.profile.null_rates)
        metadata = {**consistency_metadata(found), **rates, "seconds": round(done.seconds, 2)}
        yield dg.MaterializeResult(asset_key=key, metadata=metadata, check_results=[result])

    return reconcile


def _reconcile(
    context: dg.AssetExecutionContext,
    plan: GroupPlan,
    spark: SparkResource,
    store: FeatureStoreResource,
    audit: RunAudit,
    now: datetime | None = None,
) -> "tuple[Materialization, Consistency]":
    from feature_store.offline.reconcile import reconcile_span

    window = context.partition_time_window
    done, found = reconcile_span(
        spark.session(), store.settings, store.catalog, plan, window.start, window.end, audit, now=now
    )
    context.log.info(
        f"{found.batch:,} rows by batch, {found.stored:,} stored: {found.missing:,} missing, {found.extra:,} extra, "
        f"{found.mismatched:,} different; {found.corrected:,} corrected in {done.seconds:.1f} s"
    )
    return done, found
