"""Late rows of files and Postgres tables on the real Spark and Postgres: found, noted, computed again, nothing else."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
import sqlalchemy as sa
from pyiceberg.catalog import Catalog

from feature_store import FLOAT, INT, LIST, STRING, TIMESTAMP, BatchSource, Entity, Feature, FeatureGroup, agg
from feature_store.compile.reference import run_reference
from feature_store.compile.reference_events import Row
from feature_store.compile.span import Span
from feature_store.dtypes import to_micros
from feature_store.duration import DAY, HOUR
from feature_store.errors import InputError
from feature_store.offline import materialize
from feature_store.offline.arrivals.arrivals import Arrivals, Cursor
from feature_store.offline.arrivals.files import arrived_by_files
from feature_store.offline.arrivals.fingerprints import arrived_by_fingerprints
from feature_store.offline.arrivals.transactions import _ROWS, arrived_by_transactions, same_versions
from feature_store.offline.late import SOURCES, late_spans
from feature_store.offline.materialize import Materialization, materialize_span
from feature_store.offline.standing import standing_rows
from feature_store.plan.build import build_plan
from feature_store.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

DAY0 = datetime(2026, 3, 1, tzinfo=UTC)
START = to_micros(DAY0)
TYPES = {"user_id": pl.String, "amount": pl.Float64, "ts": pl.Datetime("us", "UTC")}
SCHEMA = {"user_id": STRING, "amount": FLOAT, "ts": TIMESTAMP}
COLUMNS = "user_id text, amount double precision, ts timestamptz"
INSERT = sa.text("INSERT INTO late_orders VALUES (:user_id, :amount, :ts)")


def event(user: str, hours: float, amount: float = 1.0) -> Row:
    return {"user_id": user, "amount": amount, "ts": DAY0 + timedelta(hours=hours)}


class Shop:
    """A group over events that come into files ("parquet", "csv") or "postgres"; if "compared", by fingerprints."""

    def __init__(self, kind: str, spark: SparkSession, settings: Settings, catalog: Catalog, folder: Path) -> None:
        self.spark, self.settings, self.catalog, self.folder = spark, settings, catalog, folder
        self.place, self.rows, self.writes = kind.split()[0], list[Row](), 0
        source: dict[str, Any] = {"look_back": "30d"} if "compared" in kind else {}
        if self.place == "postgres":
            source["jdbc"] = "shop.public.late_orders"
            self.engine = sa.create_engine(settings.database_url("shop"))
            make_table(self.engine)
        else:
            source["path"] = str(folder / f"*.{self.place}")
        self.plan = build_plan(
            FeatureGroup(
                f"late_{kind.replace(' ', '_')}",
                entity=Entity("user", join_key="user_id"),
                source=BatchSource("orders", event_timestamp="ts", schema=SCHEMA, **source),
                owner="team:test",
                buckets=2,
                features=[Feature("user_sum_2d", agg.sum("amount"), window="2d", dtype=FLOAT)],
            )
        )

    def arrive(self, *rows: Row) -> None:
        self.rows += rows
        if self.place == "postgres":
            with self.engine.begin() as connection:
                connection.execute(INSERT, list(rows))
            return
        self.writes += 1
        write(self.folder / f"part {self.writes}%20ü+.{self.place}", list(rows))

    def replace(self, old: Row, *new: Row) -> None:
        """A row is changed, or goes."""
        self.rows = [row for row in self.rows if row != old]
        self.rows += new
        if self.place == "postgres":
            with self.engine.begin() as connection:
                gone = sa.text("DELETE FROM late_orders WHERE user_id = :user_id AND ts = :ts")
                assert connection.execute(gone, old).rowcount == 1
                if new:
                    connection.execute(INSERT, list(new))
            return
        for file in self.folder.glob(f"*.{self.place}"):
            file.unlink()
        write(self.folder / f"all.{self.place}", self.rows)

    def run(self, first: int, last: int) -> Materialization:
        start, end = (DAY0 + timedelta(days=n) for n in (first, last))
        return materialize_span(self.spark, self.settings, self.catalog, self.plan, start, end)

    @property
    def properties(self) -> dict[str, str]:
        return self.catalog.load_table(self.plan.schema.table).properties

    @property
    def late(self) -> list[tuple[int, int]]:
        return list(days(late_spans(self.properties)))

    def stored(self) -> list[Row]:
        table = standing_rows(self.catalog.load_table(self.plan.schema.table).scan().to_arrow())
        rows: list[Row] = table.drop_columns(["created_timestamp"]).to_pylist()
        return sorted(rows, key=lambda row: (row["feature_timestamp"], row["user_id"]))

    def expected(self, last: int) -> list[Row]:
        span = Span(START, to_micros(DAY0 + timedelta(days=last)), first=True)
        return run_reference(self.plan, {"orders": self.rows}, span)


def make_table(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE IF EXISTS late_orders CASCADE"))
        connection.execute(sa.text(f"CREATE TABLE late_orders ({COLUMNS})"))


def write(file: Path, rows: list[Row]) -> None:
    frame = pl.DataFrame(rows, schema=TYPES)
    if file.suffix == ".parquet":
        frame.write_parquet(file)
    else:
        frame.write_csv(file, datetime_format="%Y-%m-%dT%H:%M:%S%.6f%:z")


def days(spans: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    return (((after - START) // DAY, (until - START) // DAY) for after, until in spans)


def touched(arrivals: Arrivals) -> set[int]:
    """The days, from the first on, that have changed."""
    assert arrivals.complete
    found = [range((first - START) // DAY, (last - START) // DAY + 1) for first, last in arrivals.times.tolist()]
    return {day for each in found for day in each}


@pytest.fixture
def shop(
    request: pytest.FixtureRequest, spark: SparkSession, stack: Settings, catalog: Catalog, tmp_path: Path
) -> Shop:
    return Shop(request.param, spark, stack, catalog, tmp_path)


@pytest.mark.parametrize("shop", ["parquet", "csv", "postgres", "postgres compared"], indirect=True)
def test_late_rows_are_found_and_computed_again(shop: Shop) -> None:
    shop.arrive(event("a", 1), event("b", 30), event("b", 31))
    shop.run(0, 4)
    shop.arrive(event("a", 97))
    assert (done := shop.run(4, 5)).late == ()
    assert done.unknown == ()
    cursor = shop.properties[SOURCES]

    shop.arrive(event("a", 30), event("a", 125))
    assert shop.run(3, 4).late == ()
    assert shop.properties[SOURCES] == cursor
    assert list(days(shop.run(5, 6).late)) == [(1, 4)]
    assert shop.stored() != shop.expected(6)
    shop.run(1, 4)
    assert shop.late == []
    assert shop.stored() == shop.expected(6)

    shop.replace(event("b", 31), event("c", 50))
    assert shop.run(6, 7).unknown == ()
    for first, last in shop.late:
        shop.run(first, last)
    assert shop.late == []
    assert shop.stored() == shop.expected(7)


@pytest.mark.parametrize("shop", ["postgres"], indirect=True)
def test_of_a_view_nobody_can_tell_and_columns_are_checked(shop: Shop) -> None:
    with shop.engine.begin() as connection:
        connection.execute(sa.text("CREATE VIEW late_view AS SELECT * FROM late_orders"))
    source = replace(shop.plan.sources[0], jdbc="shop.public.late_view")
    shop.plan = build_plan(replace(shop.plan.group, name="late_view", source=source))
    shop.arrive(event("a", 1))
    assert shop.run(0, 1).unknown == ()
    assert shop.run(1, 2).unknown == ("orders",)

    with shop.engine.begin() as connection:
        connection.execute(sa.text("DROP VIEW late_view; ALTER TABLE late_orders ALTER ts TYPE timestamp"))
    source = replace(shop.plan.sources[0], jdbc="shop.public.late_orders")
    shop.plan = build_plan(replace(shop.plan.group, source=source))
    with pytest.raises(InputError, match="column 'ts': the timestamps have no time zone"):
        shop.run(2, 3)


class Table:
    """A Postgres table that is looked at again and again."""

    def __init__(self, settings: Settings) -> None:
        self.engine = sa.create_engine(settings.database_url("shop"))
        self.settings, self.cursor = settings, dict[str, int | str]()
        make_table(self.engine)
        self.source = BatchSource("orders", jdbc="shop.public.late_orders", event_timestamp="ts", schema=SCHEMA)

    def execute(self, statement: str, **values: object) -> None:
        with self.engine.begin() as connection:
            connection.execute(sa.text(statement), values)

    def insert(self, *rows: Row) -> None:
        with self.engine.begin() as connection:
            connection.execute(INSERT, list(rows))

    def look(self) -> Arrivals:
        arrivals = arrived_by_transactions(self.settings, DAY, self.source, self.cursor)
        assert isinstance(arrivals.cursor, dict)
        self.cursor = json.loads(json.dumps(arrivals.cursor))
        return arrivals

    def versions(self) -> set[tuple[int, str, str]]:
        """The versions that there are, by day and place, as Postgres itself tells them apart."""
        day = f"floor((extract(epoch FROM ts) * 1000000 - {START}) / {DAY})::int"
        with self.engine.connect() as connection:
            rows = connection.execute(sa.text(f"SELECT {day}, xmin::text, ctid::text FROM late_orders"))
            return {(number, xmin, place) for number, xmin, place in rows}


@pytest.fixture
def table(stack: Settings) -> Table:
    table = Table(stack)
    table.insert(event("a", 1), event("b", 30), event("b", 31), event("c", 80))
    assert not table.look().complete
    return table


@pytest.mark.parametrize("by_part", [False, True])
def test_a_transaction_that_commits_days_later_is_found_once(table: Table, by_part: bool) -> None:
    with table.engine.connect() as slow, slow.begin() as transaction:
        with slow.begin_nested() if by_part else nullcontext():
            slow.execute(INSERT, [event("a", 30)])
        assert touched(table.look()) == set()
        for day in (4, 5):
            table.insert(event("a", 24 * day))
            assert touched(table.look()) == {day}
        transaction.commit()
    assert touched(table.look()) == {1}
    before = table.cursor
    table.execute("CREATE TABLE another_late_table AS SELECT 1; DROP TABLE another_late_table")
    assert touched(table.look()) == set()
    assert table.cursor != before
    assert same_versions(table.cursor) == same_versions(before)


@pytest.mark.parametrize("shop", ["postgres between"], indirect=True)
def test_what_commits_between_the_cursor_and_the_reading_is_found(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.arrive(event("a", 1))
    shop.run(0, 4)
    compute = materialize.compute_rows
    with shop.engine.connect() as slow:
        slow.execute(INSERT, late := [event("c", 30), event("c", 100)])

        def commit_and_compute(*args: Any) -> AbstractContextManager[materialize.Computed]:
            slow.commit()
            return compute(*args)

        with monkeypatch.context() as patch:
            patch.setattr(materialize, "compute_rows", commit_and_compute)
            assert shop.run(4, 5).late == ()
    shop.rows += late
    assert list(days(shop.run(5, 6).late)) == [(1, 5)]
    shop.run(1, 5)
    assert shop.stored() == shop.expected(6)


def test_the_partitions_of_versions_that_came_or_went_are_told_exactly(table: Table) -> None:
    pick, before = Random(7), table.versions()
    connections = [table.engine.connect() for _ in range(3)]
    for connection in connections:
        connection.execute(sa.text("SET lock_timeout = '1ms'"))
        connection.commit()
    some = "ctid = (SELECT ctid FROM late_orders ORDER BY md5(ctid::text || :seed) LIMIT 1)"
    for step in range(80):
        connection = pick.choice(connections)
        what, values = pick.choice(["insert", "update", "move", "delete", "end", "end", "look"]), {"seed": str(step)}
        if what == "look":
            found, now = touched(table.look()), table.versions()
            assert found == {day for day, _, _ in before ^ now}
            before = now
        elif what == "end":
            pick.choice([connection.commit, connection.commit, connection.rollback])()
        else:
            statement = {
                "insert": INSERT,
                "update": sa.text(f"UPDATE late_orders SET amount = amount + 1 WHERE {some}"),
                "move": sa.text(f"UPDATE late_orders SET ts = ts + interval '1 day' WHERE {some}"),
                "delete": sa.text(f"DELETE FROM late_orders WHERE {some}"),
            }[what]
            row = event("a", pick.randrange(-48, 96))
            try:
                with connection.begin_nested() if pick.random() < 0.5 else nullcontext():
                    connection.execute(statement, row if what == "insert" else values)
            except sa.exc.OperationalError:  # another one has changed the row, and has not ended
                connection.rollback()
    for connection in connections:
        connection.close()


def test_what_postgres_keeps_in_other_ways(table: Table) -> None:
    table.execute("TRUNCATE late_orders")
    assert touched(table.look()) == {0, 1, 3}
    table.execute(
        """CREATE TABLE "Late $ parts" (n int, "the ""time%s" timestamptz) PARTITION BY LIST (n);
        CREATE TABLE late_part PARTITION OF "Late $ parts" FOR VALUES IN (1, 2);
        DROP MATERIALIZED VIEW IF EXISTS late_copy;
        CREATE MATERIALIZED VIEW late_copy AS SELECT * FROM late_orders"""
    )
    column = 'the "time%s'
    parts = replace(table.source, jdbc="shop.public.Late $ parts", event_timestamp=column)
    copy = replace(table.source, jdbc="shop.public.late_copy")
    try:
        table.cursor, table.source = {}, parts
        assert not table.look().complete
        at = f"timestamptz '{DAY0.isoformat()}'"
        table.execute(f"""INSERT INTO "Late $ parts" VALUES (1, {at}), (2, NULL), (1, 'infinity'), (2, '-infinity')""")
        table.execute(f"""INSERT INTO "Late $ parts" VALUES (1, {at} - interval '1 microsecond')""")
        assert touched(table.look()) == {-1, 0}
        table.cursor, table.source = {}, copy
        assert not table.look().complete
        table.insert(event("a", 30))
        assert touched(table.look()) == set()
        table.execute("REFRESH MATERIALIZED VIEW late_copy")
        assert touched(table.look()) == {1}
        table.cursor |= {"server": "another"}
        assert not table.look().complete
        table.cursor |= {"oldest": 2**40}
        assert not table.look().complete
    finally:
        table.execute('DROP TABLE "Late $ parts"')


def test_numbers_of_transactions_are_the_newest_they_can_be(table: Table) -> None:
    epoch = 5 * 2**32
    values = "(VALUES ('999', now()), ('1000', now()), ('4294967295', now()), ('2', now())) AS versions(xmin, ts)"
    names = {"at": "ts", "table": values, "size": DAY, "seen_recent": "", "seen_oldest": 1}
    with table.engine.connect() as connection:
        connection.execution_options(no_parameters=True)
        found = list(connection.exec_driver_sql(_ROWS.format(following=epoch + 1000, oldest=1, **names)))
    assert {(number, known) for _, number, _, known, _, _ in found} == {
        (None, 1),
        (epoch - 2**32 + 1000, 0),
        (epoch - 1, 0),
        (epoch + 999, 0),
    }


def test_of_files_only_unknown_ones_are_opened(spark: SparkSession, stack: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "a b%41+[ü]"
    folder.mkdir()
    source = BatchSource("orders", path=f"{tmp_path}/a b*/*.csv", event_timestamp="ts", schema=SCHEMA)
    cursor: Cursor | None = None

    def look() -> set[int]:
        nonlocal cursor
        arrivals = arrived_by_files(spark, stack, HOUR, source, cursor)
        first, cursor = cursor is None, arrivals.cursor
        assert arrivals.complete != first
        hours = ((arrivals.times - START) // HOUR).tolist()
        return {hour for first, last in hours for hour in range(first, last + 1)}

    def touch(name: str, modified: float) -> None:
        os.utime(folder / name, (modified, modified))

    write(folder / "x.csv", [event("a", 1), event("a", 4)])
    write(folder / "y%20 ü+.csv", [event("a", 20)])
    touch("x.csv", 1e9)
    look()
    assert look() == set()
    text, time = (folder / "x.csv").read_text(), (folder / "x.csv").stat().st_mtime
    (folder / "x.csv").write_text(text.replace("2026", "none"))  # it cannot be read now
    touch("x.csv", time)
    write(folder / "to come.csv", [event("a", 7), event("a", 7.5), event("a", -1)])
    touch("to come.csv", 4e9)
    assert look() == {7, -1}
    write(tmp_path / "moved.csv", [event("a", 9)])
    os.utime(tmp_path / "moved.csv", (1e9, 1e9))
    (tmp_path / "moved.csv").rename(folder / "moved.csv")
    (folder / "y%20 ü+.csv").unlink()
    assert look() == {9, 20}
    (folder / "x.csv").write_text(text.replace("T04", "T05"))
    assert look() == {1, 2, 3, 4, 5}
    (folder / "x.csv").unlink()
    assert look() == {1, 2, 3, 4, 5}
    (folder / "to come.csv").write_text("user_id,amount,ts\n")
    assert look() == {-1, 0, 1, 2, 3, 4, 5, 6, 7}


def test_a_fingerprint_is_of_values_and_not_of_their_order(
    spark: SparkSession, stack: Settings, tmp_path: Path
) -> None:
    schema = {"a": STRING, "b": STRING, "c": LIST(INT), "d": LIST(TIMESTAMP), "ts": TIMESTAMP}
    source = BatchSource("orders", path=str(tmp_path), event_timestamp="ts", schema=schema, look_back="1d")
    types = {"a": pl.String, "b": pl.String, "c": pl.List(pl.Int64), "d": pl.List(TYPES["ts"]), "ts": TYPES["ts"]}
    at = DAY0 + timedelta(microseconds=1)
    row = {"a": None, "b": "x", "c": [1, None], "d": [at], "ts": DAY0}
    other = {"a": "y", "b": None, "c": None, "d": None, "ts": DAY0}
    early = row | {"ts": DAY0 - timedelta(microseconds=1)}
    old, none = row | {"ts": DAY0 - timedelta(days=3)}, row | {"ts": None}

    def look(rows: list[Row], cursor: Cursor | None) -> Arrivals:
        pl.DataFrame(rows, schema=types).write_parquet(tmp_path / "all.parquet")
        return arrived_by_fingerprints(spark, stack, START + DAY, source, cursor)

    cursor = look([row, other, early, old], None).cursor
    assert touched(look([none, old, early, other, row], cursor)) == set()
    for changed in (
        [row, other, other],
        [other],
        [row | {"a": "x", "b": None}, other],
        [row | {"b": None}, other | {"b": "x"}],
        [row | {"c": [None, 1]}, other],
        [row | {"c": [1]}, other],
        [row | {"c": []}, other],
        [row | {"d": [DAY0]}, other],
        [row | {"ts": at}, other],
    ):
        assert touched(look([*changed, early, old], cursor)) == {0}
    assert touched(look([row, other, old], cursor)) == {-1}
    assert not look([row, other, early], cursor).complete
