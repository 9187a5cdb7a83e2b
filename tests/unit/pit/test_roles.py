"""Training sets of views with roles: what is joined is what an oracle that knows nothing of the join says."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pyiceberg.catalog.sql import SqlCatalog

from feature_store import INT, FeatureView, OnDemand
from feature_store.errors import InputError
from feature_store.offline.tables import ensure_table
from feature_store.pit.dataset import TrainingDataset, build_in
from feature_store.pit.join import join_view
from feature_store.pit.planning import current_snapshot_id, open_table, plan_group
from feature_store.pit.reading import read_rows
from feature_store.plan.build import build_plan, view_schema
from tests.unit.pit.pit_cases import read_labels, rows_table
from tests.unit.view_cases import (
    GROUPS,
    ITEMS,
    NOW,
    SELLERS,
    SELLERS_2,
    USERS,
    Row,
    Tables,
    key_rows,
    oracle,
    tables,
    view,
    views,
)

EARLIER = datetime(2026, 1, 1, tzinfo=UTC)
times = st.integers(-1, 100).map(lambda hours: NOW - timedelta(hours=hours))


def catalog_of(folder: Path, found: Tables) -> SqlCatalog:
    catalog = SqlCatalog("fs", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}/warehouse")
    for group in GROUPS:
        schema = build_plan(group).schema
        table = ensure_table(catalog, schema)
        if found.get(group.id):
            table.append(rows_table(schema, found[group.id]))
    return catalog


def dataset_of(folder: Path, found: Tables, reads: FeatureView, labels: list[Row], **more: Any) -> TrainingDataset:
    return build_in(catalog_of(folder, found), folder / "training", view_schema(reads), labels, name="roles", **more)


def fact(group: str, key: Any, age: int, **values: Any) -> Row:
    """A row of `<group>_facts`, so many hours before EARLIER."""
    at = EARLIER - timedelta(hours=age)
    features = {f"{group}_{name}": value for name, value in values.items()}
    return {f"{group}_id": key, "feature_timestamp": at, "created_timestamp": at, **features}


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_a_training_set_is_what_the_oracle_says(data: st.DataObject) -> None:
    found, reads = data.draw(tables()), data.draw(views())
    labels = [{**keys, "label_timestamp": data.draw(times)} for keys in data.draw(key_rows(reads))]
    assume(labels)
    with tempfile.TemporaryDirectory() as folder:
        dataset = dataset_of(Path(folder), found, reads, labels)
        names = [feature.name for feature in dataset.view.features]
        expected = [label | oracle(reads, found, label, label["label_timestamp"]) for label in labels]
        assert dataset.table.to_pylist() == expected
        assert names == list(dataset.null_rates) == dataset.table.column_names[-len(names) :]


def test_one_entity_twice(tmp_path: Path) -> None:
    rows = {USERS.id: [fact("user", "a", 5, count=1, name="A"), fact("user", "b", 5, count=2, name="B")]}
    reads = view(USERS.select("user_name"), USERS.select("user_count").keyed_by("buyer_id", prefix="buyer_"))
    labels = [{"user_id": u, "buyer_id": b, "label_timestamp": EARLIER} for u, b in ["ab", "ba", "aa", ("a", None)]]
    found = dataset_of(tmp_path, rows, reads, labels).to_polars()
    assert found["user_name"].to_list() == ["A", "B", "A", "A"]
    assert found["buyer_user_count"].to_list() == [2, 1, 1, 0]


def test_a_feature_that_is_a_key_leads_to_the_rows_of_the_labels_time(tmp_path: Path) -> None:
    """The item changes its seller between the labels, and the seller its count."""
    sold = [("item", 1, 20, "a"), ("item", 1, 10, "b"), ("item", 2, 20, None)]
    counted = [("seller", "a", 30, 1), ("seller", "a", 15, 2), ("seller", "b", 30, 9)]
    rows = {
        ITEMS.id: [fact(*of, seller=seller) for *of, seller in sold],
        SELLERS.id: [fact(*of, count=count) for *of, count in counted],
    }
    reads = view(SELLERS.select("seller_count").keyed_by("item_seller"), ITEMS.select("item_seller"))
    moments = [(1, 19), (1, 14), (1, 11), (1, 10), (2, 0), (None, 0), (7, 0)]
    labels = [{"item_id": item, "label_timestamp": EARLIER - timedelta(hours=age)} for item, age in moments]
    dataset = dataset_of(tmp_path, rows, reads, labels)
    found = dataset.to_polars()
    assert found["seller_count"].to_list() == [1, 2, 2, 9, 0, 0, 0]
    assert dataset.table.column_names == ["item_id", "label_timestamp", "seller_count", "item_seller"]
    assert dataset.null_rates == {"seller_count": 3 / 7, "item_seller": 3 / 7}


def test_two_versions_of_a_group_in_one_view(tmp_path: Path) -> None:
    rows = {
        SELLERS.id: [fact("seller", "a", 5, count=1)],
        SELLERS_2.id: [fact("seller", "a", 5, count=2)],
    }
    reads = view(SELLERS.select("seller_count"), SELLERS_2.keyed_by("seller_id", prefix="new_"))
    dataset = dataset_of(tmp_path, rows, reads, [{"seller_id": "a", "label_timestamp": EARLIER}])
    assert dataset.table.to_pylist()[0].items() >= {"seller_count": 1, "new_seller_count": 2}.items()
    assert set(dataset.snapshots) == {"seller_facts@1", "seller_facts@2"}


def test_all_roles_of_a_group_read_one_snapshot(tmp_path: Path) -> None:
    rows = {USERS.id: [fact("user", "a", 5, count=1)]}
    reads = view(USERS, USERS.keyed_by("buyer_id", prefix="buyer_"))
    labels = [{"user_id": "a", "buyer_id": "a", "label_timestamp": EARLIER}]
    before = dataset_of(tmp_path, rows, reads, labels)
    catalog = catalog_of(tmp_path, {USERS.id: [fact("user", "a", 1, count=7)]})
    schema = view_schema(reads)
    again = build_in(catalog, tmp_path, schema, labels, name="again", snapshots=before.snapshots)
    assert again.table.equals(before.table)
    assert build_in(catalog, tmp_path, schema, labels, name="now").to_polars()["buyer_user_count"].to_list() == [7]
    with pytest.raises(InputError, match=r"its groups are user_facts@1 "):
        build_in(catalog, tmp_path, schema, labels, name="wrong", snapshots={"buyer_user_facts@1": None})


def test_only_chosen_columns_are_read(tmp_path: Path) -> None:
    catalog = catalog_of(tmp_path, {USERS.id: [fact("user", "a", 5, count=1, name="A")]})
    schema = view_schema(view(USERS.select("user_name").keyed_by("buyer_id", prefix="buyer_")))
    table = open_table(catalog, schema.groups[0].group)
    plan = plan_group(table, schema.groups[0], current_snapshot_id(table), (0, 10**18))
    assert plan.columns == ("user_id", "feature_timestamp", "created_timestamp", "retracted", "user_name")
    assert list(read_rows(plan, plan.files).features) == ["user_name"]
    labels = read_labels([{"buyer_id": "a", "label_timestamp": EARLIER}], schema).table
    assert join_view(labels, schema, [plan], None).features.to_pylist() == [{"buyer_user_name": "A"}]


def test_on_demand_features_read_roles_by_their_names(tmp_path: Path) -> None:
    rows = {USERS.id: [fact("user", "a", 5, count=10), fact("user", "b", 5, count=4)]}
    reads = view(
        USERS.select("user_count"),
        USERS.select("user_count").keyed_by("buyer_id", prefix="buyer_"),
        on_demand=[OnDemand("lead", "user_count - buyer_user_count", dtype=INT)],
    )
    labels = pl.DataFrame({"user_id": ["a", "b"], "buyer_id": ["b", "b"], "label_timestamp": [EARLIER] * 2})
    assert dataset_of(tmp_path, rows, reads, labels).to_polars()["lead"].to_list() == [6, 0]  # type: ignore[arg-type]


def test_labels_need_the_columns_that_roles_name() -> None:
    schema = view_schema(view(ITEMS, SELLERS.keyed_by("item_seller"), USERS.keyed_by("buyer_id")))
    with pytest.raises(InputError, match="is joined by item_id, buyer_id, label_timestamp"):
        read_labels([{"user_id": "a", "label_timestamp": EARLIER}], schema)
