"""Labels in files and tables: read piece by piece, in order, with exactly the types that are declared."""

from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.catalog.sql import SqlCatalog

from feature_store.dtypes import BOOL, FLOAT, INT
from feature_store.errors import InputError
from feature_store.pit.label_files import LabelFiles
from feature_store.pit.labels import open_labels
from tests.unit.pit.pit_cases import ITEM, NOON, USER, at, group, read_labels, view

VIEW = view(group(keys=(USER, ITEM)))
INSTANT = pa.timestamp("us", "UTC")


def table(first: int, count: int) -> pa.Table:
    numbers = range(first, first + count)
    return pa.table(
        {
            "user_id": [f"u{n}" for n in numbers],
            "item_id": pa.array(numbers, pa.int64()),
            "label_timestamp": pa.array([at(n) for n in numbers], INSTANT),
            "weight": pa.array([n / 2 for n in numbers]),
        }
    )


ALL = table(0, 250)


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("feature_store.pit.label_files._ROWS_AT_ONCE", 40)


def test_parquet_files_of_a_glob_in_the_order_of_their_paths(tmp_path: Path) -> None:
    for name, first in (("b", 100), ("a", 0), ("c", 200)):
        part = table(first, 100 if first < 200 else 50)
        (tmp_path / name).mkdir()
        pq.write_table(part.select(part.column_names[:: -1 if name == "b" else 1]), tmp_path / name / "x.parquet")
    (tmp_path / "a" / "notes.txt").write_text("no labels")
    stream = open_labels(tmp_path / "*" / "*.parquet", VIEW)
    pieces = list(stream.tables)
    assert len(pieces) == 8
    assert pa.concat_tables(pieces).equals(ALL)
    assert read_labels(str(tmp_path / "**" / "*.parquet"), VIEW).hash == read_labels(ALL, VIEW).hash


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (table(9, 3).drop_columns("weight"), "'weight'.*double in .*1.parquet only"),
        (table(9, 3).append_column("more", [[1, 2, 3]]), "'more'.*int64 in .*2.parquet only"),
        (
            table(9, 3).set_column(1, "item_id", [[1.0, 2.0, 3.0]]),
            "'item_id'.*int64 in .*1.*, double in .*2.parq",
        ),
    ],
)
def test_files_that_differ_are_an_error_before_a_row_is_read(tmp_path: Path, other: pa.Table, said: str) -> None:
    pq.write_table(table(0, 3), tmp_path / "1.parquet")
    pq.write_table(other, tmp_path / "2.parquet")
    with pytest.raises(InputError, match=said):
        open_labels(tmp_path / "*.parquet", VIEW)


def test_csv_has_the_types_of_the_view_and_those_that_are_given(tmp_path: Path) -> None:
    header = "user_id,item_id,label_timestamp,weight,note,good\n"
    (tmp_path / "1.csv").write_text(
        header + '007,7,2025-03-01T12:00:00Z,0.5,"a,b",true\n,-3,2025-03-01 13:00+01:00,,,\n'
    )
    rows = '"","",2025-03-01T12:00:00.000001Z,1e3,"",false\n'
    (tmp_path / "2.csv.gz").write_bytes(gzip.compress((header + rows).encode()))
    found = read_labels(LabelFiles(tmp_path / "*.csv*", {"weight": FLOAT, "good": BOOL}), VIEW).table
    assert found.to_pylist() == [
        {"user_id": "007", "item_id": 7, "label_timestamp": NOON, "weight": 0.5, "note": "a,b", "good": True},
        {"user_id": None, "item_id": -3, "label_timestamp": NOON, "weight": None, "note": None, "good": None},
        {"user_id": "", "item_id": None, "label_timestamp": at(1), "weight": 1000.0, "note": "", "good": False},
    ]


@pytest.mark.parametrize(
    ("row", "code", "where"),
    [
        ("a,1,2025-03-01T12:00:00,1", "naive-timestamp", "label_timestamp"),
        ("a,1,2025-03-01,1", "naive-timestamp", "label_timestamp"),
        ("a,1,2025-03-01T12:00:00.1234567Z,1", "wrong-type", "label_timestamp"),
        ("a,1,noon,1", "wrong-type", "label_timestamp"),
        ("a,1,,1", "null-timestamp", "label_timestamp"),
        ("a,1.0,2025-03-01T12:00:00Z,1", "wrong-type", "item_id"),
        ("a,0x1f,2025-03-01T12:00:00Z,1", "wrong-type", "item_id"),
        ("a,9223372036854775808,2025-03-01T12:00:00Z,1", "wrong-type", "item_id"),
        ("a,1,2025-03-01T12:00:00Z,one", "wrong-type", "weight"),
        ("a,1,2025-03-01T12:00:00Z", "unreadable-labels", "labels.csv"),
    ],
)
def test_a_bad_field_of_a_csv_file(tmp_path: Path, row: str, code: str, where: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(f"user_id,item_id,label_timestamp,weight\nb,2,2025-03-01T12:00:00Z,2\n{row}\n")
    with pytest.raises(InputError) as raised:
        read_labels(LabelFiles(path, {"weight": FLOAT}), VIEW)
    assert (raised.value.code, where in raised.value.where) == (code, True)


def test_columns_of_csv_files_that_are_not_there(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("user_id,item_id,label_timestamp\n")
    with pytest.raises(InputError, match="did you mean 'item_id'"):
        open_labels(LabelFiles(path, {"item": INT}), VIEW)
    path.write_text("user_id,user_id,item_id,label_timestamp\n")
    with pytest.raises(InputError, match="more than one column"):
        open_labels(path, VIEW)
    path.write_text("")
    with pytest.raises(InputError, match=r"labels.csv: "):
        open_labels(path, VIEW)
    path.write_bytes(b"user_id,item_id,label_timestamp\n\xff,1,2025-03-01T12:00:00Z\n")
    with pytest.raises(InputError, match="UTF8"):
        read_labels(path, VIEW)


def test_an_iceberg_table_of_the_catalog(tmp_path: Path) -> None:
    catalog = SqlCatalog("fs", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}/warehouse")
    catalog.create_namespace("labels")
    made = catalog.create_table("labels.churn", ALL.schema)
    for start in range(0, 250, 100):
        made.append(ALL.slice(start, 100))
    stream = open_labels("labels.churn", VIEW, catalog)
    found = pa.concat_tables(stream.tables)
    assert found.sort_by("item_id").equals(ALL)
    assert found.equals(pa.concat_tables(open_labels("labels.churn", VIEW, catalog).tables))
    made.delete("item_id < 10")
    assert sum(piece.num_rows for piece in open_labels("labels.churn", VIEW, catalog).tables) == 240


def test_a_table_that_is_not_there_or_whose_file_is_gone(tmp_path: Path) -> None:
    catalog = SqlCatalog("fs", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}/warehouse")
    for named in ("labels.churn", "other.labels.churn"):
        with pytest.raises(InputError, match="the catalog has no such table"):
            open_labels(named, VIEW, catalog)
    with pytest.raises(InputError, match="there is no catalog"):
        open_labels("labels.churn", VIEW)
    catalog.create_namespace("labels")
    made = catalog.create_table("labels.churn", ALL.schema)
    made.append(ALL)
    (file,) = (task.file.file_path for task in made.scan().plan_files())
    Path(file.removeprefix("file://")).unlink()
    with pytest.raises(InputError, match="a file cannot be read"):
        list(open_labels("labels.churn", VIEW, catalog).tables)


def test_naive_timestamps_of_a_table(tmp_path: Path) -> None:
    catalog = SqlCatalog("fs", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}/warehouse")
    catalog.create_namespace("labels")
    naive = ALL.set_column(2, "label_timestamp", ALL["label_timestamp"].cast(pa.timestamp("us")))
    catalog.create_table("labels.naive", naive.schema)
    with pytest.raises(InputError, match="have no time zone"):
        open_labels("labels.naive", VIEW, catalog)


def test_batches_that_somebody_else_reads() -> None:
    reader = pa.RecordBatchReader.from_batches(ALL.schema, ALL.to_batches(max_chunksize=100))
    assert len(list(open_labels(reader, VIEW).tables)) == 3
