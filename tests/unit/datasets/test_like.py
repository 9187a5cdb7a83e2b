"""A dataset made again like an earlier one, after its tables moved on: the same rows, or a refusal."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.catalog.sql import SqlCatalog

from feature_store import BatchSource, Entity, Feature, FeatureGroup, FeatureView, OnDemand, agg, session
from feature_store.datasets.dataset import load_dataset
from feature_store.datasets.windows import longest_window
from feature_store.dtypes import FLOAT, INT
from feature_store.errors import ConflictError, InputError, NotFoundError
from feature_store.offline.tables import arrow_schema, ensure_table
from feature_store.pit.dataset import TrainingDataset, build_in
from feature_store.plan.build import build_plan, view_schema
from tests.unit.pit.pit_cases import NOON

DAY_MICROS = 86_400_000_000
COUNT = Feature("user_order_count_30d", agg.count(), window="30d", dtype=INT, default=0)
VALUE = Feature("user_order_value_sum_7d", agg.sum("amount"), window="7d", dtype=FLOAT)
LATER = Feature("user_order_value_max_90d", agg.max("amount"), window="90d", dtype=FLOAT)
AGE = OnDemand("label_hour", "user_order_count_30d * 2", dtype=INT)
LABELS = [
    {"user_id": user, "label_timestamp": NOON + timedelta(hours=hour), "bought": hour % 2 == 0, "nothing": None}
    for hour in range(3)
    for user in ("a", "b", None)
]


def orders(*features: Feature) -> FeatureGroup:
    schema = {"user_id": "STRING", "amount": "FLOAT", "ts": "TIMESTAMP"}
    source = BatchSource("orders", table="raw.orders", event_timestamp="ts", schema=schema)
    user = Entity("user", join_key="user_id")
    return FeatureGroup("user_orders", entity=user, source=source, owner="team:shop", buckets=2, features=features)


def view_of(*features: Feature) -> FeatureView:
    return FeatureView("ranking", groups=[orders(*features)], owner="team:shop", on_demand=(AGE,))


class Shop:
    """A table of the group, and datasets of the view over it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.catalog = SqlCatalog("fs", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}/warehouse")
        self.definition = view_of(COUNT, VALUE)

    def write(self, hour: int, count: int, *features: Feature, user: str = "a", **values: Any) -> None:
        schema = build_plan(orders(*(features or (COUNT, VALUE)))).schema
        time = NOON + timedelta(hours=hour)
        row = {"user_id": user, "feature_timestamp": time, "created_timestamp": time, COUNT.name: count, **values}
        ensure_table(self.catalog, schema).append(pa.Table.from_pylist([row], schema=arrow_schema(schema)))

    def build(self, labels: Any = None, name: str = "churn", **arguments: Any) -> TrainingDataset:
        given = {"definitions": [self.definition], **arguments}
        return build_in(
            self.catalog, self.folder / "training", view_schema(self.definition), labels, name=name, **given
        )

    @property
    def table(self) -> Any:
        return self.catalog.load_table("features.user_orders_v1")


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    shop = Shop(tmp_path)
    shop.write(0, 1, **{VALUE.name: 2.5})
    shop.write(1, 2, user="b")
    return shop


def test_the_same_rows_after_the_table_moved_on_was_rewritten_expired_and_got_a_feature(shop: Shop) -> None:
    before = shop.build(LABELS, known_by="label", requested_by="ann")
    shop.write(1, 50)
    shop.write(-1, 60, user="b")
    shop.table.overwrite(shop.table.scan().to_arrow())  # all files are others
    shop.definition = view_of(COUNT, VALUE, LATER)
    shop.write(2, 70, COUNT, VALUE, LATER, **{LATER.name: 1.0})
    shop.table.maintenance.expire_snapshots().older_than(datetime.now(UTC) + timedelta(days=1)).commit()
    kept = {ref.snapshot_id for ref in shop.table.refs().values()}
    assert {snapshot.snapshot_id for snapshot in shop.table.snapshots()} == kept, "all others are expired"

    now = shop.build(LABELS)
    assert now.table.column_names == [*LABELS[0], COUNT.name, VALUE.name, LATER.name, AGE.name]
    assert now.table[COUNT.name].to_pylist() != before.table[COUNT.name].to_pylist()
    for like in (before, load_dataset(before.path), load_dataset(before.manifest_url)):
        for labels in (None, LABELS, pa.Table.from_pylist(LABELS)):
            again = shop.build(labels, like=like)
            assert again.table.equals(before.table)
            assert again.manifest.statistics == before.manifest.statistics
    assert again.id != before.id
    assert (again.known_by, again.labels_hash, again.snapshots) == ("label", before.labels_hash, before.snapshots)
    third = shop.build(like=again)
    assert third.table.equals(before.table), "a copy of a copy"


def test_other_labels_or_another_request_are_refused(shop: Shop) -> None:
    before = shop.build(LABELS)
    others = [LABELS[:-1], [*LABELS[1:], LABELS[0]], [{**LABELS[0], "bought": None}, *LABELS[1:]]]
    for labels in others:
        with pytest.raises(ConflictError, match="their hash is") as raised:
            shop.build(labels, like=before)
        assert raised.value.code == "labels-changed"
    for asked in ({"known_by": "label"}, {"snapshots": {"user_orders@1": 5}}):
        with pytest.raises(InputError, match="was made of") as refused:
            shop.build(like=before, **asked)
        assert refused.value.code == "like"
    assert {tag for tag in shop.table.refs() if tag != "main"} == {before.tag}
    assert [path.name for path in (shop.folder / "training" / "churn").iterdir()] == [before.id]


def test_a_snapshot_without_its_tag_is_gone_and_said_to_be(shop: Shop) -> None:
    before = shop.build(LABELS)
    shop.table.manage_snapshots().remove_tag(before.tag).commit()
    shop.write(3, 9)
    shop.table.maintenance.expire_snapshots().by_id(before.snapshots["user_orders@1"]).commit()
    with pytest.raises(NotFoundError, match="no snapshot"):
        shop.build(like=before)


def test_what_was_masked_stays_masked(shop: Shop) -> None:
    before = shop.build(LABELS, masked={VALUE.name})
    again = shop.build(like=before, masked={COUNT.name})
    assert again.masked == (COUNT.name, VALUE.name)
    assert again.table[VALUE.name].null_count == again.table[COUNT.name].null_count == len(LABELS)
    statistics = again.manifest.statistics[COUNT.name]
    assert (statistics.nulls, statistics.distinct) == (len(LABELS), None)


def test_the_manifest_says_how_it_was_made(shop: Shop) -> None:
    manifest = load_dataset(shop.build(LABELS, requested_by="service:ranker").path).manifest
    (definition,) = manifest.definitions
    assert FeatureView.from_json(definition) == shop.definition
    (recorded,) = definition["groups"]
    assert (recorded["source"]["table"], recorded["entity"]["join_key"]) == ("raw.orders", "user_id")
    assert [(c.name, c.dtype, c.role) for c in manifest.columns[2:]] == [
        ("bought", "bool", "label"),
        ("nothing", "null", "label"),
        (COUNT.name, "INT", "feature"),
        (VALUE.name, "FLOAT", "feature"),
        (AGE.name, "INT", "on_demand"),
    ]
    assert manifest.longest_window == 30 * DAY_MICROS
    assert manifest.requested_by == "service:ranker"
    assert manifest.code_version.startswith("sha256:")
    assert (manifest.rows, sum(file.rows for file in manifest.files)) == (9, 9)
    counted = manifest.statistics[COUNT.name]
    assert (counted.minimum, counted.maximum, counted.nulls, counted.distinct) == (0, 2, 0, 3)
    assert manifest.null_rates[COUNT.name] == pytest.approx(4 / 9), "of NULL, and of b before its first row"
    assert manifest.statistics[VALUE.name].nulls == 6


def test_builds_of_one_name_at_once_are_all_there(shop: Shop) -> None:
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda number: shop.build(LABELS[:number]), [1, 3, 5, 9]))
    found = [load_dataset(path) for path in (shop.folder / "training" / "churn").iterdir()]
    assert {data.id for data in found} == {data.id for data in made}
    whole = made[-1].to_arrow()
    assert all(data.to_arrow().equals(whole.slice(0, data.row_count)) for data in made)
    assert {ref for ref in shop.table.refs() if ref != "main"} == {data.tag for data in made}


def test_the_longest_window_of_a_view() -> None:
    assert longest_window([view_of(COUNT, LATER)]) == 90 * DAY_MICROS
    all_time = Feature("user_order_count_all_time", agg.count(), window="all_time", dtype=INT)
    assert longest_window([view_of(all_time, VALUE)]) == 7 * DAY_MICROS
    in_session = Feature("user_session_order_count", agg.count(), window=session("30m"), dtype=INT)
    assert longest_window([view_of(in_session)]) == 30 * 60_000_000
    assert longest_window([]) is None
    query = replace(
        orders(COUNT),
        source=None,
        features=[Feature("user_n", dtype=INT, rename_ok="short")],
        query="SELECT user_id, count(*) AS user_n FROM orders GROUP BY user_id",
        sources=[orders(COUNT).source],
        emit="snapshot",
    )
    assert longest_window([FeatureView("v", groups=[query], owner="team:shop")]) is None
