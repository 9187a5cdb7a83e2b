"""Groups of ten features over users, items and pairs of both, and rows of them: what the servers are measured with."""

from __future__ import annotations

from datetime import UTC, datetime
from zlib import crc32

import numpy as np
import pyarrow as pa
from redis import Redis

from feature_store import (
    EMBEDDING,
    FLOAT,
    INT,
    STRING,
    TIMESTAMP,
    BatchSource,
    Entity,
    Feature,
    FeatureGroup,
    FeatureView,
    OnDemand,
)
from feature_store.dsl.collect import Project
from feature_store.dtypes import DType, to_micros
from feature_store.duration import DAY
from feature_store.online.keys import entity_key
from feature_store.online.writer import GuardedWriter
from feature_store.plan.build import build_plan
from feature_store.plan.project import compile_project
from feature_store.registry.desired import desired_state
from feature_store.registry.snapshot import RegistrySnapshot

SEED = 20261128
ENTITIES = 100_000
RANKINGS, CANDIDATES = 64, 100
"""How many users have met items, and how many each."""
DIMENSIONS = 64
USER, ITEM = Entity("user", join_key="user_id"), Entity("item", join_key="item_id")
PAIR = Entity("pair", join_key=("user_id", "item_id"), dtype=(STRING, STRING))
_TYPES: tuple[DType, ...] = (FLOAT, FLOAT, FLOAT, FLOAT, INT, INT, INT, STRING, STRING, STRING)


def group_of(entity: Entity, name: str, types: tuple[DType, ...] = _TYPES) -> FeatureGroup:
    """A group whose features have these types."""
    columns = {f"{name}_f{i}": dtype for i, dtype in enumerate(types)}
    keys = ", ".join(entity.keys)
    log = BatchSource(
        f"{name}_log", table=f"raw.{name}", event_timestamp="ts", schema={**columns, **entity.keys, "ts": TIMESTAMP}
    )
    return FeatureGroup(
        name,
        entity=entity,
        query=f"SELECT {keys}, {', '.join(columns)} FROM {log.name} "
        f"QUALIFY row_number() OVER (PARTITION BY {keys} ORDER BY ts DESC) = 1",
        sources=(log,),
        owner="team:benchmarks",
        features=tuple(Feature(column, dtype=dtype, rename_ok="short") for column, dtype in columns.items()),
    )


USERS = tuple(group_of(USER, f"user_{part}") for part in ("orders", "browsing", "profile"))
EMBEDDINGS = group_of(USER, "user_taste", (EMBEDDING(DIMENSIONS), *_TYPES[1:]))
ITEMS = tuple(group_of(ITEM, f"item_{part}") for part in ("sales", "reviews", "catalogue"))
PAIRS = group_of(PAIR, "pair_clicks")
GROUPS = (*USERS, EMBEDDINGS, *ITEMS, PAIRS)
USER_VIEW = FeatureView("users", groups=USERS, owner="team:benchmarks")
RANKING = FeatureView("ranking", groups=(*USERS, *ITEMS, PAIRS), owner="team:benchmarks")
BUDGET = FeatureView(
    "budget",
    groups=USERS[:1],
    request={"budget": FLOAT},
    on_demand=(
        OnDemand("user_rest", "budget - user_orders_f0", dtype=FLOAT),
        OnDemand("user_share", "user_orders_f1 / (user_orders_f1 + budget)", dtype=FLOAT),
    ),
    owner="team:benchmarks",
)
"""Its on-demand features are written a second time, for Feast, in feast_program.py."""
VIEWS = (USER_VIEW, RANKING, BUDGET)


def snapshot() -> RegistrySnapshot:
    """The definitions as a registry would have them."""
    state = desired_state(compile_project(Project(GROUPS, VIEWS, {})))
    return RegistrySnapshot(1, state.entities, state.groups, state.views)


def user(number: int) -> str:
    return f"u{number:06}"


def item(number: int) -> str:
    return f"i{number:06}"


def ranking(number: int) -> list[dict[str, str]]:
    """A user and the items that are ranked for them."""
    items = range(number * CANDIDATES, (number + 1) * CANDIDATES)
    return [{"user_id": user(number), "item_id": item(i)} for i in items]


def entities_of(group: FeatureGroup) -> list[dict[str, str]]:
    """Every user or item, or the pairs of all rankings."""
    if group.entity is PAIR:
        return [pair for number in range(RANKINGS) for pair in ranking(number)]
    key, name = ("user_id", user) if group.entity is USER else ("item_id", item)
    return [{key: name(i)} for i in range(ENTITIES)]


def rows_of(group: FeatureGroup) -> pa.Table:
    """Keys and features of all entities; the same ones each time."""
    entities = entities_of(group)
    size = len(entities)
    numbers = np.random.default_rng([SEED, crc32(group.name.encode())])
    columns = {key: pa.array([entity[key] for entity in entities]) for key in group.entity.keys}
    words = np.array([f"category_{i}" for i in range(50)])
    for feature in group.features:
        if feature.dtype == FLOAT:
            columns[feature.name] = pa.array(numbers.gamma(2, 20, size))
        elif feature.dtype == INT:
            columns[feature.name] = pa.array(numbers.integers(0, 90, size))
        elif feature.dtype == STRING:
            columns[feature.name] = pa.array(words[numbers.integers(0, len(words), size)])
        else:
            flat = numbers.standard_normal(size * DIMENSIONS, dtype=np.float32)
            columns[feature.name] = pa.FixedSizeListArray.from_arrays(pa.array(flat), DIMENSIONS)
    return pa.table(columns)


def fill(redis: Redis) -> None:
    """Writes all rows, as of yesterday."""
    for group in GROUPS:
        fill_group(redis, group)


def fill_group(redis: Redis, group: FeatureGroup) -> None:
    """Writes the rows of a group, as of yesterday."""
    now = to_micros(datetime.now(UTC))
    schema, table = build_plan(group).schema, rows_of(group)
    writer = GuardedWriter(redis, schema)
    features = [feature.name for feature in schema.features]
    for batch in table.to_batches(max_chunksize=5_000):
        keys = [key for row in batch.select(list(group.entity.keys)).to_pylist() if (key := entity_key(schema, row))]
        values = zip(*batch.select(features).to_pydict().values(), strict=True)
        writer.write(keys, [writer.encode(now - DAY, now, row, now) for row in values])
    writer.touch(datetime.now(UTC), now)
