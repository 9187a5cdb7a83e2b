"""The compiled SQL of every construct, as files to review. `UPDATE_GOLDEN=1 ./fs test …` writes them anew."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from feature_store import (
    BOOL,
    EMBEDDING,
    FLOAT,
    INT,
    LIST,
    STRING,
    TIMESTAMP,
    BatchSource,
    Entity,
    Feature,
    FeatureGroup,
    StreamSource,
    agg,
    bucketed,
    one_hot,
    session,
)  # fmt: skip
from feature_store.compile.span import Span
from feature_store.compile.spark import compile_spark, events_after
from feature_store.compile.spark_direct import DIRECT_INSTANTS
from feature_store.compile.spark_shared import compile_shared_tiles, own_tiles
from feature_store.dsl.collect import load_project
from feature_store.duration import DAY, HOUR
from feature_store.plan.build import build_plan

GOLDEN = Path(__file__).parent / "golden"
SPAN = Span(20_000 * DAY, 20_020 * DAY)
EVENTS = BatchSource(
    "clicks",
    table="raw.clicks",
    event_timestamp="ts",
    event_id="id",
    schema={"user_id": STRING, "id": INT, "ts": TIMESTAMP, "amount": FLOAT, "n": INT, "word": STRING, "ok": BOOL},
)


def group(*features: Feature, **more: object) -> FeatureGroup:
    arguments: dict[str, object] = {
        "entity": Entity("user", join_key="user_id"),
        "source": EVENTS,
        "owner": "team:test",
        "features": features,
    }
    return FeatureGroup("user_clicks", **(arguments | more))  # type: ignore[arg-type]


CASES = {
    "counts_and_sums": group(
        Feature("user_n_7d", agg.count(), window="7d", dtype=INT),
        Feature("user_words_7d", agg.count("word"), window="7d", dtype=INT, where="ok"),
        Feature("user_amount_1d", agg.sum("amount"), window="1d", dtype=FLOAT),
        Feature("user_amount_all_time", agg.mean("amount"), window="all_time", dtype=FLOAT),
    ),
    "extremes_and_last": group(
        Feature("user_min_7d", agg.min("amount"), window="7d", dtype=FLOAT),
        Feature("user_max_7d", agg.max("word"), window="7d", dtype=STRING),
        Feature("user_last_7d", agg.last("word"), window="7d", dtype=STRING, where="n > 0"),
    ),
    "sessions_of_events": group(
        Feature("user_session_n", agg.count(), window=session("1d"), dtype=INT, where="n > 0"),
        Feature("user_max_30d", agg.max("word"), window="30d", dtype=STRING, where="ok"),
    ),
    "distinct_and_top": group(
        Feature("user_words_all_time", agg.count_distinct("word"), window="all_time", dtype=INT),
        Feature("user_top_7d", agg.top_k("word", k=3, by="amount"), window="7d", dtype=LIST(STRING)),
    ),
    "sessions_of_a_stream": group(
        Feature("user_session_n", agg.count(), window=session("30m"), dtype=INT),
        Feature("user_session_first", agg.first("word"), window=session("30m"), dtype=STRING),
        Feature("user_session_amount", agg.sum("amount"), window=session("5m"), dtype=FLOAT, where="ok"),
        Feature("user_n_30m", agg.count(), window="30m", dtype=INT),
        source=StreamSource("clicks", topic="clicks", event_timestamp="ts", event_id="id", schema=EVENTS.schema),
    ),
    "stddev_and_several": group(
        Feature("user_spread_7d", agg.stddev("n"), window="7d", dtype=FLOAT),
        Feature("user_first_7d", agg.first_n("word", 3), window="7d", dtype=LIST(STRING), where="ok"),
        Feature("user_last_1d", agg.last_n("amount", 5), window="1d", dtype=LIST(FLOAT)),
    ),
    "variance_and_sets": group(
        Feature("user_variance_7d", agg.variance("amount"), window="7d", dtype=FLOAT, where="ok"),
        Feature("user_words_7d", agg.collect_set("word"), window="7d", dtype=LIST(STRING)),
    ),
    "percentiles_and_sketches": group(
        Feature("user_p95_7d", agg.percentile("amount", 0.95), window="7d", dtype=FLOAT),
        Feature("user_words_7d", agg.approx_count_distinct("word"), window="7d", dtype=INT, where="ok"),
    ),
    "buckets_times_and_encodings": group(
        *bucketed(Feature("user_{value}_n_7d", agg.count(), window="7d", dtype=INT, where="ok"), "word", ["a", "B b"]),
        Feature("user_last_7d", agg.last("word"), window="7d", dtype=STRING),
        Feature("user_last_at_7d", agg.max("ts"), window="7d", dtype=TIMESTAMP),
        Feature("user_nights_7d", agg.count(), window="7d", dtype=INT, where="hour_of_day(ts) < 6"),
        Feature("user_large_7d", agg.sum("size"), window="7d", dtype=INT),
        columns={"size": "bucketize(amount, 10, 100)"},
        derived={
            **one_hot("user_last_7d", ["a", "B b"]),
            "user_last_weekday": "iso_weekday(user_last_at_7d)",
            "user_days_old": "days_between(TIMESTAMP '2026-01-01T00:00:00Z', user_last_at_7d)",
        },
    ),
    "vectors_of_a_query": group(
        Feature("user_taste", dtype=EMBEDDING(3)),
        Feature("user_style", dtype=EMBEDDING(3)),
        source=None,
        sources=[EVENTS],
        query="SELECT user_id, array(0.0, 1.0, 2.0) AS user_taste, array(1.0, 1.0, 1.0) AS user_style FROM clicks",
        derived={"user_fit": "cosine(user_taste, user_style)", "user_strength": "norm(user_taste)"},
    ),
    "query_of_states": group(
        Feature("user_n", dtype=INT),
        source=None,
        sources=[
            replace(EVENTS, changes_of=("user_id", "word"), deleted="n < 0"),
            BatchSource(
                "words",
                path="words/*.parquet",
                event_timestamp="ts",
                copies=True,
                schema={"word": STRING, "ts": TIMESTAMP},
            ),
        ],
        query="SELECT c.user_id, count(*) AS user_n FROM clicks c JOIN words w ON w.word = c.word GROUP BY c.user_id",
    ),
    "computed_where_derived": group(
        Feature("user_net_1d", agg.sum("net"), window="1d", dtype=FLOAT),
        columns={"net": "amount - coalesce(n, 0) + hash_bucket(word, 16)"},
        where="word IN ('it''s', 'b') AND NOT ok",
        derived={"user_half": "user_net_1d / 2"},
    ),
    "snapshot_of_windows": group(
        Feature("user_n_1h", agg.count(), window="1h", dtype=INT), emit="snapshot", slide="1h", ttl="1d"
    ),
    "composite_key": group(
        Feature("pair_n_7d", agg.count(), window="7d", dtype=INT),
        Feature("pair_session_n", agg.count(), window=session("1d"), dtype=INT),
        entity=Entity("pair", join_key=("user_id", "n"), dtype=(STRING, INT)),
    ),
    "composite_key_snapshot": group(
        Feature("pair_n_7d", agg.count(), window="7d", dtype=INT),
        entity=Entity("pair", join_key=("user_id", "n"), dtype=(STRING, INT)),
        emit="snapshot",
    ),
    "composite_key_query": group(
        Feature("pair_total", dtype=FLOAT),
        entity=Entity("pair", join_key=("user_id", "n"), dtype=(STRING, INT)),
        source=None,
        sources=[EVENTS],
        query="SELECT user_id, n, sum(amount) AS pair_total FROM clicks GROUP BY user_id, n",
    ),
    "query_with_join": group(
        Feature("user_share", dtype=FLOAT),
        source=None,
        sources=[EVENTS],
        query=(
            "WITH totals AS (SELECT word, sum(amount) AS total FROM clicks GROUP BY word) "
            "SELECT c.user_id, sum(c.amount) / max(t.total) AS user_share FROM clicks c "
            "JOIN totals t ON t.word = c.word GROUP BY c.user_id"
        ),
    ),
    **{f"shop_{group.name}": group for group in load_project("feature_defs").groups},
}

DAY_SPAN = Span(SPAN.after, SPAN.after + DAY)
OF_FEW_INSTANTS = {
    "direct_day": ("extremes_and_last", DAY_SPAN),
    "direct_days_from_the_first": ("counts_and_sums", Span(SPAN.after, SPAN.after + 3 * DAY, first=True)),
    "direct_hour_of_a_snapshot": ("snapshot_of_windows", Span(SPAN.after, SPAN.after + HOUR)),
}
STATEMENTS = {**{name: (name, SPAN) for name in CASES}, **OF_FEW_INSTANTS}
SHARING = ("extremes_and_last", "sessions_of_events")


@pytest.mark.parametrize("name", STATEMENTS)
def test_sql_is_the_reviewed_one(name: str) -> None:
    case, span = STATEMENTS[name]
    assert_reviewed(name, compile_spark(build_plan(CASES[case]), span))


def test_sql_of_shared_tiles_is_the_reviewed_one() -> None:
    """A group of the shorter windows reads no tiles before them, and none in which only the other one saw an event."""
    plans = [build_plan(CASES[name]) for name in SHARING]
    assert_reviewed("shared_tiles", compile_shared_tiles(plans, SPAN))
    assert_reviewed("from_shared_tiles", compile_spark(plans[0], SPAN, own_tiles(plans, plans[0], SPAN, "shared")))


def assert_reviewed(name: str, sql: str) -> None:
    path = GOLDEN / f"{name}.sql"
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(sql)
    assert sql == path.read_text(), f"the SQL of {name} changed: review it, then write it with UPDATE_GOLDEN=1"


def test_no_golden_file_is_left_over() -> None:
    assert {path.stem for path in GOLDEN.glob("*.sql")} == {*STATEMENTS, "shared_tiles", "from_shared_tiles"}


def test_the_first_span_adds_the_standing_rows() -> None:
    plan = build_plan(CASES["counts_and_sums"])
    assert "tile_end < " in compile_spark(plan, Span(SPAN.after, SPAN.until, first=True))
    assert "tile_end < " not in compile_spark(plan, SPAN)


def test_few_instants_are_computed_without_tiles_unless_there_are_sessions() -> None:
    plan = build_plan(CASES["counts_and_sums"])
    ends = [SPAN.after + DIRECT_INSTANTS * DAY, SPAN.after + (DIRECT_INSTANTS + 1) * DAY]
    assert ["tiles AS" in compile_spark(plan, Span(SPAN.after, end)) for end in ends] == [False, True]
    sessions = build_plan(CASES["sessions_of_a_stream"])
    assert "tiles AS" in compile_spark(sessions, Span(SPAN.after, SPAN.after + sessions.slide))


def test_only_events_that_matter_are_read() -> None:
    assert events_after(build_plan(CASES["extremes_and_last"]), SPAN) == SPAN.after - 7 * DAY
    assert events_after(build_plan(CASES["counts_and_sums"]), SPAN) is None
    assert events_after(build_plan(CASES["sessions_of_a_stream"]), SPAN) is None


def test_a_span_off_the_grid_is_refused() -> None:
    with pytest.raises(ValueError, match="is not a span on a grid of 1d"):
        compile_spark(build_plan(CASES["extremes_and_last"]), Span(1, DAY))
