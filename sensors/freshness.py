"""The alarm of streaming groups: is what readers get as new as promised, within seconds."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

import dagster as dg

from feature_assets.keys import online_key
from feature_assets.metadata import freshness_metadata
from feature_assets.online import FRESH, severity_of
from feature_store.errors import FeatureStoreError
from feature_store.plan.nodes import GroupPlan
from feature_store.streaming.freshness import Freshness
from resources.store import FeatureStoreResource

if TYPE_CHECKING:
    from feature_store.registry.streams import StreamJob

LOOK_SECONDS = 30


def freshness_sensors(plans: Iterable[GroupPlan]) -> list[dg.SensorDefinition]:
    """One sensor for all streaming groups; none without such groups."""
    given = tuple(plans)
    return [_sensor(given)] if given else []


def _sensor(plans: tuple[GroupPlan, ...]) -> dg.SensorDefinition:
    @dg.sensor(
        name="stream_freshness",
        description="Reports the check 'fresh' of every streaming group that is to run; an error when it is overdue.",
        minimum_interval_seconds=LOOK_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def look(context: dg.SensorEvaluationContext, store: FeatureStoreResource) -> dg.SensorResult | dg.SkipReason:
        try:
            recorded = store.stream_jobs()
            to_run = [plan for plan in plans if _is_to_run(recorded.get(plan.group.id))]
            found = list(zip(to_run, store.freshness(to_run), strict=True))
        except FeatureStoreError as error:
            return dg.SkipReason(str(error))
        if not found:
            return dg.SkipReason("no streaming group was started, or all were stopped on purpose")
        before: dict[str, str] = json.loads(context.cursor or "{}")
        for plan, fresh in found:
            _tell(context, fresh, before.get(plan.group.id, "fresh"))
        wrong = [str(fresh) for _, fresh in found if fresh.verdict != "fresh"]
        return dg.SensorResult(
            skip_reason="; ".join(wrong) or f"{len(found)} groups are fresh",
            asset_events=[_evaluation(plan, fresh) for plan, fresh in found if fresh.verdict != "unknown"],
            cursor=json.dumps({plan.group.id: fresh.verdict for plan, fresh in found}),
        )

    return look


def _is_to_run(record: StreamJob | None) -> bool:
    return record is not None and record.desired == "running"


def _tell(context: dg.SensorEvaluationContext, fresh: Freshness, before: str) -> None:
    """Says in the log what has changed since the last look."""
    if fresh.verdict == "overdue" and before != "overdue":
        context.log.error(f"overdue: {fresh}")
    elif fresh.verdict == "fresh" and before == "overdue":
        context.log.info(f"fresh again: {fresh}")


def _evaluation(plan: GroupPlan, fresh: Freshness) -> dg.AssetCheckEvaluation:
    return dg.AssetCheckEvaluation(
        asset_key=online_key(plan.group),
        check_name=FRESH,
        passed=fresh.verdict == "fresh",
        metadata=freshness_metadata(fresh),
        severity=severity_of(fresh),
        description=str(fresh),
    )
