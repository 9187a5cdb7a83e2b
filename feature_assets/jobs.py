"""One job and one schedule for each cadence: compute, check and publish every group of it in one run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import dagster as dg

from feature_assets.keys import offline_key, online_key
from feature_store.plan.nodes import GroupPlan

AssetJob = Any
"""What `define_asset_job` returns; Dagster does not export its type."""


def cadence_jobs(plans: Iterable[GroupPlan]) -> list[AssetJob]:
    """A job for each set of partitions: "daily_features", with the first day where groups start on different days."""
    by_partitions: dict[tuple[str, str], list[GroupPlan]] = {}
    for plan in plans:
        by_partitions.setdefault((plan.group.refresh, plan.group.start), []).append(plan)
    cadences = [cadence for cadence, _ in by_partitions]
    jobs = []
    for (cadence, start), members in sorted(by_partitions.items()):
        name = f"{cadence}_features" if cadences.count(cadence) == 1 else f"{cadence}_features_{start.replace('-', '')}"
        keys = [key for plan in members for key in (offline_key(plan.group), online_key(plan.group))]
        jobs.append(
            dg.define_asset_job(
                name,
                selection=dg.AssetSelection.assets(*keys),
                description=f"Compute, check and publish the {len(members)} {cadence} feature groups.",
                tags={"cadence": cadence},
            )
        )
    return jobs


def cadence_schedules(jobs: Iterable[AssetJob]) -> list[Any]:
    """Each job soon after its partition ends: daily at 00:15 UTC, hourly five minutes past."""
    return [
        dg.build_schedule_from_partitioned_job(
            job,
            hour_of_day=0 if job.name.startswith("daily") else None,
            minute_of_hour=15 if job.name.startswith("daily") else 5,
            default_status=dg.DefaultScheduleStatus.RUNNING,
        )
        for job in jobs
    ]
