"""Pre-joined views on the real stack: materializations and the loader keep what the registry says."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import msgspec
import pyarrow as pa
import pytest
from redis import Redis
from sqlalchemy import text

from feature_store import INT, Deprecated, FeatureGroup, FeatureStore, FeatureView, OnDemand
from feature_store.dsl.collect import Project
from feature_store.dtypes import to_micros
from feature_store.offline.tables import arrow_schema, ensure_table
from feature_store.online.keys import VECTOR_SETS_KEY
from feature_store.online.reader import OnlineReader
from feature_store.online.vector_sets import VectorSet, registered_sets, vector_sets
from feature_store.plan.build import build_plan, view_schema
from feature_store.registry.recorded_vectors import keep_recorded_sets, recorded_sets
from feature_store.settings import Settings
from feature_store.streaming.updates import UpdateWriter
from tests.integration.registry_setting import ORDERS, USER
from tests.unit import on_demand_functions as functions

NOW = datetime.now(UTC)
USERS = ("ann", "bob", "eve")


class Shop:
    """Two groups and a view of both, of names of their own, in the registry of the stack."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.mark = uuid.uuid4().hex[:8]
        self.store = FeatureStore(settings)
        self.groups = tuple(self._group(name) for name in ("b", "a"))
        self.schemas = [build_plan(group).schema for group in self.groups]
        hour = OnDemand("hour", function=functions.hour, dtype=INT)
        self.view = FeatureView(f"v_{self.mark}", groups=self.groups, owner="team:shop", prejoin=True, on_demand=[hour])
        self.alone = replace(self.view, on_demand=())

    def _group(self, name: str) -> FeatureGroup:
        query = f"SELECT user_id, count(*) AS user_{name} FROM orders GROUP BY user_id"
        features = [{"name": f"user_{name}", "dtype": "INT", "default": 0, "rename_ok": "short"}]
        given = {"name": f"{name}_{self.mark}", "entity": USER.to_json(), "query": query, "sources": [ORDERS.to_json()]}
        return FeatureGroup.from_json({**given, "owner": "team:shop", "features": features})

    def apply(self, *views: FeatureView) -> None:
        self.store.apply(Project(self.groups, views, {}, packages=("tests",)))

    def sets(self) -> tuple[VectorSet, ...]:
        return vector_sets([view_schema(self.alone)])

    def write(self, place: int, minutes: int, *values: int, full: bool = False) -> None:
        """A row of each user into an offline table, and from there to Redis."""
        schema, at = self.schemas[place], NOW - timedelta(minutes=minutes)
        times = {"feature_timestamp": at, "created_timestamp": at}
        names = [column.name for column in schema.features]
        rows = [{"user_id": user, names[0]: value, **times} for user, value in zip(USERS, values, strict=False)]
        if rows:
            ensure_table(self.store.catalog, schema).append(pa.Table.from_pylist(rows, schema=arrow_schema(schema)))
        self.store.materialize_online(schema, full=full)

    def read(self, redis: Redis, *, prejoin: bool) -> list[dict[str, Any]]:
        view = replace(view_schema(self.alone), prejoin=prejoin)
        reader = OnlineReader(redis)
        rows = [{"user_id": user} for user in (*USERS, "nobody")]
        found = [reader.read(view, rows) for _ in range(2)]
        assert found[0].to_dicts() == found[1].to_dicts()
        assert found[0].statuses == found[1].statuses
        return [row | status for row, status in zip(found[0].to_dicts(), found[0].statuses, strict=True)]

    def vectors(self, redis: Redis) -> int:
        return len([*redis.scan_iter(match=f"{self.view.id}:user_id:{{*")])


@pytest.fixture
def shop(stack: Settings, redis: Redis) -> Iterator[Shop]:
    made = Shop(stack)
    yield made
    with made.store.registry.engine.begin() as connection:
        connection.execute(text(f"DELETE FROM feature_views WHERE name = '{made.view.name}'"))
        connection.execute(text(f"DELETE FROM feature_groups WHERE name LIKE '%\\_{made.mark}'"))
    redis.hdel(VECTOR_SETS_KEY, *(each.name for each in made.sets()))


def test_materializations_fill_keep_and_drop_what_is_recorded(shop: Shop, redis: Redis) -> None:
    (kept,) = shop.sets()
    shop.apply(replace(shop.view, prejoin=False))
    shop.write(0, 30, 1, 2)
    assert kept.name not in registered_sets(redis)

    shop.apply(shop.view)  # both groups have been written, one is written from now on
    shop.write(1, 20, 5)
    assert registered_sets(redis)[kept.name] == kept
    assert shop.vectors(redis) == 2
    assert shop.read(redis, prejoin=True) == shop.read(redis, prejoin=False)
    token = redis.hget(VECTOR_SETS_KEY, kept.name)
    shop.write(0, 10, 8, 8, 8)
    assert redis.hget(VECTOR_SETS_KEY, kept.name) == token
    assert shop.vectors(redis) == 3
    assert shop.read(redis, prejoin=True) == shop.read(redis, prejoin=False)
    assert [row[f"user_{name}"] for name in "ab" for row in shop.read(redis, prejoin=True)] == [5, 0, 0, 0, 8, 8, 8, 0]

    redis.delete(f"{shop.schemas[0].id}:{{eve}}")  # past the guard: what a full run puts right
    shop.write(1, 0, full=True)
    assert shop.vectors(redis) == 2
    assert shop.read(redis, prejoin=True) == shop.read(redis, prejoin=False)

    shop.apply(replace(shop.view, prejoin=False))
    shop.write(0, 5, 9)
    assert kept.name not in registered_sets(redis)
    assert redis.pttl(f"{kept.prefix}{{ann}}") > 0
    assert shop.read(redis, prejoin=True)[0]["user_b"] == 9


def test_updates_of_a_stream_are_in_vectors_and_an_emptied_redis_gets_them_again(shop: Shop, redis: Redis) -> None:
    shop.apply(shop.view)
    ids = [schema.id for schema in shop.schemas]
    registry = shop.store.registry

    def load(place: int, minute: int, **values: int) -> None:
        schema, at = shop.schemas[place], to_micros(NOW) + minute
        name = schema.features[0].name
        rows = [{"user_id": user, name: n, "_feature": at, "_created": at} for user, n in values.items()]
        UpdateWriter(redis, schema).write([msgspec.json.encode(row) for row in rows])

    load(0, 0, ann=1)
    keep_recorded_sets(registry, redis, ids)
    load(0, 1, ann=2, bob=3)
    load(1, 1, bob=4, eve=5)
    load(1, 0, eve=6)  # an older one
    assert [(row["user_b"], row["user_a"]) for row in shop.read(redis, prejoin=True)] == [
        (2, 0),
        (3, 4),
        (0, 5),
        (0, 0),
    ]
    assert shop.read(redis, prejoin=True) == shop.read(redis, prejoin=False)
    assert shop.vectors(redis) == 3

    lost = [key for mark in (shop.mark, "vector_sets") for key in cast("list[bytes]", redis.keys(f"*{mark}*"))]
    redis.delete(*lost)
    load(0, 2, eve=7)
    assert shop.read(redis, prejoin=True) == shop.read(redis, prejoin=False)
    assert shop.vectors(redis) == 0
    keep_recorded_sets(registry, redis, ids[:1])
    assert shop.vectors(redis) == 1
    assert shop.read(redis, prejoin=True) == shop.read(redis, prejoin=False)


def test_a_retired_view_has_no_vectors(shop: Shop, redis: Redis) -> None:
    gone = Deprecated(successor=f"v_{shop.mark}@2", removal="2026-01-02")
    second = FeatureView(shop.view.name, version=2, groups=shop.groups, owner="team:shop")
    shop.apply(shop.view)
    shop.apply(replace(shop.view, deprecated=gone), second)
    registry, (schema, _) = shop.store.registry, shop.schemas
    assert recorded_sets(registry, [schema.id]) == shop.sets()
    keep_recorded_sets(registry, redis, [schema.id])
    registry.retire(shop.view.id, "ann", kind="view")
    assert recorded_sets(registry, [schema.id]) == ()
    keep_recorded_sets(registry, redis, ["another@1"])
    assert shop.sets()[0].name in registered_sets(redis)
    keep_recorded_sets(registry, redis, [schema.id])
    assert shop.sets()[0].name not in registered_sets(redis)
