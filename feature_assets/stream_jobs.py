"""What `./fs stream` does, as Dagster jobs; the backfill of each streaming group, and the reconcile of all of them."""

from collections.abc import Iterable, Sequence
from datetime import datetime

import dagster as dg
from pydantic import Field

from feature_assets.jobs import AssetJob
from feature_assets.keys import offline_key, online_key, reconcile_key
from feature_assets.partitions import last_over
from feature_store.dsl.group import FeatureGroup
from feature_store.dtypes import from_micros, to_micros
from feature_store.duration import MINUTE
from feature_store.plan.nodes import GroupPlan
from resources.store import FeatureStoreResource

RECONCILE = "reconcile_streams"
RECONCILE_TAGS = {"feature-store/run": "reconcile"}
"""Of all runs that reconcile, whoever asked for them."""
_TICK = 30 * MINUTE
"""How long after a day or hour its end is reconciled (microseconds)."""


class StreamNames(dg.Config):
    """Which jobs: names as `./fs stream status` shows them; all of them if none is given."""

    names: list[str] = Field(default_factory=list)


class DeadLetters(dg.Config):
    """Which dead letters: of a source, for a reason, recorded since an instant."""

    source: str
    reason: str = "malformed"
    since: str | None = None


@dg.op
def start_streams(context: dg.OpExecutionContext, config: StreamNames, store: FeatureStoreResource) -> None:
    """Lets jobs run that were stopped, from their savepoints."""
    from feature_store.streaming.steering import chosen, start

    for name in chosen(store.streams, config.names):
        context.log.info(f"{name}: {start(store.streams, name).did}")


@dg.op
def stop_streams(context: dg.OpExecutionContext, config: StreamNames, store: FeatureStoreResource) -> None:
    """Stops jobs with a savepoint; they stay stopped."""
    from feature_store.streaming.steering import chosen, stop

    for name in chosen(store.streams, config.names):
        record = stop(store.streams, name)
        context.log.info(f"{name}: {'was never started' if record is None else f'stopped at {record.state_path}'}")


@dg.op
def restart_streams(context: dg.OpExecutionContext, config: StreamNames, store: FeatureStoreResource) -> None:
    """Stops jobs with a savepoint and goes on from it."""
    from feature_store.streaming.steering import chosen, restart

    for name in chosen(store.streams, config.names):
        context.log.info(f"{name}: {restart(store.streams, name).did}")


@dg.op
def replay_dead_letters(context: dg.OpExecutionContext, config: DeadLetters, store: FeatureStoreResource) -> None:
    """Sends dead letters to their topic again."""
    from feature_store.streaming.replay import replay

    by = f"Dagster run {context.run_id}"
    sent = replay(store.streams, config.source, reason=config.reason, since=config.since, by=by)
    context.log.info(f"{sent:,} dead letters of {config.source} sent again")


@dg.job
def stream_start() -> None:
    """Start Flink jobs, or go on with them where they were stopped."""
    start_streams()


@dg.job
def stream_stop() -> None:
    """Stop Flink jobs with a savepoint."""
    stop_streams()


@dg.job
def stream_restart() -> None:
    """Restart Flink jobs from a savepoint."""
    restart_streams()


@dg.job
def stream_replay() -> None:
    """Replay dead letters."""
    replay_dead_letters()


def stream_jobs(plans: Sequence[GroupPlan]) -> list[AssetJob]:
    """The jobs of a project with streaming groups: four to steer, to reconcile, to backfill each; none without."""
    if not plans:
        return []
    return [
        stream_start,
        stream_stop,
        stream_restart,
        stream_replay,
        *(
            dg.define_asset_job(
                name,
                selection=dg.AssetSelection.assets(*(reconcile_key(plan.group) for plan in members)),
                description="Compare what streams wrote with what batch computes, and correct what differs.",
                tags=RECONCILE_TAGS,
            )
            for name, members in reconciled_together(plans).items()
        ),
        *(
            dg.define_asset_job(
                backfill_job(plan.group),
                selection=dg.AssetSelection.assets(offline_key(plan.group), online_key(plan.group)),
                description=f"Compute partitions of {plan.group.id} from its event log, and publish what is newest.",
            )
            for plan in plans
        ),
    ]


def backfill_job(group: FeatureGroup) -> str:
    """The name of the job that backfills one streaming group: "backfill_user_activity_v1"."""
    return f"backfill_{group.name}_v{group.version}"


def stream_schedules(plans: Sequence[GroupPlan]) -> list[dg.ScheduleDefinition]:
    """A reconcile of the newest partition whose events can no longer be late: at 00:30 UTC, or half past the hour."""
    return [_reconcile_schedule(name, members) for name, members in reconciled_together(plans).items()]


def reconciled_together(plans: Iterable[GroupPlan]) -> dict[str, list[GroupPlan]]:
    """The groups of each reconcile job, which share their partitions; usually there is one, "reconcile_streams"."""
    by_partitions: dict[tuple[str, str], list[GroupPlan]] = {}
    for plan in plans:
        by_partitions.setdefault((plan.group.refresh, plan.group.start), []).append(plan)
    if len(by_partitions) == 1:
        return {RECONCILE: next(iter(by_partitions.values()))}
    return {
        f"{RECONCILE}_{cadence}_{start.replace('-', '')}": members
        for (cadence, start), members in sorted(by_partitions.items())
    }


def scheduled_until(members: Sequence[GroupPlan], now: datetime) -> int:
    """The end (microseconds) of the last partition whose scheduled reconcile has had some time by now.

    Args:
        members: the groups that are reconciled together.
    """
    size = members[0].group.partition_size
    tick = (to_micros(now) - _TICK - size // 24) // size * size + _TICK
    return to_micros(_settled_before(members, from_micros(tick))) // size * size


def _settled_before(members: Sequence[GroupPlan], at: datetime) -> datetime:
    """The instant before which all events of all groups are settled."""
    from feature_store.offline.reconcile import settled_at

    return at - max(settled_at(plan, at) - at for plan in members)


def _reconcile_schedule(job: str, members: Sequence[GroupPlan]) -> dg.ScheduleDefinition:
    group = members[0].group

    @dg.schedule(
        name=f"{job}_schedule",
        job_name=job,
        cron_schedule="30 * * * *" if group.refresh == "hourly" else "30 0 * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )
    def settled(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        key = last_over(group, _settled_before(members, context.scheduled_execution_time))
        return dg.RunRequest(run_key=key, partition_key=key) if key else dg.SkipReason("no partition is over yet")

    return settled
