"""Groups and rows of the online store for tests that look at it without any engine."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

from redis import Redis

from feature_store import FLOAT, INT, STRING
from feature_store.dtypes import Value, to_micros
from feature_store.duration import HOUR
from feature_store.online.keys import entity_key
from feature_store.online.writer import GuardedWriter, Written
from feature_store.plan.schema import Column, GroupSchema, ViewedSchema, ViewSchema

NOW = to_micros(datetime.now(UTC))
ORDERS = (
    Column("user_order_count", INT, default=0),
    Column("user_order_mean", FLOAT),
    Column("user_name", STRING, default="?"),
)


def new_group(
    keys: tuple[Column, ...] = (Column("user_id", STRING),),
    features: tuple[Column, ...] = ORDERS,
    ttl: int | None = None,
    freshness: int = HOUR,
) -> GroupSchema:
    """A group that no other test writes."""
    return GroupSchema(f"g_{uuid.uuid4().hex}", 1, keys, features, ttl, 0, freshness, 1)


def view_of(*groups: GroupSchema) -> ViewSchema:
    return ViewSchema("ranking", 1, tuple(map(ViewedSchema, groups)))


def put(
    redis: Redis, group: GroupSchema, key: Any, timestamp: int, *values: Value, now: int = NOW, created: int = 0
) -> Written:
    """Writes one row of a group with one key column."""
    writer = GuardedWriter(redis, group)
    name = entity_key(group, {group.keys[0].name: key})
    assert name is not None
    return writer.write([name], [writer.encode(timestamp, created, values, now)])
