"""The join reads as many rows at once as it may, newest days first, and finds what the reference finds."""

from __future__ import annotations

import random
from pathlib import Path

import pyarrow as pa
import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.manifest import DataFile

from feature_store.dtypes import INT
from feature_store.duration import DAY
from feature_store.offline.tables import ensure_table
from feature_store.pit import join
from feature_store.pit import part as parts
from feature_store.pit.chunks import Chunk, newest_first
from feature_store.pit.planning import PlannedFile, current_snapshot_id, plan_group
from feature_store.pit.reading import GroupRows, read_rows
from feature_store.pit.semantics import KnownBy, Row
from feature_store.plan.schema import Column
from tests.unit.pit.pit_cases import ITEM, USER, group, label, read_labels, reference, row, rows_table, view, viewed

EVER = (-(10**15), 10**16)


def file(day: int | None, rows: int, name: str = "a") -> PlannedFile:
    return PlannedFile(DataFile.from_args(file_path=f"{name}-{day}", record_count=rows), 0, 1, day)


def shape(chunks: list[Chunk]) -> list[tuple[list[int | None], int]]:
    return [([one.day for one in chunk.files], chunk.shares) for chunk in chunks]


def test_chunks_are_whole_days_the_newest_first() -> None:
    files = [file(day, 40_000, name) for day in (3, 1, 2, 4) for name in ("a", "b")]
    chunks = list(newest_first(files, 10**6, 200_000))
    assert shape(chunks) == [([3, 4, 3, 4], 1), ([1, 2, 1, 2], 1)]  # within a chunk in the order of the plan
    assert [(chunk.begin, chunk.end) for chunk in chunks] == [(3 * DAY, 5 * DAY), (DAY, 3 * DAY)]


def test_few_labels_begin_with_few_rows() -> None:
    chunks = newest_first([file(day, 10_000) for day in range(12)], 1, 60_000)
    assert [[one.day for one in chunk.files] for chunk in chunks] == [[10, 11], [6, 7, 8, 9], [0, 1, 2, 3, 4, 5]]


def test_a_day_of_too_many_rows_is_split_by_key() -> None:
    assert shape(list(newest_first([file(1, 250), file(2, 10)], 1000, 100))) == [([2], 1), ([1], 3)]
    (undated,) = newest_first([file(None, 250), file(2, 10)], 1000, 100)
    assert (undated.shares, undated.begin) == (3, None)


@pytest.fixture
def catalog(tmp_path: Path) -> SqlCatalog:
    return SqlCatalog("fs", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}/warehouse")


def history(keys: list[Row], seed: int) -> list[Row]:
    """Rows of seven days: corrections, retractions and rows that come again, at few times."""
    chance = random.Random(seed)
    rows = []
    for number in range(400):
        time = chance.randrange(-6, 1) * DAY + chance.randrange(3)
        created = time + chance.choice([0, 1000, DAY, 5 * DAY]) + number  # never equal for rows of one time
        rows.append({**row(time, number, created=created, retracted=chance.random() < 0.3), **chance.choice(keys)})
    return rows


@pytest.mark.parametrize("by_field_id", [False, True])
@pytest.mark.parametrize("known_by", [None, "label"])
@pytest.mark.parametrize("ttl", [None, 2 * DAY])
def test_any_number_of_rows_at_once_gives_what_the_reference_says(
    catalog: SqlCatalog, monkeypatch: pytest.MonkeyPatch, ttl: int | None, known_by: KnownBy, by_field_id: bool
) -> None:
    monkeypatch.setattr("feature_store.pit.chunks._FIRST_ROWS", 5)
    monkeypatch.setattr("feature_store.pit.chunks._ROWS_FOR_A_LABEL", 0)
    schema = group(keys=(USER, ITEM), ttl=ttl, delay=1, buckets=2)
    keys: list[Row] = [{"user_id": user, "item_id": item} for user in ("a", "b", "c", None) for item in (1, 2, 3)]
    rows = history(keys, 7)
    table = ensure_table(catalog, schema)
    for part in (rows[::2], rows[1::2]):
        table.append(rows_table(schema, part))
    if by_field_id:
        with table.update_schema() as update:
            update.rename_column("item_id", "item")
            update.rename_column("orders_value", "orders_total")
        schema = group(
            keys=(USER, Column("item", INT)), ttl=ttl, delay=1, features=(Column("orders_total", INT),), buckets=2
        )
        rows = [{**one, "item": one["item_id"], "orders_total": one["orders_value"]} for one in rows]
        keys = [{"user_id": key["user_id"], "item": key["item_id"]} for key in keys]
    labels = [
        {**label(micros), **key} for key in keys for day in (-6, -3, 0, 2) for micros in (day * DAY, day * DAY + 1)
    ]
    plan = plan_group(table, viewed(schema), current_snapshot_id(table), EVER)
    assert plan.same_columns_by_name is not by_field_id
    name = schema.features[0].name
    expected = [found[name] for found in reference(labels, [(schema, rows)], known_by)]
    assert len({value for value in expected if value is not None}) > 10
    prepared = read_labels(labels, view(schema)).table
    for rows_at_once in (1, 30, 10**6):
        found = join.join_labels(prepared, [plan], known_by, workers=1, rows_at_once=rows_at_once)
        assert found.features[name].to_pylist() == expected


def test_older_days_are_not_read_when_every_label_has_found_its_row(
    catalog: SqlCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("feature_store.pit.chunks._FIRST_ROWS", 1)
    monkeypatch.setattr("feature_store.pit.chunks._ROWS_FOR_A_LABEL", 0)
    schema = group(buckets=1)
    table = ensure_table(catalog, schema)
    rows = [row(day * DAY, day, user=user) for day in range(6) for user in ("u", "v") if (day, user) != (5, "v")]
    table.append(rows_table(schema, rows))
    plan = plan_group(table, viewed(schema), current_snapshot_id(table), EVER)
    read: list[int | None] = []

    def spy(plan: parts.GroupPlan, files: tuple[PlannedFile, ...], share: object = None) -> GroupRows:
        read.extend(one.day for one in files)
        return read_rows(plan, files)

    monkeypatch.setattr(parts, "read_rows", spy)
    first = plan.files[0].day
    assert first is not None
    newest = max(one.day for one in plan.files if one.day is not None)
    for labels, days in (
        ([label(9 * DAY)], [newest]),
        ([label(9 * DAY), label(9 * DAY, "v")], [newest, newest - 1]),
        ([label(9 * DAY), label(2 * DAY)], [newest, newest - 3]),
    ):
        read.clear()
        found = join.join_labels(read_labels(labels, view(schema)).table, [plan], None, workers=1, rows_at_once=2)
        assert found.features.to_pylist() == [
            {"orders_value": joined["orders_value"]} for joined in reference(labels, [(schema, rows)])
        ]
        assert read == days


def test_keys_of_all_types_are_in_the_same_share_for_labels_and_rows() -> None:
    from feature_store.pit.reading import share_numbers

    text = pa.array(["a", "", None, "é"] * 50)
    numbers = share_numbers([text, pa.array(range(200), pa.int64())], 7)
    assert set(numbers.tolist()) == set(range(7))
    assert share_numbers([text.slice(3, 9), pa.array(range(3, 12), pa.int64())], 7).tolist() == numbers[3:12].tolist()
