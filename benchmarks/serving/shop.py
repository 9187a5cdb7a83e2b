"""Groups of ten features over users, items and pairs of both, and rows of them: what the server is measured with."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from redis import Redis

from feature_store import (
    FLOAT,
    INT,
    STRING,
    TIMESTAMP,
    BatchSource,
    Entity,
    Feature,
    FeatureGroup,
    FeatureView,
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
CANDIDATES = 100
USER, ITEM = Entity("user", join_key="user_id"), Entity("item", join_key="item_id")
PAIR = Entity("pair", join_key=("user_id", "item_id"), dtype=(STRING, STRING))
_TYPES: tuple[DType, ...] = (FLOAT, FLOAT, FLOAT, FLOAT, INT, INT, INT, STRING, STRING, STRING)


def _group(entity: Entity, name: str) -> FeatureGroup:
    columns = {f"{name}_f{i}": dtype for i, dtype in enumerate(_TYPES)}
    keys = ", ".join(entity.keys)
    log = BatchSource(
        f"{name}_log", table=f"raw.{name}", event_timestamp="ts", schema={**columns, **entity.keys, "ts": TIMESTAMP}
    )
    return FeatureGroup(
        name,
        entity=entity,
        query=f"SELECT {keys}, {', '.join(columns)} FROM {log.name} "
        f"QUALIFY row_number() OVER (PARTITION BY {keys} ORDER BY ts DESC) = 1",
        sources=[log],
        owner="team:benchmarks",
        features=[Feature(column, dtype=dtype, rename_ok="short") for column, dtype in columns.items()],
    )


USERS = tuple(_group(USER, f"user_{part}") for part in ("orders", "browsing", "profile"))
ITEMS = tuple(_group(ITEM, f"item_{part}") for part in ("sales", "reviews", "catalogue"))
PAIRS = (_group(PAIR, "pair_clicks"),)
VIEWS = (
    FeatureView("users", groups=USERS, owner="team:benchmarks"),
    FeatureView("ranking", groups=[*USERS, *ITEMS, *PAIRS], owner="team:benchmarks"),
)


def snapshot() -> RegistrySnapshot:
    """The definitions as a registry would have them."""
    state = desired_state(compile_project(Project((*USERS, *ITEMS, *PAIRS), VIEWS, {})))
    return RegistrySnapshot(1, state.entities, state.groups, state.views)


def user(number: int) -> str:
    return f"u{number:06}"


def item(number: int) -> str:
    return f"i{number:06}"


def fill(redis: Redis) -> None:
    """A row of every user and item in each of their groups, and of one user with some items."""
    for group in USERS:
        _write(redis, group, ({"user_id": user(i)} for i in range(ENTITIES)))
    for group in ITEMS:
        _write(redis, group, ({"item_id": item(i)} for i in range(ENTITIES)))
    _write(redis, PAIRS[0], ({"user_id": user(0), "item_id": item(i)} for i in range(CANDIDATES)))


def _write(redis: Redis, group: FeatureGroup, keys: Iterable[dict[str, str]]) -> None:
    schema = build_plan(group).schema
    writer = GuardedWriter(redis, schema)
    chance, now = random.Random(f"{SEED} {group.name}"), to_micros(datetime.now(UTC))
    rows = iter(keys)
    while part := [*islice(rows, 5_000)]:
        names = [key for row in part if (key := entity_key(schema, row)) is not None]
        writer.write(names, [writer.encode(now - DAY, now, _values(chance), now) for _ in names])
    writer.touch(datetime.now(UTC), now)


def _values(chance: random.Random) -> Sequence[Any]:
    return [
        *(chance.gammavariate(2, 20) for _ in range(4)),
        *(chance.randrange(90) for _ in range(3)),
        *(f"category_{chance.randrange(50)}" for _ in range(3)),
    ]
