"""What Dagster loads: the project's feature groups as assets, their jobs, schedules and sensors, and the demo."""

from __future__ import annotations

import dagster as dg

from demo.assets import demo_assets, demo_jobs
from feature_assets.chunks import partitions_per_chunk
from feature_assets.dead_letters import dead_letter_check, streams_of
from feature_assets.jobs import cadence_jobs, cadence_schedules
from feature_assets.maintenance import maintenance_asset, maintenance_job, maintenance_schedule
from feature_assets.offline import offline_asset
from feature_assets.online import fresh_check, online_asset
from feature_assets.skew import skew_asset, skew_jobs, skew_schedules
from feature_assets.sources import source_specs
from feature_assets.stream_jobs import stream_jobs, stream_schedules
from feature_assets.streams import reconcile_asset, stream_asset
from feature_assets.training import training_assets
from feature_store.dsl.collect import load_project
from feature_store.plan.sharing import sharing_groups
from resources.project import compile_with_posted
from resources.spark import SparkResource
from resources.store import FeatureStoreResource
from sensors.alerts import Watched, alert_sensor
from sensors.dead_letters import dead_letter_sensors
from sensors.freshness import freshness_sensors
from sensors.late_events import late_event_sensors
from sensors.late_rows import late_row_sensors
from sensors.streams import stream_sensors
from sensors.training import training_sensor

compiled = compile_with_posted(load_project("feature_defs"))
plans = list(compiled.groups.values())
domains = compiled.project.domains
views = compiled.project.views
batch, streaming = [p for p in plans if p.stream is None], [p for p in plans if p.stream is not None]
sharing = {plan.group.id: groups for groups in sharing_groups(batch) for plan in groups}
chunks = {**partitions_per_chunk(batch), **partitions_per_chunk(streaming)}
jobs = cadence_jobs(batch)
jobs_of_streams = stream_jobs(streaming)

defs = dg.Definitions(
    assets=[
        *source_specs((plan, domains[plan.group.id]) for plan in plans),
        *(
            offline_asset(plan, domains[plan.group.id], chunks[plan.group.id], sharing.get(plan.group.id, ()))
            for plan in batch
        ),
        *(
            make(plan, domains[plan.group.id], chunks[plan.group.id])
            for plan in streaming
            for make in (stream_asset, reconcile_asset)
        ),
        *(online_asset(plan, domains[plan.group.id]) for plan in plans),
        *map(skew_asset, views),
        *training_assets(compiled.project.views, plans),
        maintenance_asset(plans),
        *demo_assets(),
    ],
    asset_checks=[*map(fresh_check, streaming), *map(dead_letter_check, streams_of(streaming))],
    jobs=[*jobs, *jobs_of_streams, maintenance_job(), *skew_jobs(views), *demo_jobs()],
    schedules=[*cadence_schedules(jobs), *stream_schedules(streaming), maintenance_schedule(), *skew_schedules(views)],
    sensors=[
        *late_row_sensors(batch),
        *late_event_sensors(streaming),
        *stream_sensors(streaming, jobs_of_streams),
        *freshness_sensors(streaming),
        *dead_letter_sensors(streaming),
        training_sensor(),
        alert_sensor(Watched.of(plans, views)),
    ],
    resources={"spark": SparkResource(), "store": FeatureStoreResource()},
    executor=dg.in_process_executor,  # the steps of a run share its Spark session
)
