"""Sources as Dagster shows them."""

from __future__ import annotations

from typing import Any

from feature_assets.sources import source_specs
from feature_store import INT, STRING, TIMESTAMP, Entity, Feature, FeatureGroup, StreamSource, agg
from feature_store.plan.build import build_plan
from feature_store.plan.nodes import GroupPlan

SCHEMA = {"user_id": STRING, "ts": TIMESTAMP}
CLICKS = StreamSource("clicks", topic="shop.clicks", event_timestamp="ts", schema=SCHEMA)


def plan(name: str, source: Any, **more: Any) -> GroupPlan:
    count = Feature("user_count_1d", agg.count(), window="1d", dtype=INT)
    user = Entity("user", join_key="user_id")
    return build_plan(FeatureGroup(name, entity=user, source=source, owner="team:t", features=[count], **more))


def test_a_stream_is_an_asset_and_its_log_comes_from_it() -> None:
    plans = [plan("user_days", CLICKS.log), plan("user_seconds", CLICKS), plan("user_minutes", CLICKS, slide="1m")]
    specs = {spec.key.to_user_string(): spec for spec in source_specs((each, "shop") for each in plans)}
    assert list(specs) == ["source/clicks_log", "source/clicks"]
    stream, log = specs["source/clicks"], specs["source/clicks_log"]
    assert stream.description == "(topic shop.clicks)"
    assert (stream.kinds, log.kinds) == ({"kafka"}, {"table"})
    assert [dep.asset_key.to_user_string() for dep in log.deps] == ["source/clicks"]
    assert not list(stream.deps)
