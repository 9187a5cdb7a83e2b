"""Views with roles on the real stack: a vector read now is the training row of a label at this instant."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyiceberg.catalog import Catalog
from redis import Redis

from feature_store import INT, FeatureGroup, FeatureView, OnDemand
from feature_store.client import FeatureStore
from feature_store.dsl.collect import Project
from feature_store.errors import InputError
from feature_store.offline.tables import ensure_table
from feature_store.online.materialize import materialize
from feature_store.online.vectors import Status
from feature_store.pit.dataset import build_training_dataset
from feature_store.plan.build import build_plan, view_schema
from feature_store.settings import Settings
from tests.integration.compared import COMPARED
from tests.integration.counting_reader import CountingReader
from tests.unit.pit.pit_cases import rows_table
from tests.unit.view_cases import (
    GROUPS,
    ITEMS,
    NOW,
    SELLERS,
    USERS,
    Row,
    Tables,
    key_rows,
    oracle,
    tables,
    view,
    views,
)


@pytest.fixture
def fill(catalog: Catalog, redis: Redis) -> Callable[[Tables], None]:
    """Makes these rows all that both stores have of the groups of the cases."""

    def write(found: Tables) -> None:
        for group in GROUPS:
            schema = build_plan(group).schema
            keys = list(redis.scan_iter(f"{group.id}:*"))
            if keys:
                redis.delete(*keys)
            ensure_table(catalog, schema).overwrite(rows_table(schema, found.get(group.id, [])))
            materialize(catalog, redis, schema, now=NOW, full=True)

    return write


def fact(group: FeatureGroup, key: Any, **values: Any) -> Row:
    """A row of an hour ago and more."""
    name, at = group.entity.name, NOW - timedelta(hours=3)
    features = {f"{name}_{field}": value for field, value in values.items()}
    return {str(group.entity.join_key): key, "feature_timestamp": at, "created_timestamp": at, **features}


@settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_online_is_training_now_and_both_are_what_the_oracle_says(
    stack: Settings, redis: Redis, fill: Callable[[Tables], None], data: st.DataObject
) -> None:
    found = data.draw(tables())
    fill(found)
    for _ in range(5):
        reads = data.draw(views())
        rows, schema = data.draw(key_rows(reads)), view_schema(reads)
        reader = CountingReader(redis)
        online = reader.read(schema, rows, NOW)
        expected = [row | oracle(reads, found, row, NOW) for row in rows]
        assert online.to_dicts() == expected
        assert online.to_arrow().to_pylist() == expected
        assert len(reader.asked) <= len(schema.rounds)
        asked = [key for keys in reader.asked for key in keys]
        assert schema.is_plain or len(asked) == len(set(asked))

        labels = [{**row, "label_timestamp": NOW} for row in rows]
        if not labels:
            continue
        trained = build_training_dataset(stack, schema, labels, name="roles").table.drop("label_timestamp")
        assert trained.to_pylist() == expected
        COMPARED["views online and in training"] += 1


def test_every_role_has_a_status_and_a_key_is_asked_for_once(redis: Redis, fill: Callable[[Tables], None]) -> None:
    fill({USERS.id: [fact(USERS, "a", count=1, name="A", user="b"), fact(USERS, "b", name="B", count=None)]})
    schema = view_schema(view(USERS, USERS.select("user_count").keyed_by("buyer_id", prefix="buyer_")))
    reader = CountingReader(redis)
    vectors = reader.read(schema, [{"user_id": "a", "buyer_id": "b"}, {"user_id": "b", "buyer_id": None}], NOW)
    assert vectors.statuses == [
        {"user_facts@1": Status.DEFAULTED, "buyer_user_facts@1": Status.DEFAULTED},
        {"user_facts@1": Status.DEFAULTED, "buyer_user_facts@1": Status.NOT_FOUND},
    ]
    assert vectors.to_numpy(["user_count", "buyer_user_count"]).tolist() == [[1, 0], [0, 0]]
    assert vectors.stale == {"user_facts@1": False, "buyer_user_facts@1": False}
    assert vectors.feature_timestamps[0]["buyer_user_facts@1"] == NOW - timedelta(hours=3)
    assert [sorted(keys) for keys in reader.asked] == [
        ["user_facts@1:last_updated", "user_facts@1:{a}", "user_facts@1:{b}"]
    ]


def test_a_key_that_is_a_feature_takes_a_second_round_trip(redis: Redis, fill: Callable[[Tables], None]) -> None:
    fill(
        {
            ITEMS.id: [fact(ITEMS, 1, seller="s"), fact(ITEMS, 2, seller="s"), fact(ITEMS, 3, seller=None)],
            SELLERS.id: [fact(SELLERS, "s", count=7)],
        }
    )
    lead = OnDemand("lead", "seller_count - item_count", dtype=INT)
    schema = view_schema(view(SELLERS.select("seller_count").keyed_by("item_seller"), ITEMS, on_demand=[lead]))
    reader = CountingReader(redis)
    vectors = reader.read(schema, [{"item_id": item} for item in (1, 2, 3, 4, None)], NOW)
    assert [row["seller_count"] for row in vectors.to_dicts()] == [7, 7, 0, 0, 0]
    assert [row["lead"] for row in vectors.to_dicts()] == [8, 8, 1, 1, 1]
    missing = [status["seller_facts@1"] == Status.NOT_FOUND for status in vectors.statuses]
    assert missing == [False, False, True, True, True]
    assert [len(keys) for keys in reader.asked] == [2 + 4, 1]
    reader.read(schema, [{"item_id": 4}], NOW)
    assert len(reader.asked) == 3, "no key, no round trip"
    assert len(reader.read(schema, [], NOW)) == 0


def test_a_recorded_view_with_roles_is_served(stack: Settings, fill: Callable[[Tables], None]) -> None:
    store = FeatureStore(stack)
    fill({USERS.id: [fact(USERS, "a", count=1), fact(USERS, "b", count=2)]})
    name = f"roles_{uuid.uuid4().hex[:8]}"
    buyer = USERS.select("user_count").keyed_by("buyer_id", prefix="buyer_")
    reads = FeatureView(name, groups=[USERS.select("user_count"), buyer], owner="team:test")
    store.apply(Project(GROUPS, (reads,), {}))
    assert store.view(f"{name}@1") == view_schema(reads)
    assert not store.plan(Project(GROUPS, (reads,), {})).changes
    rows = [{"user_id": "a", "buyer_id": "b"}]
    assert store.online(f"{name}@1", rows).to_dicts() == [{**rows[0], "user_count": 1, "buyer_user_count": 2}]
    job = store.training_dataset(f"{name}@1", [{**rows[0], "label_timestamp": NOW}], name="roles")
    data = job.wait()
    assert data.table["buyer_user_count"].to_pylist() == [2]
    assert job.explain() == data.explanation
    assert [group.group for group in job.explain().groups] == ["user_facts@1", "buyer_user_facts@1"]


def test_a_span_in_place_of_labels(stack: Settings, fill: Callable[[Tables], None]) -> None:
    store = FeatureStore(stack)
    fill({USERS.id: [fact(USERS, "a", count=1), fact(USERS, "b", count=2)]})
    name = f"span_{uuid.uuid4().hex[:8]}"
    store.apply(Project(GROUPS, (FeatureView(name, groups=[USERS.select("user_count")], owner="team:test"),), {}))
    span = (NOW - timedelta(days=300), NOW)
    data = store.training_dataset(f"{name}@1", name="span", time_range=span).wait()
    assert data.table.select(["user_id", "user_count"]).to_pylist() == [
        {"user_id": "a", "user_count": 1},
        {"user_id": "b", "user_count": 2},
    ]
    with pytest.raises(InputError, match="'label_timestamp'"):
        store.training_dataset(f"{name}@1", [{"user_id": "a"}], name="span")
    for labels, both in ((None, None), ([{"user_id": "a", "label_timestamp": NOW}], span)):
        with pytest.raises(InputError, match="either labels or a time range"):
            store.training_dataset(f"{name}@1", labels, name="span", time_range=both)
