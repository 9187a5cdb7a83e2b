"""Groups over the rows of other groups."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest

from feature_assets.offline import offline_asset
from feature_assets.sources import source_specs
from feature_store import FLOAT, INT, STRING, TIMESTAMP, BatchSource, Entity, Feature, FeatureGroup, StreamSource, agg
from feature_store.dsl.collect import Project
from feature_store.errors import DefinitionError, DefinitionErrors
from feature_store.plan.build import build_plan
from feature_store.plan.project import compile_project

SCHEMA = {"user_id": STRING, "ts": TIMESTAMP}
ORDERS = BatchSource("orders", table="raw.orders", event_timestamp="ts", schema=SCHEMA)
COUNT = Feature("user_order_count_1d", agg.count(), window="1d", dtype=INT)
MEAN = Feature("user_order_count_1d_mean_7d", agg.mean("user_order_count_1d"), window="7d", dtype=FLOAT)


def group(name: str, source: Any, *features: Feature, **more: Any) -> FeatureGroup:
    user = Entity("user", join_key="user_id")
    return FeatureGroup(name, entity=user, source=source, owner="team:t", features=features, **more)


DAYS = group("user_days", ORDERS, COUNT, derived={"user_is_busy": "user_order_count_1d > 3"})


def test_the_rows_of_a_group_are_events_at_their_feature_timestamps() -> None:
    source = DAYS.as_source()
    assert (source.table, source.event_timestamp) == ("features.user_days_v1", "feature_timestamp")
    assert {name: str(dtype) for name, dtype in source.schema.items()} == {
        "user_id": "STRING", "user_order_count_1d": "INT", "user_is_busy": "BOOL", "feature_timestamp": "TIMESTAMP"
    }  # fmt: skip
    assert BatchSource.from_json(source.to_json()) == source
    habits = group("user_habits", source, MEAN, Feature("user_busy_count_7d", agg.count(), where="user_is_busy",
                                                        window="7d", dtype=INT))  # fmt: skip
    rows = [{"user_id": "u", "user_order_count_1d": n, "user_is_busy": n > 3, "feature_timestamp": f"2026-01-0{n}"}
            for n in (2, 4, 6)]  # fmt: skip
    assert habits.run(rows, as_of="2026-01-07") == [
        {"user_id": "u", "user_order_count_1d_mean_7d": 4.0, "user_busy_count_7d": 2}
    ]


def test_dagster_computes_them_in_order() -> None:
    plan = build_plan(group("user_habits", DAYS.as_source(), MEAN))
    assert list(source_specs([(build_plan(DAYS), "shop"), (plan, "shop")])) != []
    assert [spec.key.path for spec in source_specs([(plan, "shop")])] == []
    key = dg.AssetKey(["offline", "user_days", "v1"])
    (dep,) = next(iter(offline_asset(plan, "shop", chunk=30).specs)).deps
    assert dep.asset_key == key
    assert isinstance(dep.partition_mapping, dg.TimeWindowPartitionMapping)
    assert (dep.partition_mapping.start_offset, dep.partition_mapping.end_offset) == (-1, 0)


def test_what_cannot_be_chained_is_told() -> None:
    clicks = StreamSource("clicks", topic="clicks", event_timestamp="ts", schema=SCHEMA)
    with pytest.raises(DefinitionError, match="are written by a stream"):
        group("user_clicks", clicks, COUNT).as_source()
    slow = group("user_days", ORDERS, COUNT, availability_delay="2h")
    habits = group("user_habits", slow.as_source(), MEAN)
    for groups, message in (((slow, habits), "is shorter than that of user_days@1"), ((habits,), "not defined by")):
        with pytest.raises(DefinitionErrors) as caught:
            compile_project(Project(groups, (), {}))
        (error,) = caught.value.errors
        assert error.code == "chain"
        assert message in error.message
    later = group("user_habits", slow.as_source(), MEAN, availability_delay="3h")
    assert sorted(compile_project(Project((slow, later), (), {})).groups) == ["user_days@1", "user_habits@1"]
