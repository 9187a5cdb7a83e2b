"""Groups materialized by Spark into real Iceberg tables: the rows, and what running again leaves behind."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from pyiceberg.catalog import Catalog

from feature_store import FLOAT, INT, LIST, STRING, Feature, agg
from feature_store.compile.reference import run_reference
from feature_store.compile.span import Span
from feature_store.compile.spark_direct import DIRECT_INSTANTS
from feature_store.dtypes import to_micros
from feature_store.errors import ConflictError, QualityError
from feature_store.offline import materialize, staging
from feature_store.offline.audit import Audit, Evidence
from feature_store.offline.tables import ensure_table
from feature_store.plan.build import build_plan
from feature_store.quality.expectations import judge, refuse_failures
from feature_store.settings import Settings
from tests.integration.offline_setting import SCHEMA, SOME_EVENTS, Shop, day, event

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.fixture
def shop(spark: SparkSession, stack: Settings, catalog: Catalog, tmp_path: Path) -> Shop:
    shop = Shop(spark, stack, catalog, tmp_path)
    shop.write(SOME_EVENTS)
    return shop


def test_a_backfill_writes_the_rows_of_the_reference(shop: Shop) -> None:
    group = shop.group("user_backfill")
    done = shop.run(group, day(0), day(7))
    assert shop.stored(group) == shop.expected(group, day(0), day(7))
    assert done.profile.rows == len(shop.stored(group))
    assert done.profile.duplicates == 0
    assert done.inputs[0].rows == 5


def test_a_backfill_of_much_is_slid_by_the_kernel(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(materialize, "SLID_FROM", len(shop.rows))
    group, days = shop.group("user_slid"), DIRECT_INSTANTS + 1
    done = shop.run(group, day(0), day(days))
    assert shop.stored(group) == shop.expected(group, day(0), day(days))
    assert "OVER" not in done.sql


def test_day_by_day_is_all_at_once(shop: Shop) -> None:
    once, daily = shop.group("user_once"), shop.group("user_daily")
    shop.run(once, day(0), day(7))
    for n in range(7):
        shop.run(daily, day(n), day(n + 1))
    assert shop.stored(daily) == shop.stored(once)


def test_a_partition_run_again_neither_doubles_nor_loses(shop: Shop) -> None:
    group = shop.group("user_again")
    shop.run(group, day(0), day(5))
    before = shop.stored(group)
    for n in (0, 2):
        shop.run(group, day(n), day(n + 1))
        assert shop.stored(group) == before


def test_a_partition_whose_events_went_away_is_emptied(shop: Shop) -> None:
    group = shop.group("user_emptied")
    shop.run(group, day(0), day(5))
    shop.write([row for row in shop.rows if row["user_id"] != "b"])
    shop.run(group, day(0), day(5))
    assert shop.stored(group) == shop.expected(group, day(0), day(5))
    assert "b" not in {row["user_id"] for row in shop.stored(group)}


def test_what_does_not_fit_is_lost_alone_counted_and_judged(shop: Shop) -> None:
    """A sum and a derived feature are NULL in their rows, and an event whose own expression overflows is left out."""
    given = [("a", 2**62), ("a", 2**62), ("b", 7), ("b", 2**62)]
    shop.rows = [event(user, hour, 1.0) | {"n": n} for hour, (user, n) in enumerate(given)]
    pl.DataFrame(shop.rows, schema_overrides={"ts": pl.Datetime("us", "UTC")}).write_parquet(
        shop.folder / "events.parquet"
    )
    total = Feature("user_n_sum_all_time", agg.sum("n"), window="all_time", dtype=INT)
    most = Feature("user_n_max_all_time", agg.max("of_b"), window="all_time", dtype=INT)
    group = shop.group(
        "user_overflowing",
        source=shop.source(schema=SCHEMA | {"n": INT}),
        columns={"of_b": "CASE WHEN user_id = 'b' THEN n * 4 ELSE n END"},
        features=[total, most],
        derived={"user_n_sum_next": "user_n_sum_all_time + 9223372036854775801"},
    )
    plan = build_plan(group)

    def audit(evidence: Evidence) -> None:
        refuse_failures(plan, judge(plan, evidence))

    with pytest.raises(QualityError) as refused:
        shop.run(group, day(0), day(1), audit=audit)
    for name, share in (("user_n_sum_all_time", 0.5), ("user_n_sum_next", 0.5), ("purchases", 0.25)):
        assert f"{name} overflow_rate: expected x <= 0, found {share}" in str(refused.value)
    done = shop.run(group, day(0), day(1))
    assert {feature.name: feature.overflows for feature in done.profile.features} == {
        "user_n_sum_all_time": 1,
        "user_n_max_all_time": None,
        "user_n_sum_next": 1,
    }
    assert done.inputs[0].overflowed == 1
    assert shop.stored(group) == shop.expected(group, day(0), day(1))
    assert [row["user_n_sum_all_time"] for row in shop.stored(group)] == [None, 7]
    evidence = Evidence(done.profile, done.inputs, partitions=1.0)
    assert all(verdict.passed for verdict in judge(build_plan(replace(group, max_overflow=0.5)), evidence))


def test_hours_of_one_day_are_rewritten_one_by_one(shop: Shop) -> None:
    hourly = [Feature("user_count_2h", agg.count(), window="2h", dtype=INT)]
    group = shop.group("user_hourly", refresh="hourly", features=hourly)
    shop.run(group, day(0), day(2))
    assert shop.stored(group) == shop.expected(group, day(0), day(2))
    shop.write([*shop.rows, event("d", 5.5, 1)])
    shop.run(group, day(0) + timedelta(hours=5), day(0) + timedelta(hours=6))
    got = {(row["user_id"], row["feature_timestamp"]) for row in shop.stored(group)}
    wanted = {(row["user_id"], row["feature_timestamp"]) for row in shop.expected(group, day(0), day(2))}
    assert wanted - got == {("d", day(0) + timedelta(hours=8))}  # its leaving belongs to an hour not run again
    assert got <= wanted
    midnight = [row for row in shop.stored(group) if row["feature_timestamp"] == day(1)]
    shop.run(group, day(1) - timedelta(hours=1), day(1))
    assert [row for row in shop.stored(group) if row["feature_timestamp"] == day(1)] == midnight


def void(_: object) -> None:
    """Makes a callback of a call whose result nobody wants."""


def test_two_runs_at_once_never_lose_each_others_rows(shop: Shop) -> None:
    hourly = [Feature("user_count_2h", agg.count(), window="2h", dtype=INT)]
    group = shop.group("user_raced", refresh="hourly", features=hourly)
    shop.run(group, day(0), day(1))
    hour = timedelta(hours=1)

    def meanwhile(start: datetime) -> Audit:
        return lambda evidence: void(shop.run(group, start, start + hour))

    shop.write([*shop.rows, event("e", 3.5, 1), event("g", 5.5, 1), event("f", 30.2, 1)])
    done = shop.run(group, day(0) + 3 * hour, day(0) + 4 * hour, audit=meanwhile(day(0) + 5 * hour))
    shop.run(group, day(0) + 4 * hour, day(0) + 5 * hour, audit=meanwhile(day(1) + 6 * hour))
    rows = shop.stored(group)
    assert {"a", "e", "f", "g"} <= {row["user_id"] for row in rows}
    assert len(rows) == len({(row["user_id"], row["feature_timestamp"]) for row in rows})
    table = shop.catalog.load_table(build_plan(group).schema.table)
    assert set(table.metadata.refs) == {"main"}
    assert done.snapshot_id in {snapshot.snapshot_id for snapshot in table.snapshots()}


def test_many_runs_at_once_all_publish(shop: Shop) -> None:
    """Two threads, as two processes would have a session each; eight days, one table."""
    raced, alone = shop.group("user_crowd"), shop.group("user_calm")
    for group in (raced, alone):
        shop.run(group, day(0), day(1))
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda n: shop.run_beside(raced, day(n), day(n + 1)), range(1, 9)))
    for n in range(1, 9):
        shop.run(alone, day(n), day(n + 1))
    assert shop.stored(raced) == shop.stored(alone)


def test_a_run_that_publishes_while_rows_are_compared_again_is_not_lost(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = shop.group("user_overtaken")
    shop.run(group, day(0), day(1))
    others, events = iter([3, 4]), shop.rows
    write = staging._stage

    def overtaken(*arguments: Any) -> staging.Staged:
        """Before the main run's rows are published, other ones of its days always are, the second time, too."""
        written = write(*arguments)
        end = next(others, None) if arguments[2].after == to_micros(day(1)) else None
        if end is not None:
            shop.write([*events, event("d", 30 + end, end), event("e", 80, 1)])
            shop.run(group, day(0), day(end))
            arguments[0].refresh()
        return written

    monkeypatch.setattr(staging, "_stage", overtaken)
    shop.run(group, day(1), day(2))
    assert next(others, None) is None
    got = {(row["user_id"], row["feature_timestamp"]) for row in shop.stored(group)}
    assert ("d", day(2)) not in got
    assert ("e", day(4)) in got
    shop.write(events)
    shop.run(group, day(0), day(4))
    assert shop.stored(group) == shop.expected(group, day(0), day(4))


def test_an_earlier_partition_moves_the_beginning_of_history(shop: Shop) -> None:
    group = shop.group("user_earlier")
    shop.run(group, day(2), day(5))
    assert {(row["user_id"], row["feature_timestamp"]) for row in shop.stored(group)} >= {("a", day(3)), ("b", day(3))}
    shop.run(group, day(0), day(5))
    assert shop.stored(group) == shop.expected(group, day(0), day(5))


def test_a_failed_audit_writes_nothing(shop: Shop) -> None:
    group = shop.group("user_audited")
    shop.run(group, day(0), day(2))
    before = shop.stored(group)
    plan = build_plan(group)
    shop.write([*shop.rows, event("a", 40, 1e6)])

    def audit(evidence: Evidence) -> None:
        refuse_failures(plan, judge(plan, evidence))

    with pytest.raises(QualityError, match=r"user_mean_all_time maximum: expected x <= 100, found 2500"):
        shop.run(group, day(0), day(4), audit=audit)
    assert shop.stored(group) == before
    table = shop.catalog.load_table(plan.schema.table)
    (branch,) = set(table.metadata.refs) - {"main"}
    rejected = table.scan(snapshot_id=table.metadata.refs[branch].snapshot_id).to_arrow().to_pylist()
    assert max(row["user_mean_all_time"] for row in rejected) > 100
    shop.write(shop.rows[:-1])
    shop.run(group, day(0), day(4), audit=audit)
    assert shop.stored(group) == shop.expected(group, day(0), day(4))


def test_a_failed_audit_of_the_first_run_leaves_the_table_empty(shop: Shop) -> None:
    group = shop.group("user_first_audited")

    def refuse(evidence: Evidence) -> None:
        raise QualityError("no", code="expectation")

    with pytest.raises(QualityError):
        shop.run(group, day(0), day(2), audit=refuse)
    assert shop.stored(group) == []
    shop.run(group, day(0), day(2))
    assert shop.stored(group) == shop.expected(group, day(0), day(2))


def test_a_run_that_fails_while_it_writes_leaves_no_branch(shop: Shop) -> None:
    csv = shop.folder / "naive.csv"
    csv.write_text("user_id,amount,ts\na,1,2026-03-01T01:00:00+00:00\nb,much,2026-03-01T02:00:00+00:00\n")
    group = shop.group("user_failing", source=shop.source(path=str(csv)))
    with pytest.raises(Exception, match="CAST_INVALID_INPUT"):
        shop.run(group, day(0), day(1))
    assert not set(shop.catalog.load_table(build_plan(group).schema.table).metadata.refs) - {"main"}


def test_values_outside_an_expected_set_are_counted(shop: Shop) -> None:
    spelt = ["a", "it's", "back\\slash", "größe"]
    features = [
        Feature("user_last_all_time", agg.last("user_id"), window="all_time", dtype=STRING,
                expect=[{"values": spelt}, {"values": ["a"], "blocking": False}]),
        Feature("user_users_all_time", agg.collect_set("user_id"), window="all_time", dtype=LIST(STRING),
                expect={"values": ["a"]}),
        Feature("user_n_all_time", agg.count(), window="all_time", dtype=INT, expect={"values": [1, 2]}),
    ]  # fmt: skip
    group = shop.group("user_sets", features=features)
    shop.write(
        [event(user, hours, 1) for hours, user in enumerate(["a", "a", "a", "it's", "back\\slash", "größe", "z"])]
    )
    profile = shop.run(group, day(0), day(1)).profile
    assert [feature.strays for feature in profile.features] == [(1, 4), (4,), (1,)]


def test_recent_partitions_are_counted(shop: Shop) -> None:
    """Those before the run, as far as they have rows and history's beginning is not among them."""
    seen: list[Evidence] = []
    group = shop.group("user_recent", expect_rows={"recent": 3})
    shop.write([event(user, 24 * n + 1, 1) for n, users in enumerate(["ab", "a", "abc", "", "ab"]) for user in users])
    shop.run(group, day(0), day(5))
    for n in (0, 1, 4, 5):
        shop.run(group, day(n), day(n + 1), audit=seen.append)
    counts = {day(n): len([r for r in shop.stored(group) if r["feature_timestamp"] == day(n + 1)]) for n in range(6)}
    of = [counts[day(n)] for n in range(6)]
    assert [evidence.recent_rows for evidence in seen] == [(), (), (of[3], of[2], of[1]), (of[4], of[3], of[2])]
    assert all(of[1:5])
    shop.run(group, day(5), day(8), audit=seen.append)
    assert seen[-1].partitions == 3
    assert seen[-1].recent_rows == (of[4], of[3], of[2])
    corrected = [{**row, "amount": 2.0} for row in shop.rows if row["user_id"] != "c"]
    shop.write(corrected)
    shop.run(group, day(0), day(5))
    shop.run(group, day(5), day(6), audit=seen.append)
    fewer = {n: len([r for r in shop.stored(group) if r["feature_timestamp"] == day(n + 1)]) for n in (2, 3, 4)}
    assert seen[-1].recent_rows == (fewer[4], fewer[3], fewer[2])
    assert fewer[2] < of[2]


def test_partitions_of_hours_are_counted_too(shop: Shop) -> None:
    seen: list[Evidence] = []
    hourly = [Feature("user_count_2h", agg.count(), window="2h", dtype=INT)]
    group = shop.group("user_recent_hours", refresh="hourly", features=hourly, expect_rows={"recent": 4})
    shop.write([event(user, n + 0.5, 1) for n, users in enumerate(["ab", "a", "abc", "", "ab"]) for user in users])
    shop.run(group, day(0), day(1))
    shop.run(group, day(0) + timedelta(hours=6), day(0) + timedelta(hours=7), audit=seen.append)
    hours = [row["feature_timestamp"].hour for row in shop.stored(group)]
    counts = [hours.count(n) for n in (6, 5, 4, 3)]
    assert seen[0].recent_rows == tuple(count for count in counts if count)
    assert 0 in counts


def test_a_new_feature_is_a_new_column(shop: Shop) -> None:
    group = shop.group("user_grows")
    shop.run(group, day(0), day(1))
    more = shop.group(
        "user_grows", features=[*group.features, Feature("user_sum_3d", agg.sum("amount"), window="3d", dtype=FLOAT)]
    )
    shop.run(more, day(1), day(3))
    rows = shop.stored(more)
    assert rows[0]["user_sum_3d"] is None
    assert rows[-1]["user_sum_3d"] is not None
    changed = shop.group("user_grows", features=[Feature("user_count_3d", agg.sum("amount"), window="3d", dtype=FLOAT)])
    with pytest.raises(
        ConflictError, match=r"column 'user_count_3d' of features\.user_grows_v1 is .* -> give the group version 2"
    ):
        ensure_table(shop.catalog, build_plan(changed).schema)


def test_a_chained_group_computes_over_the_rows_of_another(shop: Shop) -> None:
    """Day by day, each after the other's day, is the reference over the reference's rows."""
    first = shop.group("user_links")
    habits = shop.group(
        "user_habits",
        source=first.as_source(),
        columns={"busy": "user_count_3d * 2"},
        features=[
            Feature("user_count_3d_max_5d", agg.max("busy"), window="5d", dtype=INT),
            Feature("user_change_count_all_time", agg.count(), window="all_time", dtype=INT),
        ],
    )
    for n in range(7):
        shop.run(first, day(n), day(n + 1))
        shop.run(habits, day(n), day(n + 1))
    rows = shop.expected(first, day(0), day(7))
    span = Span(to_micros(day(0)), to_micros(day(7)), first=True)
    wanted = run_reference(build_plan(habits), {"user_links_v1": rows}, span)
    assert shop.stored(habits) == sorted(wanted, key=lambda row: (row["feature_timestamp"], row["user_id"]))
    assert len(wanted) > 5

    shop.write([event("a", 30.5, 7), *(row for row in shop.rows if row["user_id"] != "b")])
    shop.run(first, day(0), day(8))
    late = shop.run(habits, day(7), day(8)).late
    before, after = ({(row["user_id"], row["feature_timestamp"]): row for row in each}
                     for each in (rows, shop.expected(first, day(0), day(7))))  # fmt: skip
    corrected = [place[1] for place in before.keys() | after.keys() if before.get(place) != after.get(place)]
    assert late[0][0] == to_micros(min(corrected))
    shop.run(habits, day(0), day(8))
    span = Span(to_micros(day(0)), to_micros(day(8)), first=True)
    wanted = run_reference(build_plan(habits), {"user_links_v1": shop.expected(first, day(0), day(8))}, span)
    assert shop.stored(habits) == sorted(wanted, key=lambda row: (row["feature_timestamp"], row["user_id"]))
