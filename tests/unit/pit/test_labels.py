"""Labels: the same rows whatever they come in as, and an error that names the column for what cannot be joined."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_store.dtypes import BOOL, TIMESTAMP
from feature_store.errors import InputError
from feature_store.pit.label_sources import LabelSource
from feature_store.plan.schema import Column
from tests.unit.pit.pit_cases import ITEM, NOON, at, group, read_labels, view

VIEW = view(group("orders"), group("stats", keys=(ITEM,)))
ROWS: list[dict[str, Any]] = [
    {"user_id": "a", "item_id": 5, "label_timestamp": at(3), "bought": True, "note": "x"},
    {"user_id": None, "item_id": 7, "label_timestamp": at(1), "bought": None, "note": "é"},
    {"user_id": "a", "item_id": 5, "label_timestamp": at(3), "bought": True, "note": None},
]
TYPES = pa.schema(
    {
        "user_id": pa.string(),
        "item_id": pa.int64(),
        "label_timestamp": pa.timestamp("us", "UTC"),
        "bought": pa.bool_(),
        "note": pa.string(),
    }
)


def one(**changed: Any) -> list[dict[str, Any]]:
    """One good label row with some values changed."""
    return [{"user_id": "a", "item_id": 1, "label_timestamp": NOON} | changed]


def as_parquet(folder: Path) -> Path:
    pq.write_table(pa.Table.from_pylist(ROWS), folder / "labels.parquet")
    return folder / "labels.parquet"


SOURCES = {
    "rows": lambda _: ROWS,
    "arrow": lambda _: pa.Table.from_pylist(ROWS),
    "arrow in chunks": lambda _: pa.concat_tables([pa.Table.from_pylist([row], TYPES) for row in ROWS]),
    "arrow slice": lambda _: pa.Table.from_pylist([ROWS[1], *ROWS, ROWS[0]], TYPES).slice(1, 3),
    "pandas": lambda _: pd.DataFrame(ROWS),
    "pandas categories": lambda _: pd.DataFrame(ROWS).astype({"user_id": "category"}),
    "polars": lambda _: pl.DataFrame(ROWS),
    "polars categories": lambda _: pl.DataFrame(ROWS).with_columns(pl.col("user_id").cast(pl.Categorical)),
    "small integers": lambda _: pl.DataFrame(ROWS).with_columns(pl.col("item_id").cast(pl.UInt8)),
    "Parquet": as_parquet,
    "Parquet by name": lambda folder: str(as_parquet(folder)),
}


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES.keys())
def test_the_same_rows_from_every_source(source: Any, tmp_path: Path) -> None:
    labels = read_labels(source(tmp_path), VIEW)
    assert labels.table.schema == TYPES
    assert labels.table.to_pylist() == ROWS
    assert labels.hash == read_labels(ROWS, VIEW).hash


def test_the_hash_is_of_the_content() -> None:
    hashes = {
        read_labels(rows, VIEW).hash
        for rows in (ROWS, ROWS[::-1], ROWS[:2], [*ROWS[:2], ROWS[2] | {"note": "y"}], [r | {"more": 1} for r in ROWS])
    }
    assert len(hashes) == 5
    assert read_labels(ROWS, VIEW).hash == read_labels(ROWS, VIEW).hash


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_every_unit_becomes_microseconds(unit: str) -> None:
    noon = pa.array([NOON], pa.timestamp("us", "UTC")).cast(pa.timestamp(unit, "UTC"))
    labels = read_labels(pa.table({"user_id": ["a"], "item_id": [1], "label_timestamp": noon}), VIEW)
    assert labels.table["label_timestamp"].type == pa.timestamp("us", "UTC")
    assert labels.table["label_timestamp"].to_pylist() == [NOON]


def test_an_offset_is_converted_to_utc() -> None:
    offset = timezone(timedelta(hours=5, minutes=30))
    mixed = [*one(label_timestamp=NOON.astimezone(offset)), *one(), *one(label_timestamp=NOON.astimezone(UTC))]
    for source in (mixed, pd.DataFrame(mixed), pd.DataFrame(one()).assign(label_timestamp=NOON.astimezone(offset))):
        times = read_labels(source, VIEW).table["label_timestamp"]
        assert set(times.to_pylist()) == {NOON}
        assert str(times.type.tz) == "UTC"


def test_a_key_that_is_null_everywhere_has_the_type_of_the_key() -> None:
    labels = read_labels(one(user_id=None, item_id=None), VIEW)
    assert [str(labels.table.schema.field(name).type) for name in ("user_id", "item_id")] == ["string", "int64"]


@pytest.mark.parametrize(
    "source",
    [
        [],
        pd.DataFrame(columns=["user_id", "item_id", "label_timestamp"]),
        pd.DataFrame(ROWS).head(0),
        pl.DataFrame(ROWS).clear(),
        TYPES.empty_table(),
    ],
    ids=["no rows", "pandas without types", "pandas", "polars", "arrow"],
)
def test_no_labels_have_typed_columns(source: LabelSource) -> None:
    table = read_labels(source, VIEW).table
    assert table.num_rows == 0
    assert [table.schema.field(name).type for name in TYPES.names[:3]] == TYPES.types[:3]


def test_keys_of_every_type() -> None:
    keys = (Column("flag", BOOL), Column("opened_at", TIMESTAMP))
    rows = [{"flag": True, "opened_at": NOON.astimezone(timezone(timedelta(hours=1))), "label_timestamp": NOON}]
    table = read_labels(rows, view(group(keys=keys))).table
    assert table.to_pylist() == [{"flag": True, "opened_at": NOON, "label_timestamp": NOON}]
    assert table["opened_at"].type == pa.timestamp("us", "UTC")


NAIVE = NOON.replace(tzinfo=None)
BAD: dict[str, tuple[Any, str]] = {
    "no key": ([{"user_id": "a", "label_timestamp": NOON}], "'item_id'"),
    "no timestamp": ([{"user_id": "a", "item_id": 1}], "'label_timestamp'"),
    "nothing needed": (pl.DataFrame({"x": [1]}), "'user_id', 'item_id', 'label_timestamp'"),
    "a number for text": (one(user_id=5), "'user_id'"),
    "text for a number": (one(item_id="5"), "'item_id'"),
    "a fraction for a number": (pd.DataFrame([*one(), *one(item_id=None)]), "'item_id'"),
    "a number too great": (pl.DataFrame(one(item_id=1)).with_columns(item_id=pl.lit(2**63, pl.UInt64)), "'item_id'"),
    "no common type": (one() + one(user_id=5), "'user_id'"),
    "naive": (one(label_timestamp=NAIVE), "'label_timestamp'"),
    "naive among aware": (one() + one(label_timestamp=NAIVE), "'label_timestamp'"),
    "naive in pandas": (pd.DataFrame(one(label_timestamp=NAIVE)), "'label_timestamp'"),
    "naive objects in pandas": (
        pd.DataFrame(
            {k: pd.Series([v, v if k != "label_timestamp" else NAIVE], dtype=object) for k, v in one()[0].items()}
        ),
        "'label_timestamp'",
    ),
    "naive in polars": (pl.DataFrame(one(label_timestamp=NAIVE)), "'label_timestamp'"),
    "a date": (one(label_timestamp=NOON.date()), "'label_timestamp'"),
    "text for a time": (one(label_timestamp=NOON.isoformat()), "'label_timestamp'"),
    "a number for a time": (one(label_timestamp=1_700_000_000), "'label_timestamp'"),
    "a feature's name": (one(stats_value=1), "'stats_value'"),
    "a name twice": (
        pa.table([["a"], ["b"], [1], [NOON]], ["user_id", "user_id", "item_id", "label_timestamp"]),
        "'user_id'",
    ),
}


@pytest.mark.parametrize(("source", "column"), BAD.values(), ids=BAD.keys())
def test_a_bad_column_is_named(source: Any, column: str) -> None:
    with pytest.raises(InputError) as raised:
        read_labels(source, VIEW)
    assert column in raised.value.where


def test_a_column_of_mixed_objects_in_pandas_is_named() -> None:
    with pytest.raises(InputError, match="column note"):
        read_labels(pd.DataFrame({"note": pd.Series([1, "x"], dtype=object)}), VIEW)


def test_missing_label_timestamps_are_counted() -> None:
    with pytest.raises(InputError, match="2 of 3 rows are NULL") as raised:
        read_labels([*one(), *one(label_timestamp=None), *one(label_timestamp=None)], VIEW)
    assert "'label_timestamp'" in raised.value.where
    with pytest.raises(InputError, match="1 of 1 rows are NULL"):
        read_labels(one(label_timestamp=None), VIEW)


def test_a_naive_key_is_named_too() -> None:
    keyed = view(group(keys=(Column("opened_at", TIMESTAMP),)))
    with pytest.raises(InputError, match="no time zone") as raised:
        read_labels([{"opened_at": NAIVE, "label_timestamp": NOON}], keyed)
    assert "'opened_at'" in raised.value.where


def test_a_time_finer_than_a_microsecond_is_refused_not_rounded() -> None:
    fine = pa.array([1_700_000_000_000_000_001], pa.timestamp("ns", "UTC"))
    with pytest.raises(InputError, match="whole number of microseconds") as raised:
        read_labels(pa.table({"user_id": ["a"], "item_id": [1], "label_timestamp": fine}), VIEW)
    assert "'label_timestamp'" in raised.value.where


@pytest.mark.parametrize("micros", [-(2**62), 2**62])
def test_a_time_outside_the_years_of_a_calendar_is_refused(micros: int) -> None:
    times = pa.array([micros], pa.timestamp("us", "UTC"))
    with pytest.raises(InputError, match="years 1 to 9999"):
        read_labels(pa.table({"user_id": ["a"], "item_id": [1], "label_timestamp": times}), VIEW)


@pytest.mark.parametrize("moment", [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)])
def test_the_first_and_the_last_instant_are_fine(moment: datetime) -> None:
    assert read_labels(one(label_timestamp=moment), VIEW).table["label_timestamp"].to_pylist() == [moment]


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "labels.parquet").write_text("user_id,item_id\n")
    for source, message in [
        ({"user_id": ["a"]}, "dict"),
        ([1, 2], "row 0"),
        (tmp_path / "labels.parquet", "no Parquet file"),
        (tmp_path / "nowhere.parquet", "no such file"),
        (tmp_path, "no such file"),
    ]:
        with pytest.raises(InputError, match=message):
            read_labels(source, VIEW)  # type: ignore[arg-type]


def test_rows_with_different_columns_have_all_of_them() -> None:
    table = read_labels([*one(), *one(weight=0.5)], VIEW).table
    assert table["weight"].to_pylist() == [None, 0.5]


def test_a_parquet_file_in_a_partitioned_folder_has_its_own_columns_only(tmp_path: Path) -> None:
    folder = tmp_path / "day=2025-03-01"
    folder.mkdir()
    assert read_labels(as_parquet(folder), VIEW).table.column_names == TYPES.names
