"""Watches training jobs: launches what waits, and gives a lost worker's job to another run."""

from __future__ import annotations

import dagster as dg

from feature_store.errors import FeatureStoreError
from resources.store import FeatureStoreResource

LOOK_SECONDS = 30


def training_sensor() -> dg.SensorDefinition:
    """The sensor. The server and whoever waits for a job look, too; this one does when neither is there."""

    @dg.sensor(
        name="training_jobs",
        description="Launches training jobs that wait, and gives those of lost workers to other runs.",
        minimum_interval_seconds=LOOK_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def look(store: FeatureStoreResource) -> dg.SkipReason:
        try:
            active = store.follow_training_jobs()
        except FeatureStoreError as error:
            return dg.SkipReason(str(error))
        return dg.SkipReason(f"{active} training jobs are not over")

    return look
