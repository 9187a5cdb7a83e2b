"""One asset for the upkeep of the Iceberg tables that the store writes, its job and its schedule."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from feature_assets.jobs import AssetJob
from feature_assets.keys import maintenance_key, op_name
from feature_store.compile.flink import DEAD_LETTERS
from feature_store.plan.nodes import GroupPlan
from feature_store.plan.schema import GroupSchema
from feature_store.streaming.wanted import wanted_jobs
from resources.spark import SparkResource
from resources.store import FeatureStoreResource

if TYPE_CHECKING:
    from feature_store.offline.maintenance import Maintained

MAINTENANCE = "table_maintenance"


@dataclass(frozen=True)
class Kept:
    """A table that is kept up: `group` if it is that of one, and the names of the Flink jobs that write to it."""

    table: str
    group: GroupSchema | None = None
    jobs: tuple[str, ...] = ()


def kept_tables(plans: Sequence[GroupPlan]) -> list[Kept]:
    """The tables of all groups, and those that streams write beside them."""
    streaming = wanted_jobs(plans)
    groups = [Kept(plan.schema.table, plan.schema, (plan.group.id,) if plan.stream else ()) for plan in plans]
    logs = [Kept(str(job.stream.log.table), jobs=(job.name,)) for job in streaming if job.plan is None]
    letters = [Kept(DEAD_LETTERS, jobs=tuple(job.name for job in streaming))] if streaming else []
    return [*groups, *logs, *letters]


def maintenance_asset(plans: Sequence[GroupPlan]) -> dg.AssetsDefinition:
    """The asset: each run keeps up every table that there is, and says what it did to it."""
    key = maintenance_key()
    tables = kept_tables(plans)
    spec = dg.AssetSpec(
        key,
        description="Small files put together; tags of killed training builds dropped; old snapshots expired but for "
        "tagged ones; orphan files removed.",
        group_name="maintenance",
        kinds={"spark", "iceberg"},
    )

    @dg.multi_asset(name=op_name(key), specs=[spec], pool="spark")
    def keep_up(
        context: dg.AssetExecutionContext, spark: SparkResource, store: FeatureStoreResource
    ) -> Iterator[dg.MaterializeResult[None]]:
        from feature_store.offline.maintenance import maintain

        done: list[Maintained] = []
        failed: dict[str, str] = {}
        swept = 0
        for path in store.sweep_unfinished_training(datetime.now(UTC)):
            context.log.info(f"{path}: removed, for its build was killed")
        for kept in tables:
            if not store.catalog.table_exists(kept.table):
                continue
            try:
                needed, jobs = store.needed_snapshots(kept.group), store.flink_jobs(kept.jobs)
                now = datetime.now(UTC)
                tags = store.sweep_training_tags(kept.group, now) if kept.group is not None else []
                swept += len(tags)
                found = maintain(
                    spark.session(), store.catalog, kept.table, now, needed=needed, flink_jobs=jobs or None
                )
            except Exception as error:  # the other tables want their upkeep all the same
                failed[kept.table] = str(error).splitlines()[0]
                context.log.error(f"{kept.table}: {error}")
            else:
                done.append(found)
        if failed:
            raise dg.Failure(f"{len(failed)} of {len(tables)} tables failed", metadata=dict(failed))
        yield dg.MaterializeResult(asset_key=key, metadata={**_metadata(done), "tags of killed builds dropped": swept})

    return keep_up


def maintenance_job() -> AssetJob:
    """The job that keeps up all tables."""
    return dg.define_asset_job(
        MAINTENANCE,
        selection=dg.AssetSelection.assets(maintenance_key()),
        description="Compact files, expire snapshots and remove orphan files of every Iceberg table the store writes.",
    )


def maintenance_schedule() -> dg.ScheduleDefinition:
    """Every night at 03:15 UTC."""
    return dg.ScheduleDefinition(
        name=f"{MAINTENANCE}_schedule",
        job_name=MAINTENANCE,
        cron_schedule="15 3 * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )


def _metadata(done: "Sequence[Maintained]") -> dict[str, Any]:
    """Totals, which Dagster plots over time, and a line for each table."""
    records = [
        dg.TableRecord(
            {
                "table": found.table,
                "files": f"{found.before.files:,} -> {found.after.files:,}",
                "bytes": f"{found.before.bytes:,} -> {found.after.bytes:,}",
                "snapshots": f"{found.before.snapshots:,} -> {found.after.snapshots:,}",
                "rewritten": found.rewritten,
                "contested": found.contested,
                "orphans": found.orphans,
            }
        )
        for found in done
    ]
    return {
        "tables": dg.MetadataValue.table(records) if records else "none",
        "files": sum(found.after.files for found in done),
        "bytes": sum(found.after.bytes for found in done),
        "snapshots": sum(found.after.snapshots for found in done),
        "files before": sum(found.before.files for found in done),
        "snapshots before": sum(found.before.snapshots for found in done),
        "orphan files removed": sum(found.orphans for found in done),
    }
