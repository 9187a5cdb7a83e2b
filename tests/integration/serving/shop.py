"""A shop to serve: groups with every type of key and feature, views over them, and rows in Redis."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from redis import Redis

from feature_store import (
    BOOL,
    EMBEDDING,
    FLOAT,
    INT,
    LIST,
    STRING,
    TIMESTAMP,
    BatchSource,
    Entity,
    Feature,
    FeatureGroup,
    FeatureView,
    OnDemand,
    agg,
)
from feature_store.dsl.collect import Project
from feature_store.dtypes import DType, from_micros, to_micros
from feature_store.duration import HOUR
from feature_store.online.keys import entity_key
from feature_store.online.writer import GuardedWriter
from feature_store.plan.build import build_plan, view_schema
from feature_store.plan.project import compile_project
from feature_store.plan.schema import GroupSchema, ViewSchema
from feature_store.registry.store import Registry

FIELDS: dict[str, DType] = {
    "count": INT,
    "price": FLOAT,
    "name": STRING,
    "open": BOOL,
    "at": TIMESTAMP,
    "vector": EMBEDDING(3),
    "seller": STRING,
    "tags": LIST(STRING),
    "sizes": LIST(INT),
    "visits": LIST(TIMESTAMP),
}
NAMES = ("a", "b", "c", "", "é|{%}", "x,y")
NUMBERS = (0, 1, -5, 2**63 - 1)


def facts_of(entity: Entity, features: dict[str, Any], pii: tuple[str, ...] = (), **changes: Any) -> FeatureGroup:
    """The newest row of each entity in its log, with some of its fields, of which some are personal data."""
    keys = ", ".join(entity.keys)
    selected = ", ".join(f"{field} AS {entity.name}_{field}" for field in features)
    newest = f"row_number() OVER (PARTITION BY {keys} ORDER BY ts DESC) = 1"
    log = BatchSource(
        f"{entity.name}_log",
        table=f"raw.{entity.name}_log",
        event_timestamp="ts",
        schema={**{field: FIELDS[field] for field in features}, **entity.keys, "ts": TIMESTAMP},
    )
    return FeatureGroup(
        f"{entity.name}_facts",
        entity=entity,
        query=f"SELECT {keys}, {selected} FROM {log.name} QUALIFY {newest}",
        sources=[log],
        owner="team:shop",
        features=[
            Feature(f"{entity.name}_{field}", dtype=FIELDS[field], default=default, pii=field in pii)
            for field, default in features.items()
        ],
        **changes,
    )


def visits(**added: Any) -> FeatureGroup:
    """How often a user came; `added` are the feature that came later, its default and window."""
    later = [Feature("user_visit_count_30d", agg.count(), window="30d", dtype=INT, **added)] if added else []
    return FeatureGroup(
        "user_visits",
        entity=USER,
        source=BatchSource(
            "visits", table="raw.visits", event_timestamp="ts", schema={"user_id": STRING, "ts": TIMESTAMP}
        ),
        owner="team:shop",
        features=[Feature("user_visit_count_7d", agg.count(), window="7d", dtype=INT, default=0), *later],
    )


USER = Entity("user", join_key="user_id")
ITEM = Entity("item", join_key="item_id", dtype=INT)
PAIR = Entity("pair", join_key=("user_id", "item_id"), dtype=(STRING, INT))
SELLER = Entity("seller", join_key="seller_id")
SLOT = Entity("slot", join_key=("slot_at", "shelf"), dtype=(TIMESTAMP, INT))
USERS = facts_of(USER, {"count": 7, "name": "?", "at": None}, pii=("name",), description="What a user is.")
ITEMS = facts_of(ITEM, {"price": None, "vector": [0.0, 0.5, 1.0], "seller": None, "open": False}, ttl="2d")
PAIRS = facts_of(PAIR, {"count": 0}, access="private")
SELLERS = facts_of(SELLER, {"count": 1, "vector": None})
SLOTS = facts_of(SLOT, {"price": 0.5})
GROUPS = (USERS, ITEMS, PAIRS, SELLERS, SLOTS, visits())
RANKING = FeatureView(
    "ranking",
    groups=[USERS, ITEMS, PAIRS],
    request={"budget": FLOAT, "asked_at": TIMESTAMP},
    on_demand=[
        OnDemand("rest", "budget - item_price", dtype=FLOAT, default=-1.0),
        OnDemand("until", "asked_at", dtype=TIMESTAMP),
    ],
    owner="team:ranking",
)
MATCHING = FeatureView(
    "matching",
    groups=[ITEMS, SELLERS.keyed_by("item_seller"), USERS.select("user_count").keyed_by("buyer_id", prefix="buyer_")],
    owner="team:ranking",
)
VIEWS = (RANKING, MATCHING)


@dataclass(frozen=True)
class Shop:
    """What is recorded and stored: the views, each group as a view of itself among them, by kind and id."""

    views: dict[tuple[str, str], ViewSchema]

    @classmethod
    def fill(
        cls,
        registry: Registry,
        redis: Redis,
        groups: Sequence[FeatureGroup] = GROUPS,
        views: Sequence[FeatureView] = VIEWS,
    ) -> Shop:
        """Records the definitions and writes rows of some entities: fresh ones, old ones, ones past their ttl."""
        registry.apply(registry.plan(compile_project(Project(tuple(groups), tuple(views), {}))), "tests")
        cls.write(redis, groups)
        of_groups = {("group", g.id): view_schema(FeatureView(g.name, groups=[g], owner="team:test")) for g in groups}
        return cls({**of_groups, **{("view", view.id): view_schema(view) for view in views}})

    @staticmethod
    def write(redis: Redis, groups: Sequence[FeatureGroup] = GROUPS) -> None:
        """Writes the rows."""
        chance = random.Random(7)
        for group in groups:
            _write(redis, build_plan(group).schema, chance)


def _write(redis: Redis, group: GroupSchema, chance: random.Random) -> None:
    now = to_micros(datetime.now(UTC))
    writer = GuardedWriter(redis, group)
    for _ in range(8):
        key = entity_key(group, {column.name: key_value(column.dtype, chance) for column in group.keys})
        assert key is not None
        at = now - chance.choice([HOUR, 47 * HOUR, 49 * HOUR, 300 * HOUR])
        values = [None if chance.random() < 0.3 else _value(column.dtype, chance) for column in group.features]
        writer.write([key], [writer.encode(at, at, values, at)])
    if chance.random() < 0.8:
        writer.touch(from_micros(now), now)


def key_value(dtype: DType, chance: random.Random) -> Any:
    """A key that rows may have."""
    match dtype.kind:
        case "STRING":
            return chance.choice(NAMES)
        case "INT":
            return chance.choice(NUMBERS)
        case _:
            return from_micros(chance.choice([0, 1_790_000_000_000_000]))


def _value(dtype: DType, chance: random.Random) -> Any:
    match dtype.kind:
        case "FLOAT":
            return chance.uniform(-1e3, 1e3)
        case "EMBEDDING":
            return [chance.random() for _ in range(3)]
        case "INT":
            return chance.randrange(-(2**63), 2**63)
        case "BOOL":
            return chance.random() < 0.5
        case "LIST":
            assert dtype.item is not None
            return [None if chance.random() < 0.2 else _value(dtype.item, chance) for _ in range(chance.randrange(4))]
        case _:
            return key_value(dtype, chance)
