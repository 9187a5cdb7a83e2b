"""Has partitions of streaming groups reconciled until it has succeeded: those that late events have touched, and those
whose scheduled reconcile has failed or was missed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg

from feature_assets.chunks import in_chunks
from feature_assets.keys import reconcile_key
from feature_assets.partitions import partitions_of
from feature_assets.stream_jobs import RECONCILE_TAGS, reconciled_together, scheduled_until
from feature_store.dtypes import from_micros
from feature_store.plan.nodes import GroupPlan
from resources.store import FeatureStoreResource

LOOK_SECONDS = 300
FIRST_WAIT, LONGEST_WAIT = timedelta(minutes=5), timedelta(hours=6)
"""How long after a run that failed it is asked for again; twice as long each time."""
TOUCHED = "feature-store/touched"
"""Tag of the runs that the sensor asks for: of which group, which partitions, and what was seen of the log by then."""
UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def late_event_sensors(plans: Iterable[GroupPlan]) -> list[dg.SensorDefinition]:
    """One sensor for all streaming groups; none without such groups."""
    given = tuple(plans)
    return [_sensor(given)] if given else []


def _sensor(plans: Sequence[GroupPlan]) -> dg.SensorDefinition:
    @dg.sensor(
        name="late_events",
        description="Reconciles partitions that late events of a stream have touched, and those that were missed.",
        minimum_interval_seconds=LOOK_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        asset_selection=dg.AssetSelection.assets(*(reconcile_key(plan.group) for plan in plans)),
    )
    def look(context: dg.SensorEvaluationContext, store: FeatureStoreResource) -> dg.SensorResult | dg.SkipReason:
        if context.instance.get_run_ids(dg.RunsFilter(tags=RECONCILE_TAGS, statuses=UNFINISHED), limit=1):
            return dg.SkipReason("a reconcile is on its way")
        asked = wanted_reconciles(context.instance, store, plans, datetime.now(UTC))
        return dg.SensorResult(run_requests=asked, skip_reason=None if asked else "nothing is to be reconciled now")

    return look


def wanted_reconciles(
    instance: dg.DagsterInstance, store: FeatureStoreResource, plans: Sequence[GroupPlan], now: datetime
) -> list[dg.RunRequest]:
    """The runs to ask for at an instant: of all partitions that are to be reconciled and have not just failed."""
    return [
        request
        for members in reconciled_together(plans).values()
        for plan in members
        for request in _requests(instance, store, plan, scheduled_until(members, now))
        if _is_due(instance, request.tags[TOUCHED], now)
    ]


def _requests(
    instance: dg.DagsterInstance, store: FeatureStoreResource, plan: GroupPlan, settled: int
) -> Iterator[dg.RunRequest]:
    """One run for each chunk of the partitions that are to be reconciled."""
    from pyiceberg.exceptions import NoSuchNamespaceError, NoSuchTableError

    from feature_store.offline.late import SOURCES, unreconciled_spans

    try:
        table = store.catalog.load_table(plan.schema.table)
    except (NoSuchTableError, NoSuchNamespaceError):
        return
    for after, until in unreconciled_spans(table, plan, settled):
        window = dg.TimeWindow(from_micros(after), from_micros(until))
        keys = partitions_of(plan.group).get_partition_keys_in_time_window(window)
        for chunk in in_chunks(plan, keys[0], keys[-1]) if keys else ():
            touched = f"{plan.group.id} {' '.join(chunk.values())} {table.properties.get(SOURCES, '')}"
            yield dg.RunRequest(
                run_key=f"{touched} {instance.get_runs_count(dg.RunsFilter(tags={TOUCHED: touched}))}",
                asset_selection=[reconcile_key(plan.group)],
                tags={**chunk, **RECONCILE_TAGS, TOUCHED: touched},
            )


def _is_due(instance: dg.DagsterInstance, touched: str, now: datetime) -> bool:
    """Whether partitions are asked for the first time, or long enough after the last run that did not do it."""
    wanted = dg.RunsFilter(tags={TOUCHED: touched})
    last = instance.get_run_records(wanted, limit=1)
    if not last:
        return True
    wait: timedelta = min(FIRST_WAIT * 2 ** min(instance.get_runs_count(wanted) - 1, 10), LONGEST_WAIT)
    ended: float = last[0].end_time or last[0].create_timestamp.timestamp()
    return now >= datetime.fromtimestamp(ended, UTC) + wait
