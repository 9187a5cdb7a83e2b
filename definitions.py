"""What Dagster loads: the project's feature groups as assets, their jobs and schedules, and the demo around them."""

from __future__ import annotations

import dagster as dg

from demo.assets import demo_assets, demo_jobs
from feature_assets.jobs import cadence_jobs, cadence_schedules
from feature_assets.offline import offline_asset
from feature_assets.online import online_asset
from feature_assets.sources import source_specs
from feature_store.dsl.collect import load_project
from feature_store.plan.project import compile_project
from resources.spark import SparkResource
from resources.store import FeatureStoreResource

project = load_project("feature_defs")
plans = list(compile_project(project).groups.values())
domains = project.domains
jobs = cadence_jobs(plans)

defs = dg.Definitions(
    assets=[
        *source_specs((plan, domains[plan.group.id]) for plan in plans),
        *(make(plan, domains[plan.group.id]) for plan in plans for make in (offline_asset, online_asset)),
        *demo_assets(),
    ],
    jobs=[*jobs, *demo_jobs()],
    schedules=cadence_schedules(jobs),
    resources={"spark": SparkResource(), "store": FeatureStoreResource()},
    executor=dg.in_process_executor,  # the steps of a run share its Spark session
)
