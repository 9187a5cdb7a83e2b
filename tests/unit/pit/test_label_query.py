"""Labels by SQL: over any source, with exact types, and with nothing else in reach."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest
from pyiceberg.catalog.sql import SqlCatalog

from feature_store import LabelFiles, LabelQuery
from feature_store.dtypes import BOOL
from feature_store.errors import InputError
from feature_store.offline.tables import ensure_table
from feature_store.pit import budget
from feature_store.pit.dataset import TrainingDataset, build_in
from tests.unit.pit.pit_cases import at, group, label, row, rows_table, view

LABELS = pl.DataFrame([label(n, "uv"[n % 2]) | {"n": n} for n in range(20)])


@pytest.fixture
def catalog(tmp_path: Path) -> SqlCatalog:
    catalog = SqlCatalog("fs", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}/warehouse")
    ensure_table(catalog, group()).append(rows_table(group(), [row(0, 1), row(6, 2), row(3, 3, user="v")]))
    return catalog


def build(catalog: SqlCatalog, folder: Path, query: LabelQuery, memory: int = 1 << 30) -> TrainingDataset:
    return build_in(catalog, folder / "training", view(group()), query, name="x", memory=memory)


@pytest.mark.parametrize("memory", [0, 1 << 30])
def test_a_query_over_a_frame_files_and_a_table(
    catalog: SqlCatalog, tmp_path: Path, memory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget, "_LEAST_ROWS", 2)
    (tmp_path / "good.csv").write_text("user_id,good\nu,true\nv,false\n")
    catalog.create_namespace("labels")
    weights = pa.table({"user_id": ["u", "v"], "weight": [0.5, 2.0]})
    catalog.create_table("labels.weights", weights.schema).append(weights)
    query = LabelQuery(
        """
        WITH chosen AS (SELECT * FROM labels WHERE n >= 4)
        SELECT a.*, weight, good FROM chosen a JOIN weights USING (user_id) JOIN "good ones" USING (user_id)
        WHERE n < (SELECT count(*) FROM chosen) ORDER BY n DESC
        """,
        {"labels": LABELS, "weights": "labels.weights", "good ones": LabelFiles(tmp_path / "good.csv", {"good": BOOL})},
    )
    found = build(catalog, tmp_path, query, memory)
    by_hand = LABELS.filter(pl.col("n") >= 4, pl.col("n") < 16).sort("n", descending=True)
    by_hand = by_hand.with_columns(
        weight=pl.when(pl.col("user_id") == "u").then(0.5).otherwise(2.0), good=pl.col("user_id") == "u"
    )
    same = build_in(catalog, tmp_path / "training", view(group()), by_hand, name="x")
    assert found.table.equals(same.table)
    assert found.labels_hash == same.labels_hash
    assert [path for path in (tmp_path / "training" / ".scratch").iterdir() if path.is_dir()] == []


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_parquet('{folder}/secret.parquet')",
        "SELECT * FROM '{folder}/secret.parquet'",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM LABELS_OF_PYTHON",
        "COPY labels TO '{folder}/stolen.csv'",
        "ATTACH '{folder}/other.db'",
        "SET enable_external_access = true",
        "SELECT 1; SELECT 2",
        "SELECT",
        "DROP TABLE labels",
        "",
    ],
)
def test_a_query_reaches_nothing_but_its_tables(catalog: SqlCatalog, tmp_path: Path, sql: str) -> None:
    LABELS.write_parquet(tmp_path / "secret.parquet")
    LABELS_OF_PYTHON = LABELS  # noqa: N806, F841 - what DuckDB would find by its name
    with pytest.raises(InputError) as raised:
        build(catalog, tmp_path, LabelQuery(sql.format(folder=tmp_path), {"labels": LABELS}))
    assert raised.value.code == "label-query"
    assert sorted(path.name for path in tmp_path.glob("*.*")) == ["catalog.db", "secret.parquet"]


@pytest.mark.parametrize(
    ("select", "code"),
    [
        ("user_id, label_timestamp::TIMESTAMP AS label_timestamp", "naive-timestamp"),
        ("user_id, '2025-03-01T12:00:00Z' AS label_timestamp", "wrong-type"),
        ("n AS user_id, label_timestamp", "wrong-type"),
        ("label_timestamp", "missing-column"),
        ("user_id, NULL::TIMESTAMPTZ AS label_timestamp", "null-timestamp"),
        ("user_id, label_timestamp, n::TINYINT + 127::TINYINT AS more", "label-query"),
        ("user_id, label_timestamp, error('no') AS more", "label-query"),
    ],
)
def test_what_a_query_gives_is_checked_as_any_labels(
    catalog: SqlCatalog, tmp_path: Path, select: str, code: str
) -> None:
    with pytest.raises(InputError) as raised:
        build(catalog, tmp_path, LabelQuery(f"SELECT {select} FROM labels", {"labels": LABELS}))
    assert raised.value.code == code


def test_a_table_of_a_query_that_cannot_be_read(catalog: SqlCatalog, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the catalog has no such table"):
        build(catalog, tmp_path, LabelQuery("SELECT * FROM a", {"a": "labels.nowhere"}))
    with pytest.raises(InputError, match="no such file"):
        build(catalog, tmp_path, LabelQuery("SELECT * FROM a", {"a": tmp_path / "nowhere.parquet"}))


def test_times_of_a_query_are_utc(catalog: SqlCatalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    query = LabelQuery("SELECT 'u' AS user_id, TIMESTAMPTZ '2025-03-01 12:00:00' AS label_timestamp", {})
    found = build(catalog, tmp_path, query)
    assert found.table.to_pylist() == [{"user_id": "u", "label_timestamp": at(0), "orders_value": 1}]
