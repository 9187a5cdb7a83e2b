"""Planning and reading Iceberg tables (in a one-file catalog): pruned, pinned, through changes of schema and spec."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.table import Table
from pyiceberg.transforms import BucketTransform
from pyiceberg.types import LongType

from feature_store.dtypes import FLOAT, INT, STRING
from feature_store.duration import DAY
from feature_store.errors import ConflictError, NotFoundError
from feature_store.offline.tables import ensure_table
from feature_store.pit.join import _parts, join_labels
from feature_store.pit.planning import GroupPlan, PlannedFile, current_snapshot_id, open_table, plan_group
from feature_store.pit.semantics import Row
from feature_store.plan.schema import Column, GroupSchema
from tests.unit.pit.pit_cases import ITEM, group, label, read_labels, reference, row, rows_table, view, viewed

EVER = (-(10**15), 10**16)
NOON_MICROS = 1_740_830_400_000_000


@pytest.fixture
def catalog(tmp_path: Path) -> SqlCatalog:
    """An empty catalog in a file."""
    return SqlCatalog("fs", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}/warehouse")


def written(catalog: SqlCatalog, schema: GroupSchema, *batches: Sequence[Row]) -> Table:
    """The group's table after some appends."""
    table = ensure_table(catalog, schema)
    for rows in batches:
        table.append(rows_table(schema, rows))
    return table


def planned(table: Table, schema: GroupSchema, label_times: tuple[int, int] = EVER) -> GroupPlan:
    return plan_group(table, viewed(schema), current_snapshot_id(table), label_times)


def joined(labels: list[Row], *plans: GroupPlan) -> list[Row]:
    """The features of the labels, by the real path."""
    table = read_labels(labels, view(*(plan.viewed for plan in plans))).table
    return join_labels(table, plans, None).features.to_pylist()


def expected(labels: list[Row], *groups: tuple[GroupSchema, Sequence[Row]]) -> list[Row]:
    """The features of the labels, by the reference."""
    names = [feature.name for schema, _ in groups for feature in schema.features]
    return [{name: found[name] for name in names} for found in reference(labels, groups)]


def users(count: int) -> list[str]:
    return [f"user_{number}" for number in range(count)]


def test_a_table_that_does_not_exist(catalog: SqlCatalog) -> None:
    with pytest.raises(NotFoundError, match="materialize the group first") as raised:
        open_table(catalog, group("orders"))
    assert raised.value.where == "group orders@1"


def test_a_table_that_nothing_was_written_to(catalog: SqlCatalog) -> None:
    schema = group(features=(Column("orders_value", INT, default=3), Column("orders_name", STRING)))
    plan = planned(written(catalog, schema), schema)
    assert (plan.snapshot_id, plan.files, plan.rows) == (None, (), 0)
    assert joined([label(0)], plan) == [{"orders_value": 3, "orders_name": None}]


def test_no_labels_read_nothing(catalog: SqlCatalog) -> None:
    table = written(catalog, group(), [row(0)])
    plan = plan_group(table, viewed(group()), current_snapshot_id(table), None)
    assert plan.files == ()
    assert joined([], plan) == []


@pytest.mark.parametrize(
    ("ttl", "delay", "days"),
    [
        (None, 0, [0, 1, 2, 3, 4]),
        (2 * DAY, 0, [2, 3, 4]),
        (None, DAY, [0, 1, 2, 3]),
        (2 * DAY, DAY, [2, 3]),
        (0, 0, [4]),
    ],
)
def test_only_days_that_can_matter_are_read(catalog: SqlCatalog, ttl: int | None, delay: int, days: list[int]) -> None:
    schema = group(ttl=ttl, delay=delay)
    table = written(catalog, schema, [row(day * DAY, day) for day in range(8)])
    plan = planned(table, schema, (NOON_MICROS + 4 * DAY, NOON_MICROS + 4 * DAY))
    first_day = NOON_MICROS // DAY
    assert sorted(file.data.partition[0] - first_day for file in plan.files) == days


def test_manifests_of_other_days_are_left_out_too(catalog: SqlCatalog) -> None:
    schema = group(ttl=DAY)
    table = written(catalog, schema, *[[row(day * DAY, day)] for day in range(8)])
    plan = planned(table, schema, (NOON_MICROS + 4 * DAY, NOON_MICROS + 5 * DAY))
    assert plan.rows == 3


def test_only_buckets_of_the_labels_are_read(catalog: SqlCatalog) -> None:
    schema = group(buckets=8)
    rows = [row(0, number, user=user) for number, user in enumerate(users(50))]
    plan = planned(written(catalog, schema, rows), schema)
    assert len(plan.files) == plan.buckets == 8
    labels = [label(1, user="user_7"), label(1, user=None)]
    (part,) = _parts(read_labels(labels, view(schema)).table, [plan])
    assert part.positions.tolist() == [0]
    assert [len(files) for _, files in part.inputs] == [1]
    assert joined(labels, plan) == [{"orders_value": 7}, {"orders_value": None}]


def test_a_snapshot_is_read_as_it_was(catalog: SqlCatalog) -> None:
    table = written(catalog, group(), [row(0, 1)])
    before = current_snapshot_id(table)
    table.append(rows_table(group(), [row(1, 2)]))
    assert joined([label(5)], planned(table, group())) == [{"orders_value": 2}]
    assert joined([label(5)], plan_group(table, viewed(group()), before, EVER)) == [{"orders_value": 1}]
    assert joined([label(5)], plan_group(table, viewed(group()), None, EVER)) == [{"orders_value": None}]
    with pytest.raises(NotFoundError, match="no snapshot 99"):
        plan_group(table, viewed(group()), 99, EVER)


def test_rows_of_many_files_and_parts(catalog: SqlCatalog, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small parts, so that a key's rows and labels are really cut by bucket."""
    monkeypatch.setattr("feature_store.pit.join._ROWS_PER_PART", 10)
    plans, groups = [], []
    for name, buckets in (("orders", 12), ("visits", 12), ("views", 5)):
        schema = group(name, buckets=buckets, ttl=3 * DAY)
        rows = [
            row(day * DAY, 100 * day + number, user=user, name=name)
            for day in range(4)
            for number, user in enumerate([*users(40), "", None])
            if (day + number) % 3
        ]
        plans.append(planned(written(catalog, schema, rows[::2], rows[1::2]), schema))
        groups.append((schema, rows))
    labels = [label(day * DAY + 1, user=user) for day in (5, 1, 3) for user in [*users(45), "", None, "user_3"]]
    assert joined(labels, *plans) == expected(labels, *groups)


@pytest.mark.parametrize("key", [0, -1, 2**62, None])
def test_integer_keys_find_their_bucket(catalog: SqlCatalog, key: int | None) -> None:
    schema = group(keys=(ITEM,), buckets=7)
    rows = [{**row(0, number), "item_id": item} for number, item in enumerate([0, -1, 2**62, None, 4])]
    plan = planned(written(catalog, schema, rows), schema)
    labels = [{**label(1), "item_id": key}]
    assert joined(labels, plan) == expected(labels, (schema, rows))


def test_files_of_another_number_of_buckets(catalog: SqlCatalog) -> None:
    """The number was 8 and became 12: keys are in the same one of 4 parts by both."""
    schema = group(buckets=8)
    early = [row(0, number, user=user) for number, user in enumerate(users(60))]
    table = written(catalog, schema, early)
    with table.update_spec() as update:
        update.remove_field("user_id_bucket")
        update.add_field("user_id", BucketTransform(12), "user_id_bucket_12")
    late = [row(2, 1000 + number, user=user) for number, user in enumerate(users(80)) if number % 2]
    table.append(rows_table(schema, late))
    plan = planned(table, schema)
    assert plan.buckets == 4
    labels = [label(micros, user=user) for user in users(90) for micros in (1, 3)]
    assert joined(labels, plan) == expected(labels, (schema, early + late))


def test_files_that_are_not_split_by_key(catalog: SqlCatalog) -> None:
    table = written(catalog, group(buckets=8), [row(0, 1)])
    with table.update_spec() as update:
        update.remove_field("user_id_bucket")
    table.append(rows_table(group(), [row(1, 2, user="v")]))
    plan = planned(table, group())
    assert plan.buckets == 1
    assert joined([label(5), label(5, user="v"), label(5, user=None)], plan) == [
        {"orders_value": 1},
        {"orders_value": 2},
        {"orders_value": None},
    ]


def test_a_column_that_old_files_lack_is_missing_there(catalog: SqlCatalog) -> None:
    old = group(buckets=1)
    table = written(catalog, old, [row(0, 1), row(-DAY, 5, user="v")])
    extra = Column("orders_extra", FLOAT, default=-1.0)
    schema = replace(old, features=(extra, *old.features))
    table = written(catalog, schema, [{**row(1, 2), "orders_extra": 2.5}])
    plan = planned(table, schema)
    assert plan.same_columns_by_name
    assert joined([label(5), label(0), label(5, user="v")], plan) == [
        {"orders_extra": 2.5, "orders_value": 2},
        {"orders_extra": -1.0, "orders_value": 1},
        {"orders_extra": -1.0, "orders_value": 5},
    ]


def test_a_feature_that_the_table_lacks_is_missing(catalog: SqlCatalog) -> None:
    table = written(catalog, group(), [row(0, 1)])
    schema = group(features=(Column("orders_value", INT), Column("orders_new", STRING, default="?")))
    assert joined([label(1)], planned(table, schema)) == [{"orders_value": 1, "orders_new": "?"}]


def test_a_row_is_taken_back_by_a_later_file(catalog: SqlCatalog) -> None:
    rows = [row(0, 1), row(5, 2), row(5, 3, user="v")]
    retraction = row(5, None, created=9, retracted=True)
    plan = planned(written(catalog, group(), rows, [retraction]), group())
    labels = [label(micros, user=user) for micros in (4, 5, 9) for user in ("u", "v")]
    assert joined(labels, plan) == expected(labels, (group(), [*rows, retraction]))
    assert [found["orders_value"] for found in joined(labels, plan)] == [1, None, 1, 3, 1, 3]


def test_rows_from_before_tables_had_a_column_for_retractions(catalog: SqlCatalog) -> None:
    table = written(catalog, group())
    with table.update_schema() as update:
        update.delete_column("retracted")
    table.append(rows_table(group(), [row(0, 1), row(5, 2)]).drop_columns("retracted"))
    assert "retracted" not in planned(table, group()).columns
    assert joined([label(9)], planned(table, group())) == [{"orders_value": 2}]
    table = written(catalog, group(), [row(5, None, created=6, retracted=True)])
    assert joined([label(9)], planned(table, group())) == [{"orders_value": 1}]


def test_a_renamed_column_is_read_from_old_files_too(catalog: SqlCatalog) -> None:
    table = written(catalog, group(), [row(0, 1)])
    with table.update_schema() as update:
        update.rename_column("orders_value", "orders_total")
    schema = group(features=(Column("orders_total", INT),))
    table.append(rows_table(schema, [{**row(3), "orders_total": 2}]))
    plan = planned(table, schema)
    assert not plan.same_columns_by_name
    assert joined([label(1), label(5)], plan) == [{"orders_total": 1}, {"orders_total": 2}]


def test_a_column_dropped_and_made_anew_has_no_old_values(catalog: SqlCatalog) -> None:
    table = written(catalog, group(), [row(0, 1), row(0, 1, user="v")])
    with table.update_schema() as update:
        update.delete_column("orders_value")
    with table.update_schema() as update:
        update.add_column("orders_value", LongType())
    table.append(rows_table(group(), [row(1, 2, user="v")]))
    plan = planned(table, group())
    assert not plan.same_columns_by_name
    assert joined([label(5), label(5, user="v")], plan) == [{"orders_value": None}, {"orders_value": 2}]


def test_a_column_of_another_type_is_refused(catalog: SqlCatalog) -> None:
    table = written(catalog, group(), [row(0, 1)])
    with pytest.raises(ConflictError, match=r"'orders_value'.*STRING"):
        planned(table, group(features=(Column("orders_value", STRING),)))


def test_a_table_without_the_key_is_refused(catalog: SqlCatalog) -> None:
    table = written(catalog, group(), [row(0, 1)])
    with pytest.raises(ConflictError, match="no column 'item_id'"):
        planned(table, group(keys=(ITEM,)))


@pytest.mark.parametrize("content", [DataFileContent.POSITION_DELETES, DataFileContent.EQUALITY_DELETES])
def test_delete_files_of_the_days_read_are_refused(catalog: SqlCatalog, content: DataFileContent) -> None:
    schema = group(buckets=1, ttl=DAY)
    table = written(catalog, schema, [row(0, 1)])
    add_delete_file(table, content)
    with pytest.raises(ConflictError, match=r"delete files.*copy-on-write"):
        planned(table, schema)
    later = planned(table, schema, (NOON_MICROS + 5 * DAY, NOON_MICROS + 5 * DAY))
    assert later.files == ()


def add_delete_file(table: Table, content: DataFileContent) -> None:
    """Commits a delete file in the partition of the table's only data file, as merge-on-read writers do."""
    data = next(iter(table.scan().plan_files())).file
    deletes = DataFile.from_args(
        content=content,
        file_path=data.file_path.replace(".parquet", "-deletes.parquet"),
        file_format=FileFormat.PARQUET,
        partition=data.partition,
        record_count=1,
        file_size_in_bytes=1,
        equality_ids=[1] if content == DataFileContent.EQUALITY_DELETES else None,
    )
    deletes.spec_id = data.spec_id
    with table.transaction() as transaction, transaction.update_snapshot().fast_append() as append:
        append.append_data_file(deletes)


@pytest.mark.parametrize(
    ("written_as", "path"),
    [
        ("file:/a/b.parquet", "/a/b.parquet"),
        ("file:///a/b.parquet", "/a/b.parquet"),
        ("/a/b c.parquet", "/a/b c.parquet"),
    ],
)
def test_local_paths_are_written_in_several_ways(written_as: str, path: str) -> None:
    assert PlannedFile(DataFile.from_args(file_path=written_as), 0, 1).path == path
