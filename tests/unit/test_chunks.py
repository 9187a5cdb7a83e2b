"""How many partitions one run of a backfill computes, and that a project's jobs agree on it."""

from __future__ import annotations

import warnings
from typing import Any

import dagster as dg
import pytest

from feature_assets.chunks import chunk_size, in_chunks, partitions_per_chunk
from feature_assets.jobs import cadence_jobs
from feature_assets.offline import offline_asset
from feature_assets.online import online_asset
from feature_store import INT, TIMESTAMP, BatchSource, Entity, Feature, FeatureGroup, agg
from feature_store.duration import DAY
from feature_store.plan.build import build_plan
from feature_store.plan.nodes import GroupPlan
from resources.spark import SparkResource
from resources.store import FeatureStoreResource

USER = Entity("user", join_key="user_id", dtype=INT)
ORDERS = BatchSource("orders", table="raw.orders", event_timestamp="ts", schema={"user_id": INT, "ts": TIMESTAMP})


def plan(*windows: str, name: str = "user_orders", **more: Any) -> GroupPlan:
    features = [
        Feature(f"user_{i}_count", agg.count(), window=window, dtype=INT, rename_ok="short")
        for i, window in enumerate(windows)
    ]
    given = {"source": ORDERS, "owner": "team:test", "start": "2026-01-01", **more}
    return build_plan(FeatureGroup(name, entity=USER, features=features, **given))


@pytest.mark.parametrize(
    ("windows", "more", "days"),
    [
        (["1d"], {}, 30),
        (["30d"], {}, 30),
        (["7d", "90d"], {}, 90),
        (["732h", "1h"], {"slide": "1h"}, 31),  # thirty days and a half
        (["122d"], {}, 122),
        (["365d"], {}, 122),
        (["1d", "all_time"], {}, 122),
        (["session(1d)"], {}, 122),
        (["1d"], {"emit": "snapshot"}, 122),
    ],
)
def test_a_chunk_is_as_long_as_the_longest_window_within_bounds(
    windows: list[str], more: dict[str, str], days: int
) -> None:
    assert chunk_size(plan(*windows, **more)) == days * DAY


def test_a_query_reads_everything_before_it() -> None:
    query = "SELECT user_id, count(*) AS user_count FROM orders GROUP BY user_id"
    features = [Feature("user_count", dtype=INT, rename_ok="short")]
    group = FeatureGroup(
        "user_ranks", entity=USER, sources=[ORDERS], query=query,
        owner="team:test", features=features,
    )  # fmt: skip
    assert chunk_size(build_plan(group)) == 122 * DAY


def test_groups_of_the_same_partitions_agree() -> None:
    plans = [
        plan("7d", name="user_week"),
        plan("90d", name="user_quarter"),
        plan("1h", name="user_hour", refresh="hourly"),
        plan("60d", name="user_days", refresh="hourly"),
        plan("7d", name="user_late", start="2026-02-01"),
    ]
    assert partitions_per_chunk(plans) == {
        "user_week@1": 90,
        "user_quarter@1": 90,
        "user_hour@1": 60 * 24,
        "user_days@1": 60 * 24,
        "user_late@1": 30,
    }


def test_their_job_has_one_backfill_policy() -> None:
    """Dagster warns of others and takes the least."""
    plans = [plan("7d", name="user_week"), plan("90d", name="user_quarter")]
    chunks = partitions_per_chunk(plans)
    assets = [asset for p in plans for asset in (offline_asset(p, "x", chunks[p.group.id]), online_asset(p, "x"))]
    resources = {"spark": SparkResource(), "store": FeatureStoreResource()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        defs = dg.Definitions(assets=assets, jobs=cadence_jobs(plans), resources=resources)
        job = defs.resolve_job_def("daily_features")
    assert job.backfill_policy == dg.BackfillPolicy.multi_run(90)


def test_a_range_is_asked_for_in_chunks() -> None:
    start, end = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
    assert list(in_chunks(plan("7d"), "2026-01-05", "2026-01-05")) == [{start: "2026-01-05", end: "2026-01-05"}]
    assert list(in_chunks(plan("7d"), "2026-01-05", "2026-03-06")) == [
        {start: "2026-01-05", end: "2026-02-03"},
        {start: "2026-02-04", end: "2026-03-05"},
        {start: "2026-03-06", end: "2026-03-06"},
    ]
    hours = list(in_chunks(plan("1h", refresh="hourly"), "2026-01-05-07:00", "2026-02-10-00:00"))
    assert hours == [
        {start: "2026-01-05-07:00", end: "2026-02-04-06:00"},
        {start: "2026-02-04-07:00", end: "2026-02-10-00:00"},
    ]
