"""One definition, two engines, one result: Spark against the reference on random groups and events."""

from __future__ import annotations

import itertools
import random
import statistics
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_store import FLOAT, INT, STRING, BatchSource, Feature, FeatureGroup, agg
from feature_store.compile import window_kernel
from feature_store.compile.reference import run_reference
from feature_store.compile.reference_events import Row
from feature_store.compile.span import Span
from feature_store.compile.spark_direct import DIRECT_INSTANTS
from feature_store.compile.spark_sliding import is_slid
from feature_store.dtypes import from_micros
from feature_store.duration import DAY, HOUR, SECOND
from feature_store.offline.sliding import slid_rows
from feature_store.plan.build import build_plan
from tests.integration.compared import COMPARED, assert_same_rows
from tests.integration.engine_cases import (
    SCHEMA,
    SQL_WORDS,
    START,
    USER,
    chained_events,
    events,
    group_of_everything,
    group_of_sql_words,
    groups,
    quick_events,
    session_group,
    sets_of_events,
    slid_groups,
    streaming_groups,
)
from tests.integration.in_spark import IN_SPARK, arrow_table, computed, in_spark, show, shuffled

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

SETS = 16  # of events, in one job
MORE_SETS = 3  # beside those that hypothesis has thought of


@settings(IN_SPARK, max_examples=15)
@given(
    group=groups(),
    rows=events(),
    seed=st.integers(0, 999),
    first=st.booleans(),
    day=st.integers(-2, 3),
    instants=st.sampled_from([1, 3, DIRECT_INSTANTS + 1, 72]),
)
def test_windows(
    quick: SparkSession, group: FeatureGroup, rows: list[Row], seed: int, first: bool, day: int, instants: int
) -> None:
    """Of few instants, which are computed directly, and of many, by tiles."""
    plan, log = build_plan(group), {"events": rows + more(seed)}
    start = START + day * DAY
    span = Span(start, start + min(instants * plan.slide, 9 * DAY), first)
    assert_same_rows(in_spark(quick, plan, log, span), run_reference(plan, log, span), plan.keys)


def more(seed: int, begin: int = START - 3 * DAY, unit: int = 3 * HOUR) -> list[Row]:
    """More sets of events for the job that computes one of hypothesis's."""
    COMPARED["sets of events in Spark: over random windows"] += 1 + MORE_SETS
    return sets_of_events(seed, MORE_SETS, begin, unit)


@settings(IN_SPARK, max_examples=12)
@given(
    group=slid_groups(),
    rows=events(),
    seed=st.integers(0, 999),
    first=st.booleans(),
    day=st.integers(-2, 3),
    instants=st.sampled_from([DIRECT_INSTANTS + 1, 72]),
    at_once=st.sampled_from([1, 4, 1000]),
)
def test_windows_slid_by_the_kernel(
    quick: SparkSession,
    group: FeatureGroup,
    rows: list[Row],
    seed: int,
    first: bool,
    day: int,
    instants: int,
    at_once: int,
) -> None:
    """Whatever batches the tiles come in, and however many are looked at together."""
    plan, log = build_plan(group), {"events": rows + more(seed)}
    start = START + day * DAY
    span = Span(start, start + min(instants * plan.slide, 12 * DAY), first)
    assert is_slid(plan, span)
    show(quick, plan, log)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("_TILES", "_POINTS", "_BLOCK"):
            patch.setattr(window_kernel, name, at_once)  # the kernel goes to the workers as it is here
        found = slid_rows(quick, plan, span).toArrow().to_pylist()
    COMPARED["spans of groups in the window kernel"] += 1
    assert_same_rows(found, run_reference(plan, log, span), plan.keys)


@settings(IN_SPARK, max_examples=12)
@given(
    group=streaming_groups(),
    rows=quick_events(),
    seed=st.integers(0, 999),
    first=st.booleans(),
    begin=st.integers(-20, 30),
)
def test_windows_of_streams_by_the_second(
    quick: SparkSession, group: FeatureGroup, rows: list[Row], seed: int, first: bool, begin: int
) -> None:
    plan = build_plan(group)
    start = START + 2 * begin * SECOND
    span, log = Span(start, start + 60 * SECOND, first), {"events_log": rows + more(seed, START, SECOND)}
    assert_same_rows(in_spark(quick, plan, log, span), run_reference(plan, log, span), plan.keys)


@pytest.mark.parametrize("seed", range(4))
def test_every_aggregation_over_many_events(quick: SparkSession, seed: int) -> None:
    compare_every_aggregation(quick, seed)


@pytest.mark.usefixtures("compiling")
def test_every_aggregation_in_compiled_plans(quick: SparkSession) -> None:
    compare_every_aggregation(quick, 4)


def compare_every_aggregation(quick: SparkSession, seed: int) -> None:
    plan, log = build_plan(group_of_everything(seed)), {"events_log": chained_events(seed)}
    start = START + 10 * SECOND
    for seconds in (DIRECT_INSTANTS, 50):
        span = Span(start, start + seconds * SECOND, first=True)
        assert_same_rows(in_spark(quick, plan, log, span), run_reference(plan, log, span), plan.keys)


@pytest.mark.parametrize("seed", range(4))
def test_sessions_to_the_microsecond(quick: SparkSession, seed: int) -> None:
    plan, log = build_plan(session_group(["1s", "3s"])), {"events_log": chained_events(seed)}
    for begin, first in ((-2, True), (20, True), (33, False)):
        span = Span(START + begin * SECOND, START + (begin + 120) * SECOND, first)
        assert_same_rows(in_spark(quick, plan, log, span), run_reference(plan, log, span), plan.keys)


@settings(IN_SPARK, max_examples=4)
@given(group=groups(), seed=st.integers(0, 99), cuts=st.sampled_from([(-1, 0, 1), (1,), (-1, 0)]))
def test_how_rows_are_stored_and_in_which_parts_they_are_computed_changes_nothing(
    quick: SparkSession, tmp_path_factory: pytest.TempPathFactory, group: FeatureGroup, seed: int, cuts: tuple[int, ...]
) -> None:
    """Many sets of events at once: shuffled, split over files in any way, in one run, day by day or in other parts."""
    plan, rows, pick = build_plan(group), sets_of_events(seed, SETS), random.Random(seed)
    whole = Span(START - 2 * DAY, START + 2 * DAY, first=True)
    wanted = run_reference(plan, {"events": rows}, whole)
    assert_same_rows(in_spark(quick, plan, {"events": rows}, whole), wanted, plan.keys)
    folder, names = tmp_path_factory.mktemp("split"), range(pick.randint(1, 6))
    places = [pick.choice(names) for _ in rows]
    for name in names:
        part = shuffled([row for row, place in zip(rows, places, strict=True) if place == name], pick)
        pq.write_table(arrow_table(plan.sources[0], part), folder / f"{name}.parquet")
    quick.read.parquet(str(folder)).createOrReplaceTempView("events")
    quick.conf.set("spark.sql.shuffle.partitions", str(pick.randint(1, 4)))
    assert_same_rows(computed(quick, plan, whole), wanted, plan.keys)
    bounds = [whole.after, *(START + day * DAY for day in cuts), whole.until]
    spans = [Span(after, until, after == whole.after) for after, until in itertools.pairwise(bounds)]
    parts = [row for span in spans for row in computed(quick, plan, span)]
    assert_same_rows(parts, wanted, plan.keys)
    COMPARED["sets of events in Spark: shuffled, split over files, in parts"] += 3 * SETS


@pytest.mark.parametrize("instants", [1, 72])
def test_copies_are_found_however_a_span_is_cut(quick: SparkSession, instants: int) -> None:
    """One run over ten days, and a run for each of them: directly, by tiles and by frames over them."""
    source = BatchSource("events", table="raw.events", event_timestamp="ts", schema=SCHEMA, event_id="id")
    features = [
        Feature("user_n_sum_1d", agg.sum("n"), window="1d", dtype=INT),
        Feature("user_word_last_1d", agg.last("word"), window="1d", dtype=STRING, where="ok"),
    ]
    slide = "1d" if instants == 1 else "1h"
    group = FeatureGroup(
        "user_copies", entity=USER, owner="team:test", source=source, features=features, slide=slide, where="n > 1"
    )
    rows = []
    for number, days in enumerate([(0, 7), (0, 5, 10), (0, 3, 3), (2, 9), (1, 8)]):
        edge = {3: 1, 4: -1}.get(number, 0)
        for i, day in enumerate(days):
            at = START + day * DAY + 8 * HOUR + (edge if i else 0)
            row = {"user_id": f"u{number % 3}", "id": number, "ts": from_micros(at), "n": i + number, "ok": i == 0}
            rows.append(row | {"word": f"{number} {i}"})
    plan, log = build_plan(group), {"events": [*rows, *({**row, "user_id": "other"} for row in rows[1::2])]}
    whole = Span(START, START + 12 * DAY, first=True)
    wanted = run_reference(plan, log, whole)
    assert_same_rows(in_spark(quick, plan, log, whole), wanted, plan.keys)
    daily = [Span(START + day * DAY, START + (day + 1) * DAY, first=day == 0) for day in range(12)]
    assert_same_rows([row for span in daily for row in computed(quick, plan, span)], wanted, plan.keys)


def condition_group(condition: str) -> FeatureGroup:
    return FeatureGroup(
        "user_conditions",
        entity=USER,
        source=BatchSource("events", table="raw.events", event_timestamp="ts", schema=SCHEMA),
        owner="team:test",
        features=[Feature("user_n_all_time", agg.count(), where=condition, window="all_time", dtype=INT)],
    )


ATOMS = [
    "n > 1",
    "amount < 1.5",
    "ok",
    "word = 'a'",
    "word < 'b'",
    "n IS NULL",
    "n / 2 = 0.5",
    "n % 3 = -1",
    "abs(n) >= 2",
    "length(word) = 1",
    "upper(word) = 'É'",
    "lower(word) || 'x' = 'ax'",
    "n BETWEEN 0 AND 2",
    "word IN ('a', '')",
    "coalesce(amount, n, 7) > 1",
    "nullif(n, 2) = 3",
    "-n < amount",
    "CASE WHEN ok THEN n WHEN n > 0 THEN 5 END > 2",
    "amount - amount * 1e300 * 1e300 <> 0",
    "trim(word) = ''",
    "hash_bucket(word, 4) >= 2",
    "hour_of_day(ts) % 2 = 0",
    "iso_weekday(ts) > 3",
    "days_between(ts, TIMESTAMP '2026-01-02T00:00:00Z') < 0.5",
    "ordinal(word, 'a', 'é') <> 1",
    "bucketize(amount, 0, 1.5, 3) >= 2",
    "hash_bucket(word, 9223372036854775807) % 7 = 3",
    "big + n > 0",
    "coalesce(n, big * 2) <= 2",
    "(CASE WHEN ok THEN big - 2 ELSE n END) IS NULL",
    "-big < abs(big)",
]


@settings(IN_SPARK, max_examples=20)
@given(
    condition=st.recursive(
        st.sampled_from(ATOMS),
        lambda inner: st.one_of(
            st.builds("({} AND {})".format, inner, inner), st.builds("({} OR {})".format, inner, inner),
            st.builds("(NOT {})".format, inner),
        ),
        max_leaves=5,
    ),
    rows=events(),
)  # fmt: skip
def test_expressions(quick: SparkSession, condition: str, rows: list[Row]) -> None:
    plan, span = build_plan(condition_group(condition)), Span(START - 10 * DAY, START + 10 * DAY)
    assert_same_rows(
        in_spark(quick, plan, {"events": rows}, span), run_reference(plan, {"events": rows}, span), plan.keys
    )


def test_words_of_sql_are_names_like_any_other(quick: SparkSession) -> None:
    plan, span = build_plan(group_of_sql_words()), Span(START - DAY, START + DAY)
    rows = {"table": [{"primary": "a", "ts": from_micros(START), **{word: i for i, word in enumerate(SQL_WORDS)}}]}
    found = in_spark(quick, plan, rows, span)
    assert_same_rows(found, run_reference(plan, rows, span), plan.keys)
    assert found[0]["user_select"] == found[0]["returning"] == sum(range(len(SQL_WORDS)))


@pytest.mark.parametrize("days", [2, 9])
def test_a_sum_that_does_not_fit_is_null_in_its_row_alone(quick: SparkSession, days: int) -> None:
    """Directly, by frames and by the kernel; sums of some of the rows may be greater than what fits."""
    group = FeatureGroup(
        "user_sums", entity=USER, owner="team:test",
        source=BatchSource("events", table="raw.events", event_timestamp="ts", schema=SCHEMA),
        features=[Feature("user_sum_2d", agg.sum("n"), window="2d", dtype=INT)],
    )  # fmt: skip
    given = [("u", 0, 2**62), ("u", 0, 2**63 - 1), ("u", 1, -(2**62)), ("u", 1, 1), ("v", 0, 7)]
    rows = [{"user_id": user, "ts": from_micros(START + day * DAY), "n": n} for user, day, n in given]
    plan, span = build_plan(group), Span(START, START + days * DAY)
    found = in_spark(quick, plan, {"events": rows}, span)
    assert_same_rows(found, run_reference(plan, {"events": rows}, span), plan.keys)
    sums = {(row["user_id"], row["feature_timestamp"]): row["user_sum_2d"] for row in found}
    second = from_micros(START + 2 * DAY)
    assert sums["u", from_micros(START + DAY)] is None
    assert sums["u", second] is None
    assert sums["v", from_micros(START + DAY)] == 7
    if days > DIRECT_INSTANTS:
        assert sums["u", from_micros(START + 3 * DAY)] == 1 - 2**62
        assert_same_rows(slid_rows(quick, plan, span).toArrow().to_pylist(), found, plan.keys)


def test_stddev_keeps_its_digits_when_tiles_are_merged(quick: SparkSession) -> None:
    group = FeatureGroup(
        "user_spread", entity=USER, owner="team:test",
        source=BatchSource("events", table="raw.events", event_timestamp="ts", schema=SCHEMA),
        features=[Feature("user_spread_all_time", agg.stddev("amount"), window="all_time", dtype=FLOAT)],
    )  # fmt: skip
    amounts = [1e6 + x for x in (0.1, 0.25, 0.7, 0.05, 0.9, 0.5)]
    rows = [{"user_id": "u", "ts": from_micros(START + i * DAY // 2), "amount": a} for i, a in enumerate(amounts)]
    found = in_spark(quick, build_plan(group), {"events": rows}, Span(START, START + 3 * DAY))
    spreads = [row["user_spread_all_time"] for row in sorted(found, key=lambda row: row["feature_timestamp"])]
    assert spreads == pytest.approx([statistics.stdev(amounts[:n]) for n in (2, 4, 6)], rel=1e-9)


def test_more_values_than_hashes_are_kept_are_estimated_alike(quick: SparkSession) -> None:
    features = [
        Feature("user_words_2d", agg.approx_count_distinct("word"), window="2d", dtype=INT),
        Feature("user_ns_all_time", agg.approx_count_distinct("n"), window="all_time", dtype=INT),
    ]
    source = BatchSource("events", table="raw.events", event_timestamp="ts", schema=SCHEMA)
    group = FeatureGroup("user_many", entity=USER, owner="team:test", source=source, features=features)
    rows = [
        {"user_id": "u", "ts": from_micros(START + i * DAY // 1000), "word": f"é{i % 1900}", "n": i % 2500}
        for i in range(4000)
    ]
    plan, span = build_plan(group), Span(START, START + 4 * DAY)
    found = in_spark(quick, plan, {"events": rows}, span)
    assert_same_rows(found, run_reference(plan, {"events": rows}, span), plan.keys)
    last = max(found, key=lambda row: row["feature_timestamp"])
    assert last["user_words_2d"] == pytest.approx(1900, rel=0.1)
    assert last["user_ns_all_time"] == pytest.approx(2500, rel=0.1)
