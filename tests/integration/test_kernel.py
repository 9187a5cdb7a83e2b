"""The window kernel, event by event in any order, against the reference on the same events."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_store import FLOAT, INT, STRING, TIMESTAMP, Entity, Feature, FeatureGroup, StreamSource, agg
from feature_store.compile.kernel_spec import kernel_spec
from feature_store.compile.reference_events import Row
from feature_store.compile.reference_expressions import evaluate
from feature_store.compile.span import Span
from feature_store.dtypes import LIST, from_micros, to_micros
from feature_store.duration import HOUR, MINUTE, SECOND
from feature_store.plan.build import build_plan
from feature_store.plan.nodes import GroupPlan, WindowedRows
from tests.integration.engine_cases import START, chained_events, quick_events, streaming_groups
from tests.integration.kernel_harness import KernelHarness
from tests.integration.kernel_play import (
    Arrival,
    arrivals,
    assert_same,
    disordered,
    expected_rows,
    has_ids,
    interleaved,
    newest_rows,
    on_grid,
    play,
    span_of,
    with_lateness,
)

IN_HARNESS = settings(
    max_examples=200,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
LATENESSES = ["2s", "5s", "20s"]


@IN_HARNESS
@given(group=streaming_groups(), lateness=st.sampled_from(LATENESSES), arriving=arrivals(8 * SECOND))
def test_rows_are_those_of_the_reference(
    harness: KernelHarness, group: FeatureGroup, lateness: str, arriving: list[Arrival]
) -> None:
    plan = with_lateness(group, lateness)
    played = play(harness, plan, arriving)
    rows = expected_rows(plan, played.counted, span_of(plan, played.counted))
    assert_same(newest_rows(plan, played.answer), rows, replaced=has_ids(plan))
    if not any(aggregate.window is None for aggregate in _aggregates(plan)):
        assert played.answer.entities_left == 0


@settings(IN_HARNESS, max_examples=80)
@given(group=streaming_groups(), arriving=arrivals(8 * SECOND), seed=st.integers(0, 9))
def test_arrival_within_the_allowed_lateness_changes_nothing(
    harness: KernelHarness, group: FeatureGroup, arriving: list[Arrival], seed: int
) -> None:
    plan = with_lateness(group, "2m")
    rows = [arrival.row for arrival in arriving]
    wanted = expected_rows(plan, rows, span_of(plan, rows))
    shuffled = random.Random(seed).sample(rows, len(rows))
    latest = max([START, *(to_micros(row["ts"]) for row in rows)]) // 1000
    for order in (arriving, [Arrival(row, latest - 30_000) for row in shuffled]):
        played = play(harness, plan, order)
        assert played.late == 0
        assert_same(newest_rows(plan, played.answer), wanted, replaced=has_ids(plan))


@settings(IN_HARNESS, max_examples=80)
@given(
    group=streaming_groups(),
    rows=st.one_of(quick_events(), st.integers(0, 99).map(chained_events)),
    pick=st.randoms(use_true_random=False),
    restored=st.dictionaries(st.integers(0, 60), st.none(), max_size=6),
)
def test_in_any_order_that_the_watermark_waits_for_each_row_is_written_once(
    harness: KernelHarness, group: FeatureGroup, rows: list[Row], pick: random.Random, restored: dict[int, None]
) -> None:
    """Users in any interleaving, events out of order, restored at any point: the same rows, none a correction."""
    plan = with_lateness(group, "2s")
    wanted = expected_rows(plan, rows, span_of(plan, rows))
    for order in (interleaved(rows, pick), interleaved(rows, pick), disordered(rows, pick, 3 * SECOND)):
        played = play(harness, plan, order, restored=restored)
        assert played.late == 0
        found = newest_rows(plan, played.answer)
        assert len(played.answer.rows) == len(found)
        assert_same(found, wanted)


@settings(IN_HARNESS, max_examples=120)
@given(
    group=streaming_groups(),
    lateness=st.sampled_from(LATENESSES),
    arriving=arrivals(6 * SECOND),
    cut=st.integers(-6, 20),
    first=st.booleans(),
    idle=st.booleans(),
    seed=st.integers(0, 9),
)
def test_the_stream_takes_over_from_batch_at_the_cut(
    harness: KernelHarness,
    group: FeatureGroup,
    lateness: str,
    arriving: list[Arrival],
    cut: int,
    first: bool,
    idle: bool,
    seed: int,
) -> None:
    """History comes in any order until the watermark passes the cut, mixed with the first live events."""
    plan = with_lateness(group, lateness)
    after = START + cut * plan.slide
    history = [Arrival(arrival.row) for arrival in arriving if to_micros(arrival.row["ts"]) < after]
    live = [arrival for arrival in arriving if to_micros(arrival.row["ts"]) >= after]
    early = live[: len(live) // 3]
    pick = random.Random(seed)
    mixed = pick.sample([*history, *early], len(history) + len(early))
    standing_still = [None, 0, after // 1000 - 3000, after // 1000 - 1]
    started = [Arrival(one.row, pick.choice(standing_still)) for one in mixed]
    rest = live[len(early) :]
    if idle:
        rest = [replace(one, watermark=None) for one in rest]
    played = play(harness, plan, [*started, *rest], cut=after, first=first)
    end = max(span_of(plan, [arrival.row for arrival in arriving]).until, after + 2 * plan.slide)
    wanted = expected_rows(plan, played.counted, Span(after, end, first))
    found = {place: row for place, row in newest_rows(plan, played.answer).items() if place[1] > after}
    assert_same(found, wanted, replaced=has_ids(plan))


@settings(IN_HARNESS, max_examples=200)
@given(
    group=streaming_groups(),
    lateness=st.sampled_from(LATENESSES),
    arriving=arrivals(8 * SECOND),
    restored=st.dictionaries(st.integers(0, 60), st.sampled_from([None, None, *LATENESSES]), min_size=1, max_size=5),
)
def test_a_restored_job_judges_events_as_if_it_had_gone_on(
    harness: KernelHarness,
    group: FeatureGroup,
    lateness: str,
    arriving: list[Arrival],
    restored: dict[int, str | None],
) -> None:
    """Restored at any point and often, before the first watermark too, with the same, a longer or shorter lateness.

    `play` checks what is too late. What counts needs no state that was dropped, so the rows are those of the reference.
    """
    plan = with_lateness(group, lateness)
    played = play(harness, plan, arriving, restored=restored)
    wanted = expected_rows(plan, played.counted, span_of(plan, played.counted))
    assert_same(newest_rows(plan, played.answer), wanted, replaced=has_ids(plan))


@settings(IN_HARNESS, max_examples=120)
@given(
    group=streaming_groups(),
    lateness=st.sampled_from(LATENESSES),
    arriving=arrivals(8 * SECOND),
    restored=st.dictionaries(st.integers(0, 60), st.none(), max_size=3),
)
def test_tiles_in_pieces_are_whole(
    harness: KernelHarness, group: FeatureGroup, lateness: str, arriving: list[Arrival], restored: dict[int, None]
) -> None:
    """With words of kilobytes a few events fill pieces of tiles, chunks, and layers of the base."""
    plan = with_lateness(group, lateness)
    large = [replace(one, row=one.row | {"word": one.row["word"] and one.row["word"] * 3000}) for one in arriving]
    played = play(harness, plan, large, restored=restored)
    wanted = expected_rows(plan, played.counted, span_of(plan, played.counted))
    assert_same(newest_rows(plan, played.answer), wanted, replaced=has_ids(plan))
    if not any(aggregate.window is None for aggregate in _aggregates(plan)):
        assert played.answer.entities_left == 0


@pytest.mark.parametrize("cut", [None, START - 24 * HOUR])
@pytest.mark.parametrize("watermark", [None, 10], ids=["unknown", "of the late event"])
def test_an_event_a_day_late_is_too_late_after_a_restore(
    harness: KernelHarness, cut: int | None, watermark: int | None
) -> None:
    """Nothing is left of its entity. The first watermark after a restore may be that of the late event itself."""
    plan = build_plan(replace(LONG, source=replace(CLICKS, event_id=None), features=LONG.features[:1]))
    rows = [{"user_id": "u", "ts": from_micros(START + i * SECOND), "amount": 1.0, "n": 0, "word": "", "id": i}
            for i in range(6)]  # fmt: skip
    early, late = [Arrival(row) for row in rows[:5]], Arrival(rows[5], (START + 25 * HOUR) // 1000)
    moved = [Arrival(_nobody(START), (START + hours * HOUR) // 1000) for hours in (3, 24)]
    if watermark is not None:
        moved.append(Arrival(_nobody(START), START // 1000 + watermark))
    played = play(harness, plan, [*early, *moved, late], cut=cut, restored={len(early) + 2: None})
    assert played.answer.verdicts == ("ON_TIME",) * 5 + ("TOO_LATE",)
    assert newest_rows(plan, played.answer)["u", START + 5 * SECOND]["user_count_30m"] == 5


def test_a_longer_lateness_counts_from_when_it_can_be_kept(harness: KernelHarness) -> None:
    """What the shorter one has dropped is no proof that nothing happened."""
    source = replace(CLICKS, allowed_lateness="1m", event_id=None)
    plan = build_plan(replace(LONG, source=source, features=LONG.features[:1]))

    def click(minutes: int, watermark: int | None = None) -> Arrival:
        at = START + minutes * MINUTE
        row = {"user_id": "u", "ts": from_micros(at), "amount": 1.0, "n": 0, "word": "", "id": minutes}
        return Arrival(row, None if watermark is None else (START + watermark * MINUTE) // 1000)

    before = [click(0, 60), click(70, 120)]
    after = [click(110), click(118), click(119), click(120, 180), click(121), click(119), click(118)]
    played = play(harness, plan, [*before, *after], restored={2: "2h"})
    late, fine = "TOO_LATE", "ON_TIME"
    assert played.answer.verdicts == (fine, fine, late, late, fine, fine, "CORRECTION", "CORRECTION", late)


def _nobody(at: int) -> Row:
    return {"user_id": None, "ts": from_micros(at), "amount": None, "n": None, "word": None, "id": None}


CLICKS = StreamSource(
    "clicks",
    topic="clicks",
    schema={"user_id": STRING, "ts": TIMESTAMP, "amount": FLOAT, "n": INT, "word": STRING, "id": INT},
    event_timestamp="ts",
    event_id="id",
)
LONG = FeatureGroup(
    "user_clicks",
    entity=Entity("user", join_key="user_id"),
    source=CLICKS,
    owner="team:test",
    features=[
        Feature("user_count_30m", agg.count(), window="30m", dtype=INT),
        Feature("user_big_sum_1h", agg.sum("amount"), where="n > 2", window="1h", dtype=FLOAT),
        Feature("user_words_30m", agg.count_distinct("word"), window="30m", dtype=INT),
        Feature("user_session_count", agg.count(), window="session(1m)", dtype=INT),
        Feature("user_long_session_first", agg.first("n"), window="session(15m)", dtype=INT),
        Feature("user_stddev_all_time", agg.stddev("amount"), window="all_time", dtype=FLOAT),
    ],
)
SESSIONS = replace(
    LONG,
    source=replace(CLICKS, allowed_lateness="1m"),
    features=[
        Feature("user_session_count", agg.count(), window="session(5s)", dtype=INT),
        Feature("user_odd_session_sum", agg.sum("n"), where="n % 2 = 1", window="session(30s)", dtype=INT),
        Feature("user_long_session_first", agg.first("amount"), window="session(30s)", dtype=FLOAT),
        Feature("user_long_session_words", agg.last_n("word", 3), window="session(30s)", dtype=LIST(STRING)),
    ],
)
MIXED = replace(
    SESSIONS, features=[*SESSIONS.features, Feature("user_count_10m", agg.count(), window="10m", dtype=INT)]
)


@dataclass(frozen=True)
class Rhythm:
    """How one user's clicks follow each other: distances, rare pauses between two lengths, and how late they are."""

    distances: tuple[int, ...]
    pause: tuple[int, int]
    often: float
    late: int


SLOW = Rhythm((SECOND // 10, SECOND, 20 * SECOND, 59 * SECOND, 4 * MINUTE), (14 * MINUTE, HOUR), 0.02, 11 * MINUTE)
QUICK = Rhythm((SECOND // 10, SECOND, SECOND, 2 * SECOND, 4 * SECOND), (5 * SECOND, 40 * SECOND), 0.01, 66 * SECOND)


def long_stream(rhythm: Rhythm, seed: int, count: int) -> list[Arrival]:
    """Many clicks of one user, one of four late, one of six delivered again."""
    pick = random.Random(seed)
    at, rows = START, []
    for i in range(count):
        at += pick.randrange(pick.choice(rhythm.distances))
        at += pick.randrange(*rhythm.pause) if pick.random() < rhythm.often else 0
        row = {"user_id": "u", "ts": from_micros(at), "amount": pick.gauss(5, 2), "n": i % 5, "id": i}
        rows.append(row | {"word": pick.choice("abcdefghij")})
    delays = [pick.choice([0, 0, 0, pick.randrange(rhythm.late)]) for _ in rows]
    order = [(to_micros(row["ts"]) + delay, i, row) for i, (row, delay) in enumerate(zip(rows, delays, strict=True))]
    order += [(when + pick.randrange(rhythm.late), i + count, row) for when, i, row in order if pick.random() < 1 / 6]
    latest, arriving = -(2**62), []
    for _, _, row in sorted(order, key=lambda one: one[:2]):
        latest = max(latest, to_micros(row["ts"]))
        arriving.append(Arrival(row, (latest - SECOND // 2) // 1000 if pick.random() < 0.7 else None))
    return arriving


@pytest.mark.parametrize(
    ("group", "rhythm", "seed"),
    [
        (LONG, SLOW, 1),
        (LONG, SLOW, 2),
        (SESSIONS, QUICK, 3),
        (SESSIONS, QUICK, 4),
        (MIXED, QUICK, 5),
        (MIXED, QUICK, 6),
    ],
)
def test_long_histories(harness: KernelHarness, group: FeatureGroup, rhythm: Rhythm, seed: int) -> None:
    """Hundreds of tiles in many blocks, that windows and sessions hold in part."""
    plan = build_plan(group)
    played = play(harness, plan, long_stream(rhythm, seed, 600))
    assert played.late > 5
    verdicts = played.answer.verdicts
    assert verdicts.count("COPY") > 50
    assert verdicts.count("CORRECTION") > 50
    found = newest_rows(plan, played.answer)
    assert {at for _, at in found} == _points(plan, played.counted)
    for at in random.Random(seed).sample(sorted(at for _, at in found), 120):
        wanted = expected_rows(plan, played.counted, Span(at - plan.slide, at, first=True))
        assert_same({("u", at): found["u", at]}, wanted)


def _points(plan: GroupPlan, rows: Sequence[Row]) -> set[int]:
    """Where an event enters or leaves, by the definition of change points."""
    points = set()
    for row in rows:
        enters = on_grid(to_micros(row["ts"]), plan) + plan.slide
        for aggregate in _aggregates(plan):
            if aggregate.where is None or evaluate(aggregate.where, row) is True:
                points |= {enters} if aggregate.window is None else {enters, enters + aggregate.window}
    return points


def test_many_copies(harness: KernelHarness) -> None:
    plan = build_plan(replace(LONG, features=LONG.features[:1]))
    rows = [{"user_id": "u", "ts": from_micros(START + i * SECOND // 9), "amount": 1.0, "n": 0, "word": "", "id": i}
            for i in range(400)]  # fmt: skip
    again = random.Random(3).sample(rows * 3, 1200)
    played = play(harness, plan, [Arrival(row, START // 1000 + i * 35) for i, row in enumerate(again)])
    assert played.late == 0
    assert played.answer.verdicts.count("COPY") == 800
    assert newest_rows(plan, played.answer)["u", START + 45 * SECOND]["user_count_30m"] == 400
    assert played.answer.entities_left == 0


def test_an_event_costs_the_same_however_long_the_history_is(harness: KernelHarness) -> None:
    features = [f for f in LONG.features if f.name in ("user_count_30m", "user_stddev_all_time")]
    plan = build_plan(replace(LONG, features=features, source=replace(CLICKS, event_id=None)))
    costs = []
    for count in (200, 1600):
        rows = [{"user_id": "u", "ts": from_micros(START + i * SECOND), "amount": 1.0, "id": i} for i in range(count)]
        arriving = [Arrival(row | {"n": 1, "word": ""}, (START + i * SECOND) // 1000) for i, row in enumerate(rows)]
        costs.append(play(harness, plan, arriving).answer.state_accesses / count)
    # reads and writes of state per event with its two rows; a block of 64 tiles is read where the window ends
    assert costs[0] < 8
    assert costs[1] < 35


HOT = replace(
    LONG,
    source=replace(CLICKS, event_id=None, allowed_lateness="1m"),
    features=[
        Feature("user_words_2s", agg.count_distinct("word"), window="2s", dtype=INT),
        Feature("user_words_set_3s", agg.collect_set("word"), where="n > 1", window="3s", dtype=LIST(STRING)),
        Feature("user_amount_median_4s", agg.percentile("amount", 0.5), window="4s", dtype=FLOAT),
        Feature("user_words_top_all_time", agg.top_k("word", 5, by="n"), window="all_time", dtype=LIST(STRING)),
        Feature("user_words_all_time", agg.count_distinct("word"), window="all_time", dtype=INT),
        Feature("user_session_words", agg.count_distinct("word"), window="session(1s)", dtype=INT),
        Feature("user_odd_session_n_sum", agg.sum("n"), where="n % 2 = 1", window="session(2s)", dtype=INT),
    ],
)


@pytest.mark.parametrize("late", [SECOND // 3, 40 * SECOND], ids=["nearly in order", "in any order"])
def test_a_hot_key(harness: KernelHarness, late: int) -> None:
    """Hundreds of events in each second, in the order of time or not: tiles of many pieces, in many chunks."""
    plan, pick = build_plan(HOT), random.Random(5)
    rows = [{"user_id": "u", "ts": from_micros(START + pick.randrange(8) * 3 * SECOND + pick.randrange(2 * SECOND)),
             "amount": pick.gauss(5, 2), "n": i % 5, "word": f"word {pick.randrange(900):050d}", "id": i}
            for i in range(5000)]  # fmt: skip
    rows.sort(key=lambda row: to_micros(row["ts"]) + pick.randrange(late))
    newest = itertools.accumulate((to_micros(row["ts"]) for row in rows), max)
    arriving = [Arrival(row, (latest - late) // 1000 - 1) for row, latest in zip(rows, newest, strict=True)]
    played = play(harness, plan, arriving, restored={1000: None, 2500: None})
    assert played.late == 0
    found = newest_rows(plan, played.answer)
    assert {at for _, at in found} == _points(plan, rows)
    for at in sorted(at for _, at in found):
        assert_same({("u", at): found["u", at]}, expected_rows(plan, rows, Span(at - plan.slide, at, first=True)))


def test_an_event_costs_the_same_however_large_its_tile_is(harness: KernelHarness) -> None:
    """Bytes of state that are read and written for an event, of those in one second with different words."""
    plan = build_plan(replace(HOT, features=HOT.features[:5]))
    costs = []
    for count in (4000, 16_000):
        steps = [
            {"event": {"key": "u", "at": START + i, "passes": [True], "values": [1.0, 2, f"word {i:050d}"]}}
            for i in range(count)
        ]
        costs.append(harness.run(kernel_spec(plan), steps).state_bytes / count)
    assert costs[1] < 1.2 * costs[0]


@pytest.mark.parametrize("order", list(itertools.permutations(["\uffff", "\U0001f600", "a", "a"]))[::3])
def test_of_simultaneous_events_the_value_decides_by_its_utf8_bytes(
    harness: KernelHarness, order: tuple[str, ...]
) -> None:
    """As UTF-16, which Java compares by, U+1F600 would be before U+FFFF."""
    wanted = {
        "user_x_last": (agg.last("word"), "\U0001f600"),
        "user_x_first": (agg.first("word"), "a"),
        "user_x_last_n": (agg.last_n("word", 3), ["\U0001f600", "\uffff", "a"]),
        "user_x_first_n": (agg.first_n("word", 3), ["a", "a", "\uffff"]),
        "user_x_min": (agg.min("word"), "a"),
        "user_x_max": (agg.max("word"), "\U0001f600"),
        "user_x_top_k": (agg.top_k("word", 2), ["a", "\uffff"]),
    }
    features = [
        Feature(f"{name}_30m", function, window="30m", dtype=LIST(STRING) if isinstance(value, list) else STRING)
        for name, (function, value) in wanted.items()
    ]
    plan = build_plan(replace(LONG, source=replace(CLICKS, event_id=None), features=features))
    steps = [
        {"event": {"key": "u", "at": START, "passes": [], "values": [word] * 9}, "watermark": START // 1000 - 1}
        for word in order
    ]
    answer = harness.run(kernel_spec(plan), steps)
    assert answer.rows[0][1:3] == (START + SECOND, 4_000_000)
    assert newest_rows(plan, answer)["u", START + SECOND] == {f"{n}_30m": value for n, (_, value) in wanted.items()}


def test_more_values_than_hashes_are_kept_are_estimated_alike(harness: KernelHarness) -> None:
    features = [Feature("user_words_1h", agg.approx_count_distinct("word"), window="1h", dtype=INT)]
    plan = build_plan(replace(LONG, features=features))
    rows = [{"user_id": "u", "ts": from_micros(START + i * SECOND), "amount": 1.0, "n": 0, "word": f"é{i}", "id": i}
            for i in range(2500)]  # fmt: skip
    found = newest_rows(plan, play(harness, plan, [Arrival(row) for row in rows]).answer)
    for at in (START + 900 * SECOND, START + 1024 * SECOND, START + 2500 * SECOND, START + 5000 * SECOND):
        wanted = expected_rows(plan, rows, Span(at - plan.slide, at, first=True))
        assert_same({("u", at): found["u", at]}, wanted)


def test_an_entity_of_old_has_a_row_where_history_begins(harness: KernelHarness) -> None:
    """Its last event is long before all that is kept as tiles."""
    features = [LONG.features[0], LONG.features[5]]
    plan = build_plan(replace(LONG, features=features))
    rows = [{"user_id": "u", "ts": from_micros(START + i), "amount": float(i), "n": 0, "word": "", "id": i}
            for i in range(3)]  # fmt: skip
    cut = START + 5 * HOUR
    for first, wanted in ((True, [(cut + SECOND, (0, 1.0))]), (False, [])):
        played = play(harness, plan, [Arrival(row) for row in rows], cut=cut, first=first)
        assert [(at, values) for _, at, _, values in played.answer.rows] == wanted


def test_what_has_left_all_windows_leaves_no_state_and_may_come_back(harness: KernelHarness) -> None:
    plan = build_plan(replace(LONG, features=[LONG.features[0], LONG.features[3]]))

    def event(seconds: int) -> dict[str, Any]:
        return {"key": "u", "at": START + seconds * SECOND, "id": str(seconds), "passes": [], "values": [1.0] * 9}

    gone = (START + 3600 * SECOND) // 1000
    spec = kernel_spec(plan)
    answer = harness.run(spec, [{"event": event(0)}, {"watermark": gone}, {"event": event(7200)}])
    counts = [(at - START) // SECOND for _, at, _, _ in answer.rows]
    assert counts == [1, 61, 1801, 7201, 7261, 9001]
    assert [values[0] for *_, values in answer.rows] == [1, 1, 0, 1, 1, 0]
    assert [values[1] for *_, values in answer.rows] == [1, 0, 0, 1, 0, 0]
    assert answer.entities_left == 0


def test_only_a_final_sum_overflows_and_is_null(harness: KernelHarness) -> None:
    features = [Feature("user_total_2s", agg.sum("n"), window="2s", dtype=INT)]
    plan = build_plan(replace(LONG, features=features))
    for seconds in (0, 1):  # within a tile, and when tiles are merged
        moments = [START + i * SECOND // 4 + seconds * i * SECOND for i in range(3)]
        amounts = [2**63 - 1, 2**63 - 1, -(2**63)]
        rows = [{"user_id": "u", "ts": from_micros(at), "n": n} for at, n in zip(moments, amounts, strict=True)]
        arriving = [Arrival(row, to_micros(row["ts"]) // 1000) for row in rows]
        played = play(harness, plan, arriving, restored={1: None, 2: None})
        wanted = expected_rows(plan, rows, span_of(plan, rows))
        assert_same(newest_rows(plan, played.answer), wanted)
        totals = [row["user_total_2s"] for row in wanted.values()]
        assert totals == [2**63 - 2, 0] if seconds == 0 else totals == [2**63 - 1, None, -1, -(2**63), 0]


def test_rows_say_that_they_were_corrected(harness: KernelHarness) -> None:
    plan = build_plan(replace(LONG, features=LONG.features[:1]))
    rows = [{"user_id": "u", "ts": from_micros(START + i * SECOND), "amount": 1.0, "n": 0, "word": "", "id": i}
            for i in (0, 9, 2)]  # fmt: skip
    played = play(harness, plan, [Arrival(rows[0]), Arrival(rows[1], (START + 12 * SECOND) // 1000), Arrival(rows[2])])
    assert played.answer.verdicts == ("ON_TIME", "ON_TIME", "CORRECTION")
    steps = [((at - START) // SECOND, values[0]) for _, at, _, values in played.answer.rows]
    assert steps == [(1, 1), (10, 2), (3, 2), (10, 3), (1801, 2), (1803, 1), (1810, 0)]


def _aggregates(plan: GroupPlan) -> Sequence[Any]:
    assert isinstance(plan.rows, WindowedRows)
    return plan.rows.aggregates
