"""An embedding looked up by a key that is a feature, and compared with another: online, in training, by an oracle."""

from __future__ import annotations

import math
import random
import uuid
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from pyiceberg.catalog import Catalog

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
    agg,
)
from feature_store.client import FeatureStore
from feature_store.dsl.collect import Project
from feature_store.offline.materialize import materialize_span
from feature_store.plan.build import build_plan
from feature_store.settings import Settings
from tests.integration.offline_setting import day

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

Row = dict[str, Any]
DAYS = 6
USER, ITEM = Entity("user", join_key="user_id"), Entity("item", join_key="item_id", dtype=INT)
TYPES = {
    "user_id": pl.String, "item_id": pl.Int64, "ts": pl.Datetime("us", "UTC"), "taste": pl.List(pl.Float32),
    "style": pl.List(pl.Float32),
}  # fmt: skip
MATCH = (
    OnDemand("match", "cosine(user_taste, item_style)", dtype=FLOAT, default=-1.0),
    OnDemand("weight", "dot(user_taste, item_style) / norm(item_style)", dtype=FLOAT),
)


class Shop:
    """Users who look at items, what they like and what the items are like, from random rows of a week."""

    def __init__(self, folder: Path) -> None:
        self.folder, chance, name = folder, random.Random(7), uuid.uuid4().hex[:8]
        self.views = [self._row(chance, user_id=f"u{i % 5}", item_id=chance.randrange(6)) for i in range(60)]
        self.tastes = [self._row(chance, user_id=f"u{i % 4}", taste=self._vector(chance)) for i in range(24)]
        self.styles = [self._row(chance, item_id=i % 5, style=self._vector(chance)) for i in range(30)]
        seen = Feature("user_item_last", agg.last("item_id"), window="all_time", dtype=INT, rename_ok="short")
        self.views_group = FeatureGroup(
            f"user_views_{name}", entity=USER, owner="team:test", features=[seen],
            source=self._source("views", self.views, user_id=STRING, item_id=INT),
        )  # fmt: skip
        self.groups = (
            self.views_group,
            self._vectors(USER, f"user_tastes_{name}", "taste", self.tastes),
            self._vectors(ITEM, f"item_styles_{name}", "style", self.styles),
        )
        views, tastes, styles = self.groups
        self.view = FeatureView(
            f"match_{name}",
            groups=[tastes, views, styles.keyed_by("user_item_last")],
            owner="team:test",
            on_demand=MATCH,
        )

    def _row(self, chance: random.Random, **values: Any) -> Row:
        return {**values, "ts": day(0) + timedelta(microseconds=chance.randrange(DAYS * 86_400_000_000))}

    def _vector(self, chance: random.Random) -> list[float]:
        return [0.0] * 3 if chance.random() < 0.1 else [chance.randrange(-8, 9) / 4 for _ in range(3)]

    def _source(self, name: str, rows: list[Row], **schema: Any) -> BatchSource:
        folder = self.folder / name
        folder.mkdir()
        pl.DataFrame(rows, schema={column: TYPES[column] for column in rows[0]}).write_parquet(folder / "rows.parquet")
        return BatchSource(name, path=str(folder), event_timestamp="ts", schema={**schema, "ts": TIMESTAMP})

    def _vectors(self, entity: Entity, name: str, what: str, rows: list[Row]) -> FeatureGroup:
        """The newest vector of every entity, each midnight."""
        key, feature = str(entity.join_key), f"{entity.name}_{what}"
        newest = f"row_number() OVER (PARTITION BY {key} ORDER BY ts DESC) = 1"
        return FeatureGroup(
            name, entity=entity, owner="team:test", features=[Feature(feature, dtype=EMBEDDING(3))],
            query=f"SELECT {key}, {what} AS {feature} FROM {what}s QUALIFY {newest}",
            sources=[self._source(f"{what}s", rows, **{key: entity.dtype, what: EMBEDDING(3)})],
        )  # fmt: skip

    def expected(self, user: str, at: datetime) -> Row:
        """What a model would have got: every group as it was at the last midnight."""
        midnight = at.replace(hour=0, minute=0, second=0, microsecond=0)
        item = newest([row for row in self.views if row["user_id"] == user], "item_id", midnight)
        taste = newest([row for row in self.tastes if row["user_id"] == user], "taste", midnight)
        style = newest([row for row in self.styles if row["item_id"] == item], "style", midnight)
        match = weight = None
        if taste is not None and style is not None and any(style):
            product = sum(x * y for x, y in zip(taste, style, strict=True))
            weight = product / math.hypot(*style)
            match = weight / math.hypot(*taste) if any(taste) else None
        return {"user_taste": taste, "user_item_last": item, "item_style": style,
                "match": -1.0 if match is None else match, "weight": weight}  # fmt: skip


def newest(rows: list[Row], column: str, before: datetime) -> Any:
    found = None
    for row in rows:
        if row["ts"] < before and (found is None or row["ts"] > found["ts"]):
            found = row
    return None if found is None else found[column]


def test_an_embedding_is_looked_up_by_a_feature(
    spark: SparkSession, stack: Settings, catalog: Catalog, tmp_path: Path
) -> None:
    shop, store = Shop(tmp_path), FeatureStore(stack)
    store.apply(Project(shop.groups, (shop.view,), {}))
    for group in shop.groups:
        plan = build_plan(group)
        materialize_span(spark, stack, catalog, plan, day(0), day(DAYS))
        store.materialize_online(plan.schema)

    chance, users = random.Random(8), [f"u{i}" for i in range(6)]
    instants = [day(0) + timedelta(microseconds=chance.randrange(DAYS * 86_400_000_000)) for _ in range(40)]
    labels = [{"user_id": user, "label_timestamp": at} for at in [*instants, day(3)] for user in users]
    trained = store.training_dataset(shop.view.id, labels, name="match").wait().table.to_pylist()
    for row, label in zip(trained, labels, strict=True):
        wanted = shop.expected(label["user_id"], label["label_timestamp"])
        computed = {name: pytest.approx(wanted.pop(name)) for name in ("match", "weight")}
        assert row == label | wanted | computed
    assert len({row["match"] for row in trained}) > 10

    now = day(DAYS) + timedelta(hours=1)
    online = store.online(shop.view.id, [{"user_id": user} for user in users], now).to_dicts()
    today = [{"user_id": user, "label_timestamp": now} for user in users]
    same = store.training_dataset(shop.view.id, today, name="match").wait().table.drop("label_timestamp").to_pylist()
    assert online == same
    assert {row["user_id"]: row["item_style"] for row in online} == {
        user: shop.expected(user, now)["item_style"] for user in users
    }
