"""Batch over a streaming group: every way in which stored rows can differ, on real Spark and Iceberg; the stream's rows
are written by hand. The right rows come from the reference, the figures from a plain comparison in Python."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any

import dagster as dg
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_assets.keys import reconcile_key
from feature_store import (
    FLOAT,
    INT,
    LIST,
    STRING,
    TIMESTAMP,
    Entity,
    Feature,
    FeatureGroup,
    FeatureView,
    StreamSource,
    agg,
)
from feature_store.client import FeatureStore
from feature_store.compile.reference import run_reference
from feature_store.compile.span import Span
from feature_store.dsl.collect import Project
from feature_store.dtypes import to_micros
from feature_store.duration import DAY
from feature_store.errors import ConflictError, QualityError
from feature_store.offline.audit import Evidence
from feature_store.offline.history import Consistency
from feature_store.offline.late import LAST_TIMESTAMP, unreconciled_spans
from feature_store.offline.reconcile import reconcile_span, settled_at
from feature_store.offline.snapshots import FLINK_JOB
from feature_store.offline.tables import FIRST_TIMESTAMP, arrow_schema, ensure_table
from feature_store.plan.build import build_plan
from feature_store.streaming.tables import ensure_log
from resources.store import FeatureStoreResource
from sensors.late_events import wanted_reconciles

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from feature_store.settings import Settings

Row = dict[str, Any]
DAY0 = datetime(2026, 3, 1, tzinfo=UTC)
WRITTEN = datetime(2026, 3, 10, tzinfo=UTC)
USER = Entity("user", join_key="user_id")
FEATURES = [
    Feature("user_count_6h", agg.count(), window="6h", dtype=INT, default=0),
    Feature("user_amount_sum_6h", agg.sum("amount"), window="6h", dtype=FLOAT),
    Feature("user_amount_mean_6h", agg.mean("amount"), window="6h", dtype=FLOAT, default=0.0, expect={"max": 1e6}),
    Feature("user_kind_last_all_time", agg.last("kind"), window="all_time", dtype=STRING),
    Feature("user_kind_top_6h", agg.top_k("kind", 2), window="6h", dtype=LIST(STRING)),
    Feature("user_amount_last_6h", agg.last_n("amount", 3), window="6h", dtype=LIST(FLOAT)),
]
NAMES = [feature.name for feature in FEATURES]
_numbers = count(1)


class Clicks:
    """A streaming group of its own name, its event log, and its rows as a stream might have written them."""

    def __init__(self, spark: SparkSession, settings: Settings) -> None:
        number = next(_numbers)
        self.spark, self.settings = spark, settings
        self.store = FeatureStore(settings)
        self.stream = StreamSource(
            f"reconciled_{number}",
            topic=f"test.reconciled_{number}",
            schema={"user_id": STRING, "kind": STRING, "amount": FLOAT, "ts": TIMESTAMP},
            event_timestamp="ts",
            allowed_lateness="1h",
        )
        self.group = FeatureGroup(
            f"reconciled_{number}",
            entity=USER,
            source=self.stream,
            owner="team:test",
            start="2026-03-01",
            slide="1h",
            availability_delay="0s",
            buckets=2,
            features=FEATURES,
        )
        self.plan = build_plan(self.group)
        self.events: list[Row] = []
        ensure_log(self.store.catalog, self.stream)

    def log(self, *events: Row) -> None:
        """Puts events into the log."""
        self.events += events
        table = ensure_log(self.store.catalog, self.stream)
        rows = [
            {**event, "kafka_partition": 0, "kafka_offset": offset, "recorded_at": WRITTEN}
            for offset, event in enumerate(events)
        ]
        table.append(pa.Table.from_pylist(rows, schema=table.schema().as_arrow()))

    def right(self, first: int, last: int) -> dict[tuple[str, datetime], Row]:
        """The reference's rows of the partitions `first` to `last` of a group whose history begins with `first`."""
        span = Span(to_micros(day(first)), to_micros(day(last + 1)), first=True)
        rows = run_reference(self.plan, {self.plan.sources[0].name: self.events}, span)
        return {(row["user_id"], row["feature_timestamp"]): row for row in rows}

    def write(self, rows: list[Row], created: datetime = WRITTEN) -> None:
        """Rows as the stream writes them."""
        if rows:
            given = [{**row, "created_timestamp": created} for row in rows]
            table = pa.Table.from_pylist(given, schema=arrow_schema(self.plan.schema))
            stored = ensure_table(self.store.catalog, self.plan.schema)
            stored.append(table, snapshot_properties={FLINK_JOB: "7bf0"})

    def reconcile(self, first: int, last: int | None = None, **more: Any) -> Consistency:
        spark = more.pop("spark", self.spark)
        end = day((first if last is None else last) + 1)
        return reconcile_span(
            spark, self.settings, self.store.catalog, self.plan, day(first), end, more.pop("audit", None), **more
        )[1]

    def rows(self) -> list[Row]:
        """All stored rows, the oldest first."""
        found: list[Row] = self.store.catalog.load_table(self.plan.schema.table).scan().to_arrow().to_pylist()
        return sorted(found, key=lambda row: row["created_timestamp"])

    def newest(self) -> dict[tuple[str, datetime], Row]:
        """The rows that stand."""
        newest = {(row["user_id"], row["feature_timestamp"]): row for row in self.rows()}
        return {place: row for place, row in newest.items() if not row["retracted"]}


def day(n: int) -> datetime:
    return DAY0 + timedelta(days=n)


def event(user: str, hours: float, amount: float | None = 1.0, kind: str | None = "a") -> Row:
    return {"user_id": user, "kind": kind, "amount": amount, "ts": DAY0 + timedelta(hours=hours)}


def same(one: Any, other: Any) -> bool:
    """Equal; floats to 1e-9 of the greater."""
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=0)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def assert_right(clicks: Clicks, wanted: dict[tuple[str, datetime], Row]) -> None:
    newest = clicks.newest()
    for place, row in wanted.items():
        assert all(same(row[name], newest[place][name]) for name in NAMES), (place, row, newest[place])


@pytest.fixture
def clicks(spark: SparkSession, stack: Settings) -> Clicks:
    """Three users on two days; u2's last event of the first day is still in its windows on the second."""
    found = Clicks(spark, stack)
    found.log(
        event("u1", 1.5, 2.0, "a"),
        event("u1", 2.5, None, "b"),
        event("u1", 20, 1e9, "a"),
        event("u2", 3.2, 0.1, "b"),
        event("u2", 22.5, -0.7, "c"),
        event("u3", 30, 5.0, None),
        event("u1", 31, 0.3, "c"),
        event("u1", 40, 0.6, "c"),
    )
    return found


def test_the_first_backfill_writes_every_row_and_the_second_none(clicks: Clicks) -> None:
    wanted = clicks.right(0, 1)
    found = clicks.reconcile(0, 1)
    assert (found.batch, found.stored, found.missing, found.corrected) == (len(wanted), 0, len(wanted), len(wanted))
    assert clicks.newest().keys() == wanted.keys()
    assert_right(clicks, wanted)
    table = clicks.store.catalog.load_table(clicks.plan.schema.table)
    assert table.properties[FIRST_TIMESTAMP] == str(to_micros(DAY0 + timedelta(hours=1)))
    before = clicks.rows()
    again = clicks.reconcile(0, 1)
    assert (again.missing, again.extra, again.mismatched, again.corrected, again.rate) == (0, 0, 0, 0, 1.0)
    assert again.rates == dict.fromkeys(NAMES, 1.0)
    assert clicks.rows() == before
    assert len(before) == len(wanted)


def test_a_day_without_events_adds_nothing(spark: SparkSession, stack: Settings) -> None:
    clicks = Clicks(spark, stack)
    clicks.log(event("u1", 30.0))
    found = clicks.reconcile(0)
    assert (found.batch, found.stored, found.corrected, found.rate) == (0, 0, 0, 1.0)
    assert clicks.rows() == []


def test_a_row_at_midnight_belongs_to_the_day_before_it(spark: SparkSession, stack: Settings) -> None:
    clicks = Clicks(spark, stack)
    clicks.log(event("u1", 23.5), event("u2", 24.0))
    assert clicks.reconcile(0).batch == 1
    assert [(row["user_id"], row["feature_timestamp"]) for row in clicks.rows()] == [("u1", day(1))]
    second = clicks.reconcile(1)
    assert (second.batch, second.missing, second.extra) == (3, 3, 0), "u1 leaves, u2 enters and leaves"
    assert clicks.newest().keys() == clicks.right(0, 1).keys()


def test_each_kind_of_difference_is_counted_by_its_feature_and_corrected(clicks: Clicks) -> None:
    wanted = clicks.right(0, 0)
    rows = {place: dict(row) for place, row in wanted.items()}
    hour = {n: DAY0 + timedelta(hours=n) for n in range(48)}
    rows["u1", hour[2]]["user_count_6h"] += 1
    rows["u1", hour[3]]["user_amount_sum_6h"] = None
    rows["u1", hour[8]]["user_kind_last_all_time"] = "B"
    rows["u1", hour[9]]["user_amount_mean_6h"] = 0.0  # the default, where NULL is right
    rows["u1", hour[21]]["user_amount_sum_6h"] *= 1 + 5e-10  # as another order of adding might give
    rows["u1", hour[21]]["user_amount_mean_6h"] *= 1 + 2e-9
    rows["u2", hour[4]]["user_kind_top_6h"] = []
    rows["u2", hour[4]]["user_amount_last_6h"] = [0.1 + 1e-12]
    rows["u2", hour[10]]["user_kind_top_6h"] = ["b"]
    rows["u2", hour[23]]["user_amount_last_6h"] = [-0.7, 0.1]
    clicks.write(list(rows.values()))

    found = clicks.reconcile(0)
    differences = {
        "user_count_6h": 1,
        "user_amount_sum_6h": 1,
        "user_amount_mean_6h": 2,
        "user_kind_last_all_time": 1,
        "user_kind_top_6h": 2,
        "user_amount_last_6h": 1,
    }
    assert found.by_feature == differences
    assert (found.missing, found.extra, found.mismatched, found.corrected) == (0, 0, 8, 8)
    assert found.rate == pytest.approx(1 - 8 / len(wanted))
    assert found.rates["user_kind_top_6h"] == pytest.approx(1 - 2 / len(wanted))
    assert_right(clicks, wanted)
    again = clicks.reconcile(0)
    assert (again.mismatched, again.corrected, again.rate) == (0, 0, 1.0)


def test_a_correction_is_newer_and_what_was_wrong_stays(clicks: Clicks) -> None:
    rows = [dict(row) for row in clicks.right(0, 0).values()]
    rows[0]["user_count_6h"] = 77
    ahead = datetime.now(UTC) + timedelta(hours=3)  # written by a machine whose clock is wrong
    clicks.write(rows, created=ahead)
    assert clicks.reconcile(0).corrected == 1
    place = rows[0]["user_id"], rows[0]["feature_timestamp"]
    old, new = (row for row in clicks.rows() if (row["user_id"], row["feature_timestamp"]) == place)
    assert (old["user_count_6h"], new["user_count_6h"]) == (77, 1)
    assert old["created_timestamp"] == ahead < new["created_timestamp"]


def test_missing_rows_are_added_and_extra_ones_taken_back(clicks: Clicks) -> None:
    wanted = clicks.right(0, 1)
    clicks.write([row for place, row in wanted.items() if place != ("u2", DAY0 + timedelta(hours=4))])
    standing = [
        (wanted["u1", DAY0 + timedelta(hours=3)], DAY0 + timedelta(hours=5)),
        (wanted["u2", DAY0 + timedelta(hours=23)], DAY0 + timedelta(hours=25)),
        (wanted["u3", DAY0 + timedelta(hours=31)], DAY0 + timedelta(hours=33)),
    ]
    extra = [{**row, "feature_timestamp": at} for row, at in standing]
    extra[0]["user_count_6h"], extra[1]["user_kind_last_all_time"] = 9, "wrong"  # that of u3 has the right values
    phantom = {**extra[2], "user_id": "nobody", "feature_timestamp": DAY0 + timedelta(hours=30)}
    clicks.write([*extra, phantom])

    first, second = clicks.reconcile(0), clicks.reconcile(1)
    assert (first.missing, first.extra, first.mismatched, first.corrected) == (1, 1, 0, 2)
    assert (second.missing, second.extra, second.mismatched, second.corrected) == (0, 3, 0, 3)
    assert clicks.newest().keys() == wanted.keys()
    assert_right(clicks, wanted)
    (written, taken_back) = (row for row in clicks.rows() if row["user_id"] == "nobody")
    assert (written["retracted"], taken_back["retracted"]) == (None, True)
    assert written["created_timestamp"] < taken_back["created_timestamp"]
    assert {taken_back[name] for name in NAMES} == {None}
    again = clicks.reconcile(0, 1)
    assert (again.missing, again.mismatched, again.corrected, again.extra) == (0, 0, 0, 0)
    clicks.log(event("nobody", 29.5, 5.0, None))
    assert clicks.reconcile(1).missing >= 1, "what was taken back can come again"
    assert_right(clicks, clicks.right(0, 1))


def test_training_and_redis_see_the_corrected_values(clicks: Clicks) -> None:
    store, group = clicks.store, clicks.group
    view = FeatureView(f"{group.name}_view", groups=[group], owner="team:test")
    store.apply(Project((group,), (view,), {group.id: "test"}))
    wanted = clicks.right(0, 1)
    clicks.write([{**row, "user_count_6h": 55, "user_kind_last_all_time": None} for row in wanted.values()])
    store.materialize_online(clicks.plan.schema)
    users = [{"user_id": user} for user in ("u1", "u2", "u3")]
    assert {row["user_count_6h"] for row in store.online(f"{view.name}@1", users).to_dicts()} == {55}

    assert clicks.reconcile(0, 1).corrected == len(wanted)
    store.materialize_online(clicks.plan.schema)
    last = {user: row for (user, _), row in sorted(wanted.items(), key=lambda item: item[0][1])}
    for row in store.online(f"{view.name}@1", users).to_dicts():
        assert row["user_count_6h"] == last[row["user_id"]]["user_count_6h"]
        assert row["user_kind_last_all_time"] == last[row["user_id"]]["user_kind_last_all_time"]
    labels = pl.DataFrame([{"user_id": user, "label_timestamp": at} for user, at in wanted])
    joined = store.training_dataset(f"{view.name}@1", labels, name=group.name).wait(60).to_polars().to_dicts()
    for row in joined:
        right = wanted[row["user_id"], row["label_timestamp"]]
        assert row["user_count_6h"] == right["user_count_6h"]
        assert row["user_kind_last_all_time"] == right["user_kind_last_all_time"]


def test_rows_that_fail_an_expectation_are_not_added(clicks: Clicks) -> None:
    def audit(evidence: Evidence) -> None:
        raise QualityError("no", code="expectation")

    with pytest.raises(QualityError):
        clicks.reconcile(0, audit=audit)
    assert clicks.rows() == []


def test_a_day_that_is_not_settled_is_refused(clicks: Clicks) -> None:
    """The log can get events of it for as long as they may be out of order, late, and not committed."""
    settled = settled_at(clicks.plan, day(1))
    assert settled == day(1) + timedelta(hours=1, milliseconds=500, minutes=5)
    with pytest.raises(ConflictError, match=r"can still arrive until 2026-03-02 01:05:00 UTC -> .*offline asset") as no:
        clicks.reconcile(0, now=settled - timedelta(microseconds=1))
    assert no.value.code == "unsettled"
    assert ensure_table(clicks.store.catalog, clicks.plan.schema).current_snapshot() is None
    assert clicks.reconcile(0, now=settled).corrected > 0
    assert clicks.reconcile(1).corrected > 0, "asked for without a clock"


def unreconciled(clicks: Clicks, settled: int) -> list[tuple[int, int]]:
    """The spans (days) that are to be reconciled when all events before a day are settled."""
    table = ensure_table(clicks.store.catalog, clicks.plan.schema)
    spans = unreconciled_spans(table, clicks.plan, to_micros(day(settled)))
    return [tuple((micros - to_micros(DAY0)) // DAY for micros in span) for span in spans]  # type: ignore[misc]


def refuse(_: Evidence) -> None:
    raise QualityError("no", code="expectation")


def test_an_event_three_days_late_is_in_its_rows_once_its_days_were_reconciled_again(clicks: Clicks) -> None:
    for n in range(4):
        clicks.reconcile(n)
    assert unreconciled(clicks, 4) == []
    clicks.log(event("u1", 5.2, 7.0, "late"), event("u1", 100, 1.0))
    clicks.reconcile(4)
    assert unreconciled(clicks, 5) == [(0, 4)], "its last kind may be any later row's"
    with pytest.raises(QualityError):
        clicks.reconcile(0, 3, audit=refuse)
    assert unreconciled(clicks, 5) == [(0, 4)], "until it has succeeded"
    clicks.reconcile(0)
    assert unreconciled(clicks, 5) == [(1, 4)]
    clicks.reconcile(1, 3)
    assert unreconciled(clicks, 5) == []
    wanted = clicks.right(0, 4)
    assert wanted["u1", DAY0 + timedelta(hours=6)]["user_kind_last_all_time"] == "late"
    assert clicks.newest().keys() == wanted.keys()
    assert_right(clicks, wanted)


def test_a_day_whose_reconcile_failed_or_was_missed_is_not_forgotten(clicks: Clicks) -> None:
    assert unreconciled(clicks, 2) == [], "nothing was written yet"
    clicks.write(list(clicks.right(0, 1).values()))
    assert unreconciled(clicks, 2) == [(0, 2)], "the stream wrote it"
    with pytest.raises(QualityError):
        clicks.reconcile(0, audit=refuse)
    clicks.reconcile(1)
    assert unreconciled(clicks, 2) == [(0, 1)], "the newest day is not all"
    assert unreconciled(clicks, 4) == [(0, 1), (2, 4)]
    clicks.reconcile(0)
    clicks.reconcile(3)
    assert unreconciled(clicks, 4) == [(2, 3)]
    clicks.reconcile(2)
    assert unreconciled(clicks, 4) == []


def test_a_stream_that_was_days_behind_does_not_undo_a_reconcile(clicks: Clicks) -> None:
    """Its rows are newer than the reconciled ones; the run of the next day finds that they came."""
    clicks.reconcile(0)
    clicks.reconcile(1)
    stale = clicks.right(0, 0)["u1", DAY0 + timedelta(hours=3)] | {"user_count_6h": 1}
    clicks.write([stale], created=datetime.now(UTC))
    assert clicks.newest()["u1", stale["feature_timestamp"]]["user_count_6h"] == 1
    clicks.reconcile(2)
    assert unreconciled(clicks, 3) == [(0, 1)]
    clicks.reconcile(0)
    assert unreconciled(clicks, 3) == []
    assert_right(clicks, clicks.right(0, 2))
    clicks.reconcile(3)
    assert unreconciled(clicks, 4) == [], "the rows of runs are not those of the stream"


def test_the_sensor_asks_until_a_reconcile_has_succeeded_without_haste(clicks: Clicks) -> None:
    for n in range(4):
        clicks.reconcile(n)
    clicks.log(event("u1", 30, 7.0))
    clicks.reconcile(4)
    table = clicks.store.catalog.load_table(clicks.plan.schema.table)
    with table.transaction() as transaction:  # so that this machine's today is not to be reconciled, too
        transaction.set_properties({LAST_TIMESTAMP: str(to_micros(datetime.now(UTC) + timedelta(days=2)))})
    with dg.DagsterInstance.ephemeral() as instance:

        def asked(after: timedelta = timedelta()) -> list[dg.RunRequest]:
            return wanted_reconciles(instance, FeatureStoreResource(), [clicks.plan], datetime.now(UTC) + after)

        (first,) = asked()
        assert first.asset_selection == [reconcile_key(clicks.group)]
        assert [first.tags[f"dagster/asset_partition_range_{end}"] for end in ("start", "end")] == [
            "2026-03-02",
            "2026-03-04",
        ]
        assert [request.run_key for request in asked()] == [first.run_key]
        for minutes in (5, 10, 20):
            assert not dg.materialize([failing], instance=instance, tags=first.tags, raise_on_error=False).success
            assert asked(timedelta(minutes=minutes - 1)) == []
            (again,) = asked(timedelta(minutes=minutes + 1))
            assert again.run_key != first.run_key
        clicks.reconcile(1, 3)
        assert asked(timedelta(days=1)) == []


@dg.asset
def failing() -> None:
    """Stands for a reconcile that failed."""
    raise ValueError


def test_two_runs_at_once_lose_nothing(clicks: Clicks) -> None:
    """Two days at a time into an empty table, then a day twice, while a stream commits to the same table."""
    wanted = clicks.right(0, 1)
    sessions = [clicks.spark.newSession() for _ in range(2)]
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda n: clicks.reconcile(n, spark=sessions[n]), range(2)))
    assert set(clicks.newest()) == set(wanted)
    assert_right(clicks, wanted)
    broken = {place: {**row, "user_count_6h": 99} for place, row in wanted.items()}
    ahead = datetime.now(UTC) + timedelta(minutes=1)
    clicks.write(list(broken.values()), created=ahead)
    with ThreadPoolExecutor(3) as threads:
        runs = [threads.submit(clicks.reconcile, 0, spark=session) for session in sessions]
        later = [{**row, "feature_timestamp": day(5)} for row in list(wanted.values())[:1]]
        for n in range(5):
            threads.submit(clicks.write, later, ahead + timedelta(minutes=n)).result()
        assert all(run.result().corrected for run in runs)
    assert clicks.reconcile(0, 1).mismatched == len([1 for _, at in wanted if at > day(1)])
    assert_right(clicks, wanted)
    assert len([row for row in clicks.rows() if row["feature_timestamp"] == day(5)]) == 5


_CHANGES: dict[str, Callable[[Any, random.Random], Any]] = {
    "INT": lambda value, pick: pick.choice([None, (value or 0) + 1, value]),
    "FLOAT": lambda value, pick: pick.choice([None, 0.0, (value or 1.0) * (1 + pick.choice([1e-6, 1e-12, -1e-8]))]),
    "STRING": lambda value, pick: pick.choice([None, "", f"{value} ", "a"]),
    "LIST(STRING)": lambda value, pick: pick.choice([None, [], [*(value or []), "a"], (value or ["a"])[::-1]]),
    "LIST(FLOAT)": lambda value, pick: pick.choice([None, [], [n and n * (1 + 1e-11) for n in value or [1.0]], [0.5]]),
}


@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
def test_any_damage_is_counted_as_a_plain_comparison_counts_it(spark: SparkSession, stack: Settings, seed: int) -> None:
    pick = random.Random(seed)
    clicks = Clicks(spark, stack)
    clicks.log(
        *(
            event(
                pick.choice("xyz"), pick.randrange(48 * 4) / 4, pick.choice([0.1, 1e9, -7.0, None]), pick.choice("ab")
            )
            for _ in range(30)
        )
    )
    wanted = clicks.right(0, 1)
    stored = {place: dict(row) for place, row in wanted.items() if pick.random() > 0.2}
    for row in stored.values():
        if pick.random() < 0.5:
            feature = pick.choice(FEATURES)
            row[feature.name] = _CHANGES[str(feature.dtype)](row[feature.name], pick)
    clicks.write(list(stored.values()))

    found = clicks.reconcile(0, 1)
    both = [(wanted[place], row) for place, row in stored.items()]
    assert found.by_feature == {name: sum(not same(a[name], b[name]) for a, b in both) for name in NAMES}
    wrong = sum(any(not same(a[name], b[name]) for name in NAMES) for a, b in both)
    assert (found.batch, found.stored, found.extra) == (len(wanted), len(stored), 0)
    assert (found.missing, found.mismatched) == (len(wanted) - len(stored), wrong)
    assert found.corrected == found.missing + wrong
    assert_right(clicks, wanted)
    assert clicks.reconcile(0, 1).corrected == 0
