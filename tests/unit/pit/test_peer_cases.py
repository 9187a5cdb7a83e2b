"""Cases that other feature stores test their joins with, in memory and through scratch files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from pyiceberg.catalog.sql import SqlCatalog

from feature_store.dtypes import FLOAT, INT, LIST, STRING
from feature_store.duration import DAY
from feature_store.errors import DefinitionError, InputError
from feature_store.offline.tables import ensure_table
from feature_store.pit import budget
from feature_store.pit.dataset import TrainingDataset, build_in
from feature_store.pit.label_sources import LabelQuery
from feature_store.pit.semantics import Row
from feature_store.plan.build import view_schema
from feature_store.plan.schema import Column, GroupSchema, ViewedSchema, ViewSchema
from tests.unit.pit.pit_cases import EVERY_TYPE, ITEM, NOON, USER, at, group, label, row, rows_table, view
from tests.unit.view_cases import USERS
from tests.unit.view_cases import view as defined

Groups = Sequence[tuple[GroupSchema, Sequence[Row]]]
Build = Callable[..., TrainingDataset]
SECOND = Column("shop_id", STRING)


@pytest.fixture(params=[0, 1 << 30], ids=["spilled", "in memory"])
def memory(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(budget, "_LEAST_ROWS", 2)
    size: int = request.param
    return size


@pytest.fixture
def build(tmp_path: Path, memory: int) -> Build:
    """Gives a dataset of a view of some groups with rows."""
    catalog = SqlCatalog("fs", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}/warehouse")

    def build(
        labels: Any, groups: dict[GroupSchema, Sequence[Row]], reads: ViewSchema | None = None, **more: Any
    ) -> Any:
        for schema, rows in groups:
            ensure_table(catalog, schema).append(rows_table(schema, rows))
        reads = view(*(schema for schema, _ in groups)) if reads is None else reads
        return build_in(catalog, tmp_path / "training", reads, labels, name="x", memory=memory, **more)

    return build


def values(dataset: TrainingDataset, name: str = "orders_value") -> list[Any]:
    found: list[Any] = dataset.table[name].to_pylist()
    return found


def test_the_row_of_the_closed_interval_of_the_ttl_and_columns_of_labels_pass_through(build: Build) -> None:
    """Feast's oracle: the greatest time in [T - ttl, T], both ends closed, else NULL; every label is kept."""
    labels = [{**label(micros), "note": f"n{micros}"} for micros in (-1, 0, 9, 10, 11, 40)]
    found = build(labels, [(group(ttl=10), [row(0, 1), row(20, 2)])])
    assert values(found) == [None, 1, 1, 1, None, None]
    assert values(found, "note") == [one["note"] for one in labels]
    assert values(build([label(10**15)], [(group("visits"), [row(0, 1, name="visits")])]), "visits_value") == [1]


def test_label_times_of_any_zone_are_instants(build: Build) -> None:
    """The same instants written in UTC and with offsets see the same rows; one without a zone is refused."""
    zones = [UTC, timezone(timedelta(hours=1)), timezone(timedelta(hours=-8))]
    labels = [{"user_id": "u", "label_timestamp": at(n).astimezone(zone)} for zone in zones for n in (-1, 0)]
    assert values(build(labels, [(group(), [row(0, 1)])])) == [None, 1] * 3
    with pytest.raises(InputError, match="no time zone"):
        build([{"user_id": "u", "label_timestamp": datetime(2025, 3, 1, 12)}], [])  # noqa: DTZ001


def test_five_views_of_data_in_one_call(build: Build) -> None:
    """One key, another, both, one group in two roles under prefixes, and renamed keys."""
    user, item, pair = group("user"), group("item", keys=(ITEM,)), group("pair", keys=(USER, ITEM))
    times = {"feature_timestamp": NOON, "created_timestamp": NOON}
    reads = ViewSchema(
        "five",
        1,
        (
            ViewedSchema(user),
            ViewedSchema(item),
            ViewedSchema(pair),
            ViewedSchema(user, ("origin_id",), "origin_"),
            ViewedSchema(user, ("destination_id",), "destination_"),
        ),
    )
    rows = [
        (user, [{"user_id": u, "user_value": n, **times} for n, u in enumerate("abc")]),
        (item, [{"item_id": i, "item_value": 10 * i, **times} for i in range(3)]),
        (pair, [{"user_id": "a", "item_id": 1, "pair_value": 7, **times}]),
    ]
    keys = [("a", 1, "b", "c"), ("b", 1, "c", None), ("z", 9, "a", "a")]
    labels = [
        dict(zip(("user_id", "item_id", "origin_id", "destination_id"), one, strict=True)) | {"label_timestamp": NOON}
        for one in keys
    ]
    found = build(labels, rows, reads).table.select([f.name for f in reads.features]).to_pylist()
    assert [tuple(one.values()) for one in found] == [
        (0, 10, 7, 1, 2),
        (1, 10, None, 2, None),
        (None, None, None, 0, 0),
    ]


def test_a_group_that_holds_for_all_entities(build: Build) -> None:
    """A view without entity, there; here its key is a column that has one value."""
    everywhere = group("world", keys=(Column("place", STRING),))
    rows = [{"place": "all", "world_value": n, "feature_timestamp": at(n), "created_timestamp": at(n)} for n in (0, 5)]
    labels = [{**label(n), "place": "all"} for n in (-1, 0, 4, 5)]
    assert values(build(labels, [(everywhere, rows)]), "world_value") == [None, 0, 0, 5]


def test_two_columns_of_one_name_are_an_error_before_anything_is_read(build: Build) -> None:
    with pytest.raises(InputError, match="named as a feature"):
        build([{**label(0), "orders_value": 1}], [(group(), [row(0)])])
    with pytest.raises(DefinitionError, match="give a role a prefix"):
        view_schema(defined(USERS, USERS.keyed_by("buyer_id")))


def test_of_rows_of_one_time_the_one_created_last_wins_and_event_time_comes_first(build: Build) -> None:
    now, tomorrow = 0, DAY
    rows = [row(now, 10, created=now), row(now, 20, created=tomorrow)]
    assert values(build([label(2 * DAY)], [(group(), rows)])) == [20]
    later = [row(now, 30, created=tomorrow, name="visits"), row(tomorrow, 40, created=now, name="visits")]
    assert values(build([label(2 * DAY)], [(group("visits"), later)]), "visits_value") == [40]


def test_rows_created_after_the_label_are_invisible_if_that_is_asked(build: Build) -> None:
    """A miss of one entity borrows nothing of another; a row of which all versions are later is kept with NULL."""
    rows = [
        row(0, 10, created=0),
        row(0, 20, created=9),
        row(3, 30, created=3, user="v"),
        row(3, 40, created=9, user="v"),
    ]
    rows += [row(0, 50, created=9, user="w"), row(0, 60, created=0, user="x")]
    labels = [label(5, user) for user in "uvwx"]
    assert values(build(labels, [(group(), rows)], known_by="label")) == [10, 30, None, 60]
    assert values(build(labels, [], view(group()))) == [20, 40, 50, 60]
    with pytest.raises(InputError, match="is not a cut-off"):
        build(labels, [], view(group()), known_by="created")


def test_request_data_that_is_missing_is_an_error_before_anything_runs(build: Build) -> None:
    reads = ViewSchema("asked", 1, (ViewedSchema(group()),), request=(Column("price", FLOAT),))
    with pytest.raises(InputError, match="price") as raised:
        build([label(0)], [], reads)
    assert raised.value.code == "missing-column"


def test_only_the_features_that_were_asked_for_come_out(build: Build) -> None:
    schema = group(features=(Column("a", INT), Column("b", INT), Column("c", INT)))
    rows = [(schema, [row(0) | {"a": 1, "b": 2, "c": 3}])]
    found = build([label(0)], rows, view(group(features=(Column("b", INT),))))
    assert found.table.to_pylist() == [{**label(0), "b": 2}]


def test_the_stored_dataset_is_the_result(build: Build) -> None:
    found = build([label(n) for n in range(9)], [(group(), [row(4, 1)])])
    assert pl.read_parquet(found.path / "*.parquet").equals(found.to_polars())


@pytest.mark.parametrize("kind", EVERY_TYPE)
def test_every_type_with_and_without_nulls(build: Build, kind: str) -> None:
    dtype, value, default = EVERY_TYPE[kind]
    schema = group(features=(Column("plain", dtype), Column("filled", dtype, default)))
    rows = [row(0, user=user) | {"plain": of, "filled": of} for user, of in (("a", value), ("b", None))]
    found = build([label(1, user) for user in "abca"], [(schema, rows)])
    assert values(found, "plain") == [value, None, None, value]
    assert values(found, "filled") == [value, default, default, value]


def test_lists_of_every_scalar(build: Build) -> None:
    lists = {"INT": [1, -(2**63)], "FLOAT": [0.5], "BOOL": [True, False], "STRING": ["", "ü"], "TIMESTAMP": [NOON]}
    kinds = {kind: LIST(dtype) for dtype, _, _ in EVERY_TYPE.values() if (kind := dtype.kind) in lists}
    schema = group(features=tuple(Column(kind.lower(), dtype) for kind, dtype in kinds.items()))
    found = build([label(1), label(-1)], [(schema, [row(0) | {kind.lower(): lists[kind] for kind in kinds}])])
    for kind in kinds:
        assert values(found, kind.lower()) == [lists[kind], None]


def test_equal_labels_make_as_many_rows(build: Build) -> None:
    labels = [label(1)] * 7 + [label(1, "v")] * 3 + [label(1)] * 2
    found = build(labels, [(group(), [row(0, 1), row(0, 2), row(0, 3), row(0, 4, user="v")])])
    assert values(found) == [3] * 7 + [4] * 3 + [3] * 2
    assert found.row_count == 12


def test_composite_keys_do_not_run_into_each_other(build: Build) -> None:
    schema = group(keys=(USER, SECOND))
    keys = [("a", "bc"), ("ab", "c"), ("abc", ""), ("", "abc"), ("a", None), (None, "bc")]
    rows = [row(0, n) | {"user_id": u, "shop_id": s} for n, (u, s) in enumerate(keys)]
    labels = [{"user_id": u, "shop_id": s, "label_timestamp": NOON} for u, s in keys]
    assert values(build(labels, [(schema, rows)])) == [0, 1, 2, 3, None, None]


def test_a_label_before_the_first_row_and_an_unknown_entity_are_null(build: Build) -> None:
    assert values(build([label(-1), label(5, "nobody"), label(5, None)], [(group(), [row(0, 1)])])) == [None] * 3


def test_a_label_table_and_the_same_rows_elsewhere_give_the_same_dataset(build: Build, tmp_path: Path) -> None:
    labels = pa.Table.from_pylist([label(n, "uv"[n % 2]) for n in range(-3, 6)])
    pl.DataFrame(labels).write_parquet(tmp_path / "labels.parquet")
    first = build(labels, [(group(), [row(0, 1), row(3, 2, user="v")])])
    query = LabelQuery("SELECT * FROM sold ORDER BY label_timestamp", {"sold": labels.take([8, *range(8)])})
    files = str(tmp_path / "*.parquet")
    for source in (labels.to_pylist(), pl.DataFrame(labels), labels.to_pandas(), files, query):
        found = build(source, [], view(group()))
        assert found.table.equals(first.table)
        assert found.labels_hash == first.labels_hash
