"""The reference against values worked out by hand, at the edges that matter."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

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
    agg,
    session,
)
from feature_store.compile.reference import run_reference
from feature_store.compile.reference_events import clean_events
from feature_store.compile.span import Span
from feature_store.dtypes import to_micros
from feature_store.plan.build import build_plan

DAY0 = datetime(2026, 1, 10, tzinfo=UTC)
SOURCE = BatchSource(
    "events",
    table="raw.events",
    event_timestamp="ts",
    schema={"user_id": STRING, "ts": TIMESTAMP, "amount": FLOAT, "n": INT, "word": STRING},
)


def rows(
    features: list[Feature], events: list[dict[str, Any]], days: int = 5, *, first: bool = False, **more: Any
) -> list:
    group = FeatureGroup(
        "user_events",
        entity=Entity("user", join_key="user_id"),
        source=SOURCE,
        owner="team:t",
        features=features,
        **more,
    )
    start = to_micros(DAY0)
    span = Span(start, start + to_micros(DAY0 + timedelta(days=days)) - start, first)
    given = [{"user_id": "u", **event} for event in events]
    return run_reference(build_plan(group), {"events": given}, span)


def days(found: list[dict[str, Any]], name: str) -> dict[int, Any]:
    return {(row["feature_timestamp"] - DAY0).days: row[name] for row in found}


def at(hours: float, micros: int = 0) -> datetime:
    return DAY0 + timedelta(hours=hours, microseconds=micros)


def test_an_event_enters_at_the_next_instant_and_leaves_a_window_later() -> None:
    count = Feature("user_n_2d", agg.count(), window="2d", dtype=INT)
    assert days(rows([count], [{"ts": at(12)}]), "user_n_2d") == {1: 1, 3: 0}


@pytest.mark.parametrize(("micros", "expected"), [(-1, {1: 1, 2: 0}), (0, {2: 1, 3: 0}), (1, {2: 1, 3: 0})])
def test_windows_are_half_open(micros: int, expected: dict[int, int]) -> None:
    count = Feature("user_n_1d", agg.count(), window="1d", dtype=INT)
    assert days(rows([count], [{"ts": at(24, micros)}]), "user_n_1d") == expected


def test_aggregates_of_nothing() -> None:
    features = [
        Feature("user_n_1d", agg.count(), window="1d", dtype=INT),
        Feature("user_s_1d", agg.sum("amount"), window="1d", dtype=FLOAT),
        Feature("user_m_1d", agg.mean("amount"), window="1d", dtype=FLOAT),
        Feature("user_l_1d", agg.last("word"), window="1d", dtype=STRING),
        Feature("user_d_1d", agg.count_distinct("word"), window="1d", dtype=INT),
        Feature("user_t_1d", agg.top_k("word", k=1), window="1d", dtype=LIST(STRING)),
    ]
    last = rows(features, [{"ts": at(1), "amount": 2.0, "word": "a"}])[-1]
    assert [last[f.name] for f in features] == [0, 0.0, None, None, 0, None]


SESSION_N = Feature("user_session_n", agg.count(), window=session("2d"), dtype=INT)


def test_a_session_goes_on_while_events_are_at_most_a_gap_apart() -> None:
    events = [{"ts": at(hours)} for hours in (-100, 0, 48, 60)]
    found = days(rows([SESSION_N], events, days=6), "user_session_n")
    # enters: 1, 3 and 3; leaves, whatever goes on: 3, 5 and 5
    assert found == {1: 1, 3: 3, 5: 0}
    assert days(rows([SESSION_N], [*events[:2], {"ts": at(48, 1)}], days=6), "user_session_n") == {1: 1, 3: 1, 5: 0}


def test_a_session_is_over_when_its_last_event_is_more_than_a_gap_ago() -> None:
    count = Feature("user_n_1d", agg.count(), window="1d", dtype=INT)
    # the window makes rows at 1 and 2 for the event of hour 0, and at 3 and 4 for the last one
    found = rows([SESSION_N, count], [{"ts": at(0)}, {"ts": at(48)}], days=6)
    assert days(found, "user_session_n") == {1: 1, 2: 1, 3: 2, 4: 2, 5: 0}


def test_sessions_are_of_the_events_that_count_in_the_feature() -> None:
    session_sum = Feature("user_session_sum", agg.sum("n"), window=session("1d"), dtype=INT, where="word = 'a'")
    events = [
        {"ts": at(0), "word": "a", "n": 1},
        {"ts": at(20), "word": "b", "n": 10},  # does not hold the two others together
        {"ts": at(40), "word": "a", "n": 100},
    ]
    assert days(rows([session_sum], events), "user_session_sum") == {1: 1, 2: 100, 3: 0}
    assert days(rows([session_sum], [{**e, "word": "a"} for e in events]), "user_session_sum") == {1: 11, 2: 111, 3: 0}


def test_a_history_begins_within_a_session() -> None:
    events = [{"ts": at(hours)} for hours in (-200, -97, -49, -1)]
    assert days(rows([SESSION_N], events, first=True), "user_session_n") == {1: 3, 2: 0}
    assert days(rows([SESSION_N], events), "user_session_n") == {2: 0}


def test_first_and_several_break_ties_by_value() -> None:
    features = [
        Feature("user_f_1d", agg.first("word"), window="1d", dtype=STRING),
        Feature("user_fs_1d", agg.first_n("word", 3), window="1d", dtype=LIST(STRING)),
        Feature("user_ls_1d", agg.last_n("word", 3), window="1d", dtype=LIST(STRING)),
        Feature("user_all_1d", agg.last_n("word", 1000), window="1d", dtype=LIST(STRING)),
    ]
    words = [(3, "a"), (1, "\U0001f600"), (1, "\uffff"), (0, None), (2, "b"), (3, "c"), (4, None)]
    found = rows(features, [{"ts": at(hour), "word": word} for hour, word in words])
    assert [found[0][f.name] for f in features] == [
        "\uffff",
        ["\uffff", "\U0001f600", "b"],
        ["c", "a", "b"],
        ["c", "a", "b", "\U0001f600", "\uffff"],
    ]
    assert [found[1][f.name] for f in features] == [None] * 4


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0], 32 / 7),
        ([1e9 + 4, 1e9 + 7, 1e9 + 13, 1e9 + 16], 30.0),
        ([3.5, 3.5, None, float("nan")], 0.0),
        ([3.5, None], None),
        ([], None),
        ([1e200, -1e200], None),
        ([1.7e308, 1.7e308], None),
    ],
)
def test_variance_and_stddev_are_of_a_sample(values: list[float | None], expected: float | None) -> None:
    spread = Feature("user_s_1d", agg.stddev("amount"), window="1d", dtype=FLOAT)
    variance = Feature("user_v_1d", agg.variance("amount"), window="1d", dtype=FLOAT)
    found = rows([spread, variance], [{"ts": at(1 + i), "amount": value} for i, value in enumerate([None, *values])])
    value = found[0]["user_s_1d"]
    wanted = expected if expected is None else pytest.approx(expected)
    assert (value if value is None else value**2) == wanted
    assert found[0]["user_v_1d"] == wanted


def test_a_set_is_ascending_and_of_nothing_null() -> None:
    features = [
        Feature("user_w_1d", agg.collect_set("word"), window="1d", dtype=LIST(STRING)),
        Feature("user_n_1d", agg.collect_set("n"), window="1d", dtype=LIST(INT)),
        Feature("user_a_1d", agg.collect_set("amount"), window="1d", dtype=LIST(FLOAT)),
    ]
    words = ["b", "\U0001f600", "a", None, "\uffff", "b"]
    found = rows(features, [{"ts": at(1), "word": word, "n": n % 3} for n, word in enumerate(words)])
    assert [found[0][f.name] for f in features] == [["a", "b", "\uffff", "\U0001f600"], [0, 1, 2], None]
    assert [found[1][f.name] for f in features] == [None] * 3


def test_nulls_and_non_finite_values_do_not_count_except_as_rows() -> None:
    features = [
        Feature("user_n_1d", agg.count(), window="1d", dtype=INT),
        Feature("user_a_1d", agg.count("amount"), window="1d", dtype=INT),
        Feature("user_m_1d", agg.mean("amount"), window="1d", dtype=FLOAT),
    ]
    events = [{"ts": at(1), "amount": value} for value in (None, float("nan"), float("inf"), 4.0)]
    assert [rows(features, events)[0][f.name] for f in features] == [4, 1, 4.0]


def test_last_breaks_ties_by_the_greatest_value_and_strings_by_bytes() -> None:
    last = Feature("user_l_1d", agg.last("word"), window="1d", dtype=STRING)
    events = [
        {"ts": at(1), "word": "\U0001f600"},
        {"ts": at(1), "word": "\uffff"},
        {"ts": at(0.5), "word": "\U0001f601"},
    ]
    assert rows([last], events)[0]["user_l_1d"] == "\U0001f600"


def test_top_k_breaks_ties_by_value_ascending() -> None:
    features = [
        Feature("user_c_1d", agg.top_k("word", k=2), window="1d", dtype=LIST(STRING)),
        Feature("user_w_1d", agg.top_k("word", k=2, by="n"), window="1d", dtype=LIST(STRING)),
    ]
    words = [("b", 1), ("a", 1), ("c", 5), ("c", None), (None, 100)]
    row = rows(features, [{"ts": at(1), "word": word, "n": n} for word, n in words])[0]
    assert row["user_c_1d"] == ["c", "a"]
    assert row["user_w_1d"] == ["c", "a"]


def test_a_history_begins_with_the_standing_row() -> None:
    features = [
        Feature("user_n_all_time", agg.count(), window="all_time", dtype=INT),
        Feature("user_n_3d", agg.count(), window="3d", dtype=INT),
    ]
    before = [{"ts": at(-30)}]
    assert days(rows(features, before), "user_n_3d") == {2: 0}
    assert days(rows(features, before, first=True), "user_n_3d") == {1: 1, 2: 0}
    assert days(rows(features, [{"ts": at(-24 * 9)}], first=True), "user_n_all_time") == {1: 1}


def test_snapshot_writes_every_entity_at_every_slide() -> None:
    count = Feature("user_n_1d", agg.count(), window="1d", dtype=INT)
    found = days(rows([count], [{"ts": at(25)}], emit="snapshot"), "user_n_1d")
    assert found == {2: 1, 3: 0, 4: 0, 5: 0}


def test_one_of_each_event_id_counts() -> None:
    source = BatchSource("events", table="raw.e", event_timestamp="ts", event_id="n", schema=SOURCE.schema)
    group = FeatureGroup(
        "user_events", entity=Entity("user", join_key="user_id"), source=source, owner="team:t",
        features=[Feature("user_n_1d", agg.count(), window="1d", dtype=INT)],
    )  # fmt: skip
    events = [{"user_id": "u", "ts": at(1), "n": n} for n in (1, 1, 2, None, None)]
    start = to_micros(DAY0)
    found = run_reference(build_plan(group), {"events": events}, Span(start, start + 86_400_000_000))
    assert found[0]["user_n_1d"] == 4


@pytest.mark.parametrize(
    ("within", "times", "counted"),
    [
        ("2h", [1, 3], 1),
        ("1h", [1, 3], 2),
        ("2h", [1, 3, 5], 1),  # a copy of a copy
        ("2h", [1, 3 + 1e-9], 2),
        ("2h", [3, 1], 1),
    ],
)
def test_a_copy_has_one_of_its_id_before_it_and_near_it(within: str, times: list[float], counted: int) -> None:
    instants = [at(0) + timedelta(hours=hours) for hours in times]
    events = [{"user_id": "u", "ts": instant, "n": 1, "amount": i} for i, instant in enumerate(instants)]
    found = copied(events, within)
    assert found["user_n_1d"] == counted
    assert found["user_amount_first_1d"] == times.index(min(times))


@pytest.mark.parametrize(
    ("column", "first", "other"),
    [("amount", None, -1.0), ("amount", float("nan"), -1.0), ("word", "\uffff", "\U0001f600"), ("ok", False, True)],
)
def test_of_simultaneous_copies_the_first_in_canonical_order_counts(column: str, first: Any, other: Any) -> None:
    """NULL is before values, strings go by their UTF-8 bytes; the columns in the order of the schema."""
    copies = [{"user_id": "u", "ts": at(1), "n": 1, column: value, "last": value == other} for value in (other, first)]
    for events in (copies, copies[::-1]):
        assert copied(events, "1h")["user_last_1d"] is False


def test_ids_are_compared_within_an_entity_and_before_any_condition() -> None:
    events = [
        {"user_id": "u", "ts": at(1), "n": 1, "ok": False},
        {"user_id": "u", "ts": at(2), "n": 1, "ok": True},
        {"user_id": "other", "ts": at(2), "n": 1, "ok": True},
    ]
    assert copied(events, "1h", where="ok") == {}
    assert copied(events, "1h", user="other")["user_n_1d"] == 1


def copied(events: list[dict[str, Any]], within: str, user: str = "u", where: str | None = None) -> dict[str, Any]:
    """A day's row of a user, where `n` is the event id."""
    schema = {"user_id": STRING, "ts": TIMESTAMP, "n": INT, "amount": FLOAT, "word": STRING, "ok": BOOL, "last": BOOL}
    source = BatchSource(
        "events", table="raw.e", event_timestamp="ts", event_id="n", deduplicate_within=within, schema=schema
    )
    features = [
        Feature("user_n_1d", agg.count(), window="1d", dtype=INT),
        Feature("user_amount_first_1d", agg.first("amount"), window="1d", dtype=FLOAT),
        Feature("user_last_1d", agg.last("last"), window="1d", dtype=BOOL, rename_ok="short"),
    ]
    group = FeatureGroup(
        "user_events", entity=Entity("user", join_key="user_id"), source=source, owner="team:t", features=features,
        where=where,
    )  # fmt: skip
    start = to_micros(DAY0)
    found = run_reference(build_plan(group), {"events": events}, Span(start, start + 86_400_000_000))
    return next((row for row in found if row["user_id"] == user), {})


def test_a_sum_that_does_not_fit_is_null() -> None:
    total = Feature("user_s_1d", agg.sum("n"), window="1d", dtype=INT)
    greatest = {"ts": at(1), "n": 2**63 - 1}
    assert [row["user_s_1d"] for row in rows([total], [greatest, {"ts": at(2), "n": 1}])] == [None, 0]
    beyond = [greatest, greatest, {"ts": at(2), "n": -(2**63)}]
    assert [row["user_s_1d"] for row in rows([total], beyond)] == [2**63 - 2, 0]


def test_an_event_that_overflows_is_left_out_of_the_whole_group() -> None:
    """Only if `where` holds or overflows itself, and only by what some feature reads."""
    plain = Feature("user_n_1d", agg.count(), window="1d", dtype=INT)
    doubled = Feature("user_d_1d", agg.max("doubled"), window="1d", dtype=INT)
    guarded = Feature("user_g_1d", agg.count(), window="1d", where="n < 5 AND n * 2 > 0", dtype=INT)
    events = [{"ts": at(1), "n": n} for n in (1, 2**62, None)]

    def count(*features: Feature, **changes: Any) -> list[Any]:
        given = FeatureGroup("user_events", entity=Entity("user", join_key="user_id"), source=SOURCE, owner="team:t",
                             columns={"doubled": "n * 2"}, features=[plain, *features], **changes)  # fmt: skip
        start = to_micros(DAY0)
        log = {"events": [{"user_id": "u", **event} for event in events]}
        found = run_reference(build_plan(given), log, Span(start, start + 86_400_000_000))
        return [row["user_n_1d"] for row in found]

    assert count() == [3]  # nothing reads `doubled`
    assert count(doubled) == [2]
    assert count(guarded) == [2]
    assert count(doubled, where="n < 5") == [1]
    assert count(where="doubled > 0") == [1]


def test_what_is_not_finite_is_null_in_lists_too() -> None:
    schema = {"user_id": STRING, "ts": TIMESTAMP, "parts": LIST(FLOAT), "taste": EMBEDDING(2)}
    source = BatchSource("events", table="raw.e", event_timestamp="ts", schema=schema)
    given = [
        {"parts": [1.0, math.nan, None, -math.inf], "taste": [1.0, 0.5]},
        {"parts": None, "taste": [1.0, math.inf]},
    ]
    cleaned = clean_events(source, [{"user_id": "u", "ts": at(1), **row} for row in given])
    assert [row["parts"] for row in cleaned] == [[1.0, None, None, None], None]
    assert [row["taste"] for row in cleaned] == [[1.0, 0.5], None]


def test_an_entity_of_two_columns_is_each_pair_and_none_with_a_null() -> None:
    given = [("u", "a"), ("u", "b"), ("u", "a"), ("v", "a"), ("u", None), (None, "a")]
    group = FeatureGroup(
        "user_events",
        entity=Entity("user", join_key=("user_id", "word")),
        source=SOURCE,
        owner="team:t",
        features=[Feature("user_n_all_time", agg.count(), window="all_time", dtype=INT)],
    )
    events = [{"user_id": user, "word": word, "ts": at(1)} for user, word in given]
    start = to_micros(DAY0)
    found = run_reference(build_plan(group), {"events": events}, Span(start, start + to_micros(at(24)) - start))
    assert [(row["user_id"], row["word"], row["user_n_all_time"]) for row in found] == [
        ("u", "a", 2),
        ("u", "b", 1),
        ("v", "a", 1),
    ]
