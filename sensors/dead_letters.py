"""The count of dead letters: by source and reason over the last hour, and whether a source has more than it allows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import dagster as dg

from feature_assets.dead_letters import DEAD_LETTERS, letter_metadata, streams_of
from feature_assets.keys import log_key
from feature_store.dsl.source import StreamSource
from feature_store.errors import FeatureStoreError
from feature_store.plan.nodes import GroupPlan
from resources.store import FeatureStoreResource

if TYPE_CHECKING:
    from feature_store.streaming.dead_letters import LetterCounts

LOOK_SECONDS = 60


def dead_letter_sensors(plans: Sequence[GroupPlan]) -> list[dg.SensorDefinition]:
    """One sensor for all streams; none without streams."""
    streams = streams_of(plans)
    return [_sensor(streams)] if streams else []


def _sensor(streams: Sequence[StreamSource]) -> dg.SensorDefinition:
    @dg.sensor(
        name="dead_letters",
        description="Counts the dead letters of every stream over the last hour, and reports the check of their share.",
        minimum_interval_seconds=LOOK_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def look(context: dg.SensorEvaluationContext, store: FeatureStoreResource) -> dg.SensorResult | dg.SkipReason:
        before: dict[str, str] = json.loads(context.cursor or "{}")
        try:
            found = {stream.name: store.dead_letters(stream) for stream in streams}
        except FeatureStoreError as error:
            return dg.SkipReason(str(error))
        told = {name: str(counts) for name, counts in found.items()}
        changed = [stream for stream in streams if before.get(stream.name) != told[stream.name]]
        return dg.SensorResult(
            skip_reason="; ".join(told.values()),
            asset_events=[_evaluation(stream, found[stream.name]) for stream in changed],
            cursor=json.dumps(told),
        )

    return look


def _evaluation(stream: StreamSource, found: LetterCounts) -> dg.AssetCheckEvaluation:
    return dg.AssetCheckEvaluation(
        asset_key=log_key(stream),
        check_name=DEAD_LETTERS,
        passed=not found.is_high,
        metadata={name: dg.MetadataValue.float(float(value)) for name, value in letter_metadata(found).items()},
        severity=dg.AssetCheckSeverity.ERROR,
        description=str(found),
    )
