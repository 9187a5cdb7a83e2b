"""Versions and additions on the real stack: two versions side by side, old and new readers at once, what is left."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from sqlalchemy import text

from feature_assets.keys import offline_key, online_key
from feature_assets.offline import offline_asset
from feature_assets.online import online_asset
from feature_store import (
    FLOAT,
    INT,
    BatchSource,
    Deprecated,
    Entity,
    Feature,
    FeatureGroup,
    FeatureStore,
    FeatureView,
    agg,
)
from feature_store.dsl.collect import Project
from feature_store.errors import ConflictError
from feature_store.offline.tables import arrow_schema, ensure_table
from feature_store.online.connection import connect
from feature_store.plan.build import build_plan
from feature_store.plan.schema import CREATED_TIMESTAMP, FEATURE_TIMESTAMP
from feature_store.settings import Settings

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
COUNT = Feature("user_order_count_30d", agg.count(), window="30d", dtype=INT, default=0)
VALUE = Feature("user_order_value_sum_30d", agg.sum("amount"), window="30d", dtype=FLOAT, default=-1.0)


@dataclass
class Shop:
    """Groups and views of names of their own, in the registry of the stack."""

    settings: Settings
    name: str = field(default_factory=lambda: f"orders_{uuid.uuid4().hex[:8]}")

    def group(self, *features: Feature, **changes: Any) -> FeatureGroup:
        schema = {"user_id": "STRING", "amount": "FLOAT", "ts": "TIMESTAMP"}
        orders = BatchSource("orders", table="raw.orders", event_timestamp="ts", schema=schema)
        user = Entity("user", join_key="user_id")
        given = {"entity": user, "source": orders, "owner": "team:shop", "buckets": 1, "features": features}
        return FeatureGroup(self.name, **{**given, **changes})

    def view(self, group: FeatureGroup, **changes: Any) -> FeatureView:
        return FeatureView(f"view_of_{self.name}", groups=[group], **{"owner": "team:shop", **changes})

    def client(self) -> FeatureStore:
        """A process of its own, as far as what it remembers goes."""
        return FeatureStore(self.settings)

    def apply(self, *definitions: FeatureGroup | FeatureView) -> FeatureStore:
        groups = tuple(each for each in definitions if isinstance(each, FeatureGroup))
        views = tuple(each for each in definitions if isinstance(each, FeatureView))
        client = self.client()
        client.apply(Project(groups, views, {}))
        return client

    def write(self, group: FeatureGroup, user: str, **values: Any) -> None:
        """One row of noon into the offline table, and from there to Redis."""
        schema, client = build_plan(group).schema, self.client()
        row = {"user_id": user, FEATURE_TIMESTAMP: NOON, CREATED_TIMESTAMP: NOON, **values}
        ensure_table(client.catalog, schema).append(pa.Table.from_pylist([row], schema=arrow_schema(schema)))
        client.materialize_online(schema)

    def trained(self, client: FeatureStore, view: str, users: list[str], **arguments: Any) -> list[dict[str, Any]]:
        """The features of some users an hour after noon."""
        labels = [{"user_id": user, "label_timestamp": NOON + timedelta(hours=1)} for user in users]
        made = client.training_dataset(view, labels, name=self.name, **arguments).wait(60)
        return made.table.drop_columns(["user_id", "label_timestamp"]).to_pylist()


@pytest.fixture
def shop(stack: Settings) -> Iterator[Shop]:
    made = Shop(stack)
    yield made
    with made.client().registry.engine.begin() as connection:
        connection.execute(text(f"DELETE FROM feature_views WHERE name = 'view_of_{made.name}'"))
        connection.execute(text(f"DELETE FROM feature_groups WHERE name = '{made.name}'"))


def served(client: FeatureStore, view: str, users: list[str]) -> list[dict[str, Any]]:
    vectors = client.online(view, [{"user_id": user} for user in users], NOON + timedelta(hours=1)).to_dicts()
    return [{name: value for name, value in vector.items() if name != "user_id"} for vector in vectors]


def test_two_versions_live_side_by_side(shop: Shop) -> None:
    first, second = shop.group(COUNT), shop.group(replace_default(COUNT, 7), VALUE, version=2)
    views = [shop.view(first), shop.view(second, version=2)]
    client = shop.apply(first, second, *views)
    shop.write(first, "ann", user_order_count_30d=1)
    shop.write(second, "ann", user_order_count_30d=2, user_order_value_sum_30d=9.5)
    shop.write(second, "bob", user_order_count_30d=3, user_order_value_sum_30d=1.5)

    one = [{"user_order_count_30d": 1}, {"user_order_count_30d": 0}]
    two = [
        {"user_order_count_30d": 2, "user_order_value_sum_30d": 9.5},
        {"user_order_count_30d": 3, "user_order_value_sum_30d": 1.5},
    ]
    for read in (served, shop.trained):
        assert read(client, views[0].id, ["ann", "bob"]) == one
        assert read(client, views[1].id, ["ann", "bob"]) == two
    assert client.catalog.table_exists(f"features.{shop.name}_v1")
    assert client.catalog.table_exists(f"features.{shop.name}_v2")
    with connect(shop.settings.redis_url) as redis:
        vectors = {key.decode() for key in redis.scan_iter(f"{shop.name}@*{{*}}")}
    assert vectors == {f"{shop.name}@1:{{ann}}", f"{shop.name}@2:{{ann}}", f"{shop.name}@2:{{bob}}"}
    plans = [build_plan(group) for group in (first, second)]
    assets = [asset for plan in plans for asset in (offline_asset(plan, "shop", chunk=30), online_asset(plan, "shop"))]
    keys = {spec.key for asset in assets for spec in asset.specs}
    assert keys == {key(group) for key in (offline_key, online_key) for group in (first, second)}
    assert len(keys) == 4


def test_a_feature_with_a_default_is_added_under_the_eyes_of_old_and_new_readers(shop: Shop) -> None:
    """Whoever wrote a vector or a file, old or new, both read it: the one without the feature, the other with it."""
    before, after = shop.group(COUNT), shop.group(COUNT, VALUE)
    view = shop.view(before).id
    old = shop.apply(before, shop.view(before))
    old.view(view)
    shop.write(before, "ann", user_order_count_30d=1)
    new = shop.apply(after, shop.view(after))
    shop.write(after, "bob", user_order_count_30d=2, user_order_value_sum_30d=9.5)
    shop.write(before, "eve", user_order_count_30d=3)  # a writer that has not been told yet

    counts = [{"user_order_count_30d": count} for count in (1, 2, 3)]
    sums = [row | {"user_order_value_sum_30d": value} for row, value in zip(counts, (-1.0, 9.5, -1.0), strict=True)]
    users = ["ann", "bob", "eve"]
    assert served(old, view, users) == shop.trained(old, view, users) == counts
    assert served(new, view, users) == shop.trained(new, view, users) == sums


def test_a_deprecated_version_is_served_and_no_longer_trained_on(shop: Shop, recwarn: pytest.WarningsRecorder) -> None:
    first, second = shop.group(COUNT), shop.group(COUNT, version=2)
    client = shop.apply(first, shop.view(first))
    view = shop.view(first).id
    shop.write(first, "ann", user_order_count_30d=1)
    trained: Callable[..., list[dict[str, Any]]] = lambda **more: shop.trained(client, view, ["ann"], **more)  # noqa: E731
    assert trained(model="ranker") == [{"user_order_count_30d": 1}]
    assert not recwarn.list

    left = Deprecated(second.id, removal="2020-01-31", reason="counted returns")
    old = replace(first, deprecated=left)
    client = shop.apply(old, second, shop.view(old))
    with pytest.raises(ConflictError, match=rf"{first.id} is deprecated, successor {second.id}, removal on 2020-01-31"):
        trained()
    with pytest.raises(ConflictError, match="new training is refused"):
        trained(model="newcomer")
    with pytest.warns(FutureWarning, match=f"{first.id} is deprecated"):
        assert trained(model="ranker") == [{"user_order_count_30d": 1}]
    assert [(used.model, used.purpose, used.uses) for used in client.registry.usage(view)] == [
        ("ranker", "training", 2)
    ]
    record = client.registry.training_datasets(view)[0]
    assert (record.model, record.row_count, list(record.snapshots)) == ("ranker", 1, [first.id])
    assert record in client.registry.lineage(f"{first.id}/{COUNT.name}").training
    assert served(client, view, ["ann"]) == served(shop.client(), view, ["ann"]) == [{"user_order_count_30d": 1}]

    gone = replace(shop.view(old), deprecated=Deprecated(f"view_of_{shop.name}@2", removal="2020-01-31"))
    shop.apply(old, second, gone, shop.view(second, version=2))
    with pytest.raises(ConflictError, match="the model ranker used"):
        client.registry.retire(view, "ann", kind="view")
    client.registry.retire(view, "ann", kind="view", unused_for=0)
    for refused in (lambda: trained(model="ranker"), lambda: served(shop.client(), view, ["ann"])):
        with pytest.raises(ConflictError, match=rf"{view} is retired -> use view_of_{shop.name}@2"):
            refused()


def replace_default(feature: Feature, default: int) -> Feature:
    return Feature.from_json({**feature.to_json(), "default": default})
