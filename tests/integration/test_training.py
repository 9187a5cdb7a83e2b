"""Training datasets on the real stack: real tables, the whole path, compared with the reference."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import count
from typing import TYPE_CHECKING, Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pyiceberg.catalog import Catalog

from feature_store.dtypes import FLOAT, INT, STRING
from feature_store.duration import DAY, HOUR
from feature_store.errors import ConflictError, InputError, NotFoundError
from feature_store.offline.tables import ensure_table
from feature_store.pit.dataset import TrainingDataset, build_training_dataset
from feature_store.pit.semantics import LABEL_TIMESTAMP, KnownBy, Row
from feature_store.plan.schema import Column, GroupSchema
from feature_store.settings import Settings
from tests.integration.compared import COMPARED
from tests.unit.pit.pit_cases import ITEM, NOON, USER, at, cases, group, label, reference, row, rows_table, view

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_versions = count(1000)


@pytest.fixture
def fresh() -> Callable[[GroupSchema], GroupSchema]:
    """Gives a group a table that no other test has."""
    return lambda schema: replace(schema, version=next(_versions))


def write(catalog: Catalog, schema: GroupSchema, rows: Sequence[Row]) -> None:
    ensure_table(catalog, schema).append(rows_table(schema, rows))


def features_of(dataset: TrainingDataset) -> list[Row]:
    names = [feature.name for feature in dataset.view.features]
    return dataset.table.select(names).to_pylist()


@hypothesis_settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(case=cases(), known_by=st.sampled_from([None, "label"]), cut=st.integers(0, 25))
def test_a_training_dataset_is_what_the_reference_says(
    stack: Settings,
    catalog: Catalog,
    fresh: Callable[[GroupSchema], GroupSchema],
    case: tuple[list[Row], list[tuple[GroupSchema, list[Row]]]],
    known_by: KnownBy,
    cut: int,
) -> None:
    """Two entities and their pair, different numbers of buckets, rows in two commits, ties, NULLs, duplicates."""
    labels, groups = case
    groups = [(fresh(schema), _distinct(rows)) for schema, rows in groups]
    for schema, rows in groups:
        write(catalog, schema, rows[:cut])
        write(catalog, schema, rows[cut:])
    ranking = view(*(schema for schema, _ in groups))
    dataset = build_training_dataset(stack, ranking, labels, name="reference", known_by=known_by)
    expected = reference(labels, groups, known_by)
    assert dataset.table.to_pylist() == expected
    assert dataset.row_count == len(labels)
    COMPARED["training datasets"] += 1


def _distinct(rows: list[Row]) -> list[Row]:
    """Without rows equal in key and both times: which of those is last depends on how files are laid out."""
    seen: dict[Any, Row] = {}
    for one in rows:
        key = tuple(one.get(name) for name in ("user_id", "item_id", "feature_timestamp", "created_timestamp"))
        seen.setdefault(key, one)
    return list(seen.values())


@pytest.mark.parametrize(("delay", "micros", "holds"), [(HOUR, -1, False), (HOUR, 0, True), (HOUR, 1, True)])
def test_the_first_instant_at_which_a_row_is_available(
    stack: Settings, catalog: Catalog, fresh: Callable[[GroupSchema], GroupSchema], delay: int, micros: int, holds: bool
) -> None:
    schema = fresh(group(delay=delay))
    write(catalog, schema, [row(0)])
    dataset = build_training_dataset(stack, view(schema), [label(delay + micros)], name="boundary")
    assert features_of(dataset) == [{"orders_value": 1 if holds else None}]


@pytest.mark.parametrize(("micros", "holds"), [(-1, True), (0, True), (1, False)])
@pytest.mark.parametrize("ttl", [HOUR, 12 * HOUR, 5 * DAY])
def test_the_last_instant_of_a_ttl(
    stack: Settings, catalog: Catalog, fresh: Callable[[GroupSchema], GroupSchema], ttl: int, micros: int, holds: bool
) -> None:
    """Noon and half a day is midnight: the boundary of a partition."""
    schema = fresh(group(ttl=ttl))
    write(catalog, schema, [row(0)])
    dataset = build_training_dataset(stack, view(schema), [label(ttl + micros)], name="boundary")
    assert features_of(dataset) == [{"orders_value": 1 if holds else None}]


@pytest.mark.parametrize(("micros", "expected"), [(99, 1), (100, 2), (101, 2)])
def test_known_by_the_label(
    stack: Settings,
    catalog: Catalog,
    fresh: Callable[[GroupSchema], GroupSchema],
    micros: int,
    expected: int,
) -> None:
    """A row that was written again after the label is seen as it was before."""
    schema = fresh(group())
    write(catalog, schema, [row(0, 1, created=5)])
    write(catalog, schema, [row(0, 2, created=100)])
    labels = [label(micros), label(4)]
    known = build_training_dataset(stack, view(schema), labels, name="known", known_by="label")
    assert features_of(known) == [{"orders_value": expected}, {"orders_value": None}]
    assert known.known_by == "label"
    assert features_of(build_training_dataset(stack, view(schema), labels, name="known")) == [{"orders_value": 2}] * 2


def test_the_same_rows_again_from_the_record(
    stack: Settings, catalog: Catalog, fresh: Callable[[GroupSchema], GroupSchema]
) -> None:
    first, second, empty = fresh(group("orders")), fresh(group("visits")), fresh(group("views"))
    write(catalog, first, [row(0, 1), row(0, 7, user="v")])
    write(catalog, second, [row(0, 2, name="visits")])
    ensure_table(catalog, empty)
    ranking = view(first, second, empty)
    labels = [label(5), label(5, user="v"), label(5)]
    before = build_training_dataset(stack, ranking, labels, name="again")

    write(catalog, first, [row(1, 100), row(0, 50, created=3)])
    write(catalog, empty, [row(1, 300, name="views")])
    ensure_table(catalog, second).delete("user_id == 'u'")

    record = json.loads((before.path / "manifest.json").read_text())
    again = build_training_dataset(stack, ranking, labels, name="again", snapshots=record["snapshots"])
    now = build_training_dataset(stack, ranking, labels, name="again")
    assert again.table.equals(before.table)
    assert again.labels_hash == before.labels_hash == record["labels_hash"]
    assert again.snapshots == before.snapshots == record["snapshots"]
    assert before.snapshots[empty.id] is None
    assert features_of(now)[0] == {"orders_value": 100, "visits_value": None, "views_value": 300}


def test_the_record_says_what_was_made(
    stack: Settings, catalog: Catalog, fresh: Callable[[GroupSchema], GroupSchema]
) -> None:
    schema = fresh(group(features=(Column("orders_value", INT, default=0), Column("orders_mean", FLOAT))))
    write(catalog, schema, [row(0, 1) | {"orders_mean": None}, row(0, None, user="v") | {"orders_mean": 1.5}])
    labels = [label(1), label(1, user="v"), label(1, user="nobody"), label(1, user=None)]
    dataset = build_training_dataset(stack, view(schema), labels, name="record")
    assert dataset.path == stack.home / "warehouse" / "training" / "record" / dataset.id
    assert dataset.null_rates == {"orders_value": 0.75, "orders_mean": 0.75}
    record = json.loads((dataset.path / "manifest.json").read_text())
    assert record["view"] == "ranking@1"
    assert record["snapshots"] == {schema.id: dataset.snapshots[schema.id]}
    assert (record["rows"], record["engine"], record["known_by"]) == (4, dataset.engine, None)
    assert datetime.fromisoformat(record["created"]) == dataset.created
    assert dataset.seconds > 0
    assert [path.name for path in sorted(dataset.path.iterdir())] == ["manifest.json", "part-00000.parquet"]


def test_the_dataset_as_a_table_of_any_library(
    stack: Settings, catalog: Catalog, fresh: Callable[[GroupSchema], GroupSchema]
) -> None:
    schema = fresh(group())
    write(catalog, schema, [row(0, 4)])
    labels = pd.DataFrame([{**label(1), "weight": 0.5}, {**label(1, user="v"), "weight": 2.0}])
    dataset = build_training_dataset(stack, view(schema), labels, name="libraries")
    names = ["user_id", LABEL_TIMESTAMP, "weight", "orders_value"]
    assert dataset.to_arrow().column_names == names
    assert dataset.to_arrow() is dataset.table
    assert isinstance(dataset.to_polars(), pl.DataFrame)
    assert dataset.to_polars()["orders_value"].to_list() == [4, None]
    assert list(dataset.to_pandas().columns) == names
    assert pl.read_parquet(dataset.path / "*.parquet").equals(dataset.to_polars())


def test_order_and_duplicates_of_many_labels(
    stack: Settings,
    catalog: Catalog,
    fresh: Callable[[GroupSchema], GroupSchema],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Several files out, several parts of work: labels come back in the order they were given."""
    monkeypatch.setattr("feature_store.pit.pieces.PIECE_ROWS", 1_000)
    monkeypatch.setattr("feature_store.pit.writing._ROWS_PER_FILE", 1_000)
    monkeypatch.setattr("feature_store.pit.join._ROWS_PER_PART", 500)
    schema = fresh(group(buckets=8, features=(Column("orders_value", INT), Column("orders_name", STRING))))
    write(catalog, schema, [row(0, n, user=f"u{n}") | {"orders_name": f"name {n}"} for n in range(300)])
    chosen = [(n * 7919) % 311 for n in range(4_321)]
    labels = pa.table(
        {
            "number": range(len(chosen)),
            "user_id": [None if n == 310 else f"u{n}" for n in chosen],
            LABEL_TIMESTAMP: pa.array([at(1)] * len(chosen), pa.timestamp("us", "UTC")),
        }
    )
    dataset = build_training_dataset(stack, view(schema), labels, name="order")
    assert len(list(dataset.path.glob("part-*.parquet"))) == 5
    assert dataset.table.select(labels.column_names).equals(labels)
    assert dataset.table["orders_value"].to_pylist() == [n if n < 300 else None for n in chosen]
    assert dataset.table["orders_name"].to_pylist() == [f"name {n}" if n < 300 else None for n in chosen]


def test_no_labels_are_an_error(stack: Settings, catalog: Catalog, fresh: Callable[[GroupSchema], GroupSchema]) -> None:
    schema = fresh(group())
    write(catalog, schema, [row(0)])
    with pytest.raises(InputError, match="there are no rows"):
        build_training_dataset(stack, view(schema), [], name="empty")
    assert not (stack.home / "warehouse" / "training" / "empty").exists()


def test_a_group_that_was_never_materialized(stack: Settings, fresh: Callable[[GroupSchema], GroupSchema]) -> None:
    schema = fresh(group())
    with pytest.raises(NotFoundError, match="materialize the group first") as raised:
        build_training_dataset(stack, view(schema), [label(0)], name="missing")
    assert raised.value.where == f"group {schema.id}"
    assert not (stack.home / "warehouse" / "training" / "missing").exists()


def test_bad_labels_stop_before_any_table_is_read(stack: Settings, fresh: Callable[[GroupSchema], GroupSchema]) -> None:
    """The table does not even exist, yet the error is about the column."""
    with pytest.raises(InputError) as raised:
        build_training_dataset(stack, view(fresh(group())), [{"user_id": "u"}], name="bad")
    assert "'label_timestamp'" in raised.value.where


@pytest.mark.parametrize(
    ("changed", "where"),
    [
        ({"name": "../up"}, "name"),
        ({"name": ""}, "name"),
        ({"name": ".hidden"}, "name"),
        ({"known_by": "event"}, "known_by"),
        ({"snapshots": {"other@1": 5}}, "snapshots"),
    ],
)
def test_bad_arguments_are_named(stack: Settings, changed: dict[str, Any], where: str) -> None:
    with pytest.raises(InputError) as raised:
        build_training_dataset(stack, view(group()), [label(0)], **({"name": "fine"} | changed))
    assert raised.value.where == where


def test_a_snapshot_that_is_gone(
    stack: Settings, catalog: Catalog, fresh: Callable[[GroupSchema], GroupSchema]
) -> None:
    schema = fresh(group())
    write(catalog, schema, [row(0)])
    with pytest.raises(NotFoundError, match="no snapshot 42"):
        build_training_dataset(stack, view(schema), [label(0)], name="gone", snapshots={schema.id: 42})


def test_rows_written_by_spark(
    stack: Settings, catalog: Catalog, spark: SparkSession, fresh: Callable[[GroupSchema], GroupSchema]
) -> None:
    """Spark buckets, names its files and writes its Parquet in its own way; the join finds every row of it."""
    schema = fresh(
        group(keys=(USER,), buckets=5, features=(Column("orders_value", INT), Column("orders_name", STRING)))
    )
    rows = [
        row(day * DAY, 10 * number + day, user=user) | {"orders_name": f"{user}'s"}
        for day in range(3)
        for number, user in enumerate(["", "a", "é", "a b", *(f"user {n}" for n in range(20))])
    ]
    ensure_table(catalog, schema)
    spark.createDataFrame(rows_table(schema, rows)).writeTo(f"fs.{schema.table}").append()
    labels = [label(day * DAY + 1, user=one["user_id"]) for day in (2, 0, -1) for one in rows[:24]]
    dataset = build_training_dataset(stack, view(schema), labels, name="spark")
    assert dataset.table.to_pylist() == reference(labels, [(schema, rows)])


def test_rows_deleted_by_delete_files_are_refused(
    stack: Settings, catalog: Catalog, spark: SparkSession, fresh: Callable[[GroupSchema], GroupSchema]
) -> None:
    schema = fresh(group(buckets=1))
    write(catalog, schema, [row(0, 1), row(0, 2, user="v")])
    table = f"fs.{schema.table}"
    spark.sql(f"ALTER TABLE {table} SET TBLPROPERTIES ('write.delete.mode'='merge-on-read')")
    spark.sql(f"DELETE FROM {table} WHERE user_id = 'v'")
    with pytest.raises(ConflictError, match="delete files") as raised:
        build_training_dataset(stack, view(schema), [label(1)], name="deleted")
    assert "rewrite_data_files" in raised.value.remedy


def test_two_entities_and_their_pair(
    stack: Settings, catalog: Catalog, fresh: Callable[[GroupSchema], GroupSchema]
) -> None:
    user, item = fresh(group("orders", buckets=3)), fresh(group("stats", keys=(ITEM,), buckets=4))
    pair = fresh(group("pairs", keys=(USER, ITEM), buckets=2))
    times = {"feature_timestamp": NOON, "created_timestamp": NOON}
    write(catalog, user, [{"user_id": u, "orders_value": n, **times} for n, u in enumerate("abc")])
    write(catalog, item, [{"item_id": i, "stats_value": 10 * i, **times} for i in range(4)])
    write(catalog, pair, [{"user_id": u, "item_id": i, "pairs_value": 7 * i, **times} for u in "ac" for i in (1, 2)])
    labels = [{"user_id": u, "item_id": i, LABEL_TIMESTAMP: NOON} for u in ("c", "b", None) for i in (2, None, 0)]
    dataset = build_training_dataset(stack, view(user, item, pair), labels, name="pairs")
    found = [tuple(r.values()) for r in features_of(dataset)]
    nothing = None
    assert found == [
        (2, 20, 14), (2, nothing, nothing), (2, 0, nothing),
        (1, 20, nothing), (1, nothing, nothing), (1, 0, nothing),
        (nothing, 20, nothing), (nothing, nothing, nothing), (nothing, 0, nothing),
    ]  # fmt: skip


def test_labels_in_a_spark_dataframe(
    stack: Settings, catalog: Catalog, spark: SparkSession, fresh: Callable[[GroupSchema], GroupSchema]
) -> None:
    schema = fresh(group())
    write(catalog, schema, [row(0, 4)])
    frame = spark.createDataFrame(pd.DataFrame([label(1), label(-1)]))
    dataset = build_training_dataset(stack, view(schema), frame, name="spark")
    assert dataset.table.to_pylist() == reference([label(1), label(-1)], [(schema, [row(0, 4)])])
    naive = frame.selectExpr("user_id", "cast(label_timestamp AS timestamp_ntz) AS label_timestamp")
    with pytest.raises(InputError, match="no time zone"):
        build_training_dataset(stack, view(schema), naive, name="spark")
