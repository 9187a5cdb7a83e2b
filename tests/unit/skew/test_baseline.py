"""What serving is compared with: rows of the offline store that stand, or rows of a training dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from feature_store import INT, STRING
from feature_store.dtypes import LIST
from feature_store.duration import DAY
from feature_store.errors import InputError, NotFoundError
from feature_store.pit.dataset import build_in
from feature_store.plan.schema import Column, ViewedSchema
from feature_store.skew import baseline
from feature_store.skew.baseline import dataset_baseline, offline_baseline
from tests.unit.pit.pit_cases import NOON, Row, group, label, row, view
from tests.unit.skew.skew_cases import catalog_with

ORDERS = group(features=(Column("orders_value", INT, -1), Column("top", LIST(STRING), ["none"]), Column("new", INT)))


def orders(day: int, value: int | None, **more: Any) -> Row:
    return row(day * DAY, value, **more) | {"top": ["a"] if value else None}


def test_rows_that_stand_of_the_last_days_with_defaults(tmp_path: Path) -> None:
    rows = [
        orders(-31, 100),  # too old
        orders(-30, 101),  # the bound is open
        orders(-3, 1, user="a"),
        orders(-3, 2, user="a", created=0),  # corrects the one before
        orders(-2, 3, user="a"),
        orders(-2, None, user="a", created=0, retracted=True),  # takes the one before back
        orders(-1, None, user="b"),
        orders(0, 5),
        orders(1, 102),  # not yet
    ]
    found = offline_baseline(catalog_with(tmp_path, [(ORDERS, rows)]), view(ORDERS), NOON, 30)
    assert sorted(found.values["orders_value"].to_pylist()) == [-1, 2, 5]
    assert sorted(found.values["top"].to_pylist()) == [["a"], ["a"], ["none"]]
    assert found.values["new"].to_pylist() == [None] * 3
    assert not found.has_absent
    assert 0 < found.size < found.whole


def test_whole_partitions_are_read_until_there_are_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baseline, "MOST_ROWS", 40)
    rows = [orders(-day, day, user=f"u{user}") for day in range(20) for user in range(10)]
    catalog = catalog_with(tmp_path, [(group(buckets=1, features=ORDERS.features), rows)])
    seen = []
    for seed in range(3):
        found = offline_baseline(catalog, view(ORDERS), NOON, 30, seed)
        days = sorted(set(found.values["orders_value"].to_pylist()))
        assert len(found.values["orders_value"]) == 40
        assert len(days) == 4
        assert found.size * 4 < found.whole
        seen.append(days)
    assert seen[0] != seen[1]


def test_a_table_without_rows_and_a_group_in_a_role(tmp_path: Path) -> None:
    plain = group()
    role = ViewedSchema(plain, ("buyer",), "buyer_")
    found = offline_baseline(catalog_with(tmp_path, [(plain, [])]), view(role), NOON, 30)
    assert found.values["buyer_orders_value"].to_pylist() == []
    with pytest.raises(NotFoundError, match="materialize the group first"):
        offline_baseline(catalog_with(tmp_path, []), view(group("others")), NOON, 30)


def test_rows_of_a_training_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = group()
    catalog = catalog_with(tmp_path, [(plain, [row(0, 7)])])
    labels = [label(micros) for micros in (-1, 0, 1)]
    dataset = build_in(catalog, tmp_path / "training", view(plain), labels, name="x")
    found = dataset_baseline(view(plain), dataset.path)
    assert sorted(found.values["orders_value"].to_pylist(), key=str) == [7, 7, None]
    assert found.has_absent
    assert (found.source, found.size) == (f"training dataset {dataset.id}", found.whole)
    with pytest.raises(InputError, match="the dataset has no others_value"):
        dataset_baseline(view(group("others")), dataset.path)
    with pytest.raises(NotFoundError, match="no training dataset is here"):
        dataset_baseline(view(plain), tmp_path)
    for name in ("b", "c"):
        pa.parquet.write_table(dataset.table, dataset.path / f"part-{name}.parquet")
    monkeypatch.setattr(baseline, "MOST_ROWS", 4)
    few = dataset_baseline(view(plain), dataset.path)
    assert len(few.values["orders_value"]) == 6
    assert few.size < few.whole
