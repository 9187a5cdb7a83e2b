"""Random groups and events for the comparison of engines: ties, NULLs, boundary instants, bursts, gaps, re-entry."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from feature_store import (
    BOOL,
    FLOAT,
    INT,
    STRING,
    TIMESTAMP,
    BatchSource,
    Entity,
    Feature,
    FeatureGroup,
    StreamSource,
    agg,
)
from feature_store.compile.reference_events import Row
from feature_store.compile.window_kernel import SLID_FUNCTIONS
from feature_store.dsl.aggregation import Aggregation
from feature_store.dtypes import LIST, DType, from_micros, to_micros
from feature_store.duration import DAY, HOUR, SECOND

USER = Entity("user", join_key="user_id")
USER_WORD = Entity("user", join_key=("user_id", "word"))
USER_N_WORD = Entity("user", join_key=("user_id", "n", "word"), dtype=(STRING, INT, STRING))
SCHEMA = {"user_id": STRING, "ts": TIMESTAMP, "amount": FLOAT, "n": INT, "big": INT, "word": STRING, "ok": BOOL,
          "id": INT}  # fmt: skip
START = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z

_AGGREGATIONS: list[tuple[Aggregation, DType]] = [
    (agg.count(), INT),
    (agg.count("amount"), INT),
    (agg.count("word"), INT),
    (agg.sum("amount"), FLOAT),
    (agg.sum("n"), INT),
    (agg.sum("doubled"), INT),
    (agg.sum("big"), INT),
    (agg.sum("large"), INT),
    (agg.mean("amount"), FLOAT),
    (agg.mean("n"), FLOAT),
    (agg.mean("ratio"), FLOAT),
    (agg.min("amount"), FLOAT),
    (agg.max("n"), INT),
    (agg.min("word"), STRING),
    (agg.max("word"), STRING),
    (agg.max("ts"), TIMESTAMP),
    (agg.count_distinct("word"), INT),
    (agg.count_distinct("amount"), INT),
    (agg.last("word"), STRING),
    (agg.last("amount"), FLOAT),
    (agg.first("word"), STRING),
    (agg.first("amount"), FLOAT),
    (agg.first("ok"), BOOL),
    (agg.first_n("word", 3), LIST(STRING)),
    (agg.first_n("amount", 2), LIST(FLOAT)),
    (agg.last_n("word", 3), LIST(STRING)),
    (agg.last_n("ok", 2), LIST(BOOL)),
    (agg.last_n("ts", 1000), LIST(TIMESTAMP)),
    (agg.stddev("amount"), FLOAT),
    (agg.stddev("n"), FLOAT),
    (agg.stddev("bucket"), FLOAT),
    (agg.variance("amount"), FLOAT),
    (agg.variance("n"), FLOAT),
    (agg.percentile("amount", 0.5), FLOAT),
    (agg.percentile("n", 0.95), FLOAT),
    (agg.percentile("amount", 1), FLOAT),
    (agg.approx_count_distinct("word"), INT),
    (agg.approx_count_distinct("n"), INT),
    (agg.collect_set("word"), LIST(STRING)),
    (agg.collect_set("amount"), LIST(FLOAT)),
    (agg.collect_set("ok"), LIST(BOOL)),
    (agg.collect_set("ts"), LIST(TIMESTAMP)),
    (agg.top_k("word", 2), LIST(STRING)),
    (agg.top_k("word", 3, by="n"), LIST(STRING)),
    (agg.top_k("n", 2), LIST(INT)),
    (agg.top_k("word", 2, by="big"), LIST(STRING)),
]
_COLUMNS = {
    "doubled": "n * 2",
    "large": "CASE WHEN n = 2 THEN big * n ELSE big END",
    "ratio": "amount / n",
    "bucket": "hash_bucket(word, 1000)",
}
_GRIDS = [
    ("1d", ["1d", "3d", "7d", "all_time", "session(1d)", "session(2d)"]),
    ("1h", ["1h", "5h", "1d", "all_time", "session(1h)", "session(5h)"]),
    ("6h", ["6h", "1d", "2d", "session(6h)", "session(1d)"]),
]
_QUICK_GRIDS = [
    ("1s", ["1s", "7s", "1m", "all_time", "session(1s)", "session(3s)", "session(7s)"]),
    ("2s", ["2s", "8s", "session(2s)", "session(4s)", "all_time"]),
]
_CONDITIONS = [
    None,
    "n > 0",
    "word = 'a' or ok",
    "not ok",
    "amount is not null and amount <= 2",
    "ratio > 1.5",
    "word in ('é', 'b') or n % 2 = 1",
    "coalesce(amount, 1) * 2 >= n",
    "hash_bucket(word, 3) = 1",
    "ts >= TIMESTAMP '2026-01-02T00:00:00Z'",
    "coalesce(n, big - 2) < 1 or ok",
]


_WHERES = [None, None, "word <> 'b' or word is null", "n is null or n < 3", "big is null or big + n < 5"]


def named(window: str) -> str:
    """What a feature's name ends with for a window."""
    return "session" if window.startswith("session") else window


@st.composite
def groups(draw: st.DrawFn) -> FeatureGroup:
    """A windowed group with up to six features over a few windows."""
    slide, windows = draw(st.sampled_from(_GRIDS))
    copies = draw(st.sampled_from([{}, {"event_id": "id"}, {"event_id": "id", "deduplicate_within": "5h"}]))
    source = BatchSource("events", table="raw.events", event_timestamp="ts", schema=SCHEMA, **copies)
    emit = draw(st.sampled_from(["changes", "changes", "changes", "snapshot"]))
    entity = draw(st.sampled_from([USER, USER, USER_WORD, USER_N_WORD]))
    return _group(draw, source, slide, windows, emit, entity)


@st.composite
def streaming_groups(draw: st.DrawFn) -> FeatureGroup:
    """Like `groups`, over a stream, by the second."""
    slide, windows = draw(st.sampled_from(_QUICK_GRIDS))
    copies = draw(st.sampled_from([{}, {"event_id": "id"}, {"event_id": "id", "deduplicate_within": "5s"}]))
    source = StreamSource("events", topic="events", event_timestamp="ts", schema=SCHEMA, **copies)
    return _group(draw, source, slide, windows, "changes")


@st.composite
def slid_groups(draw: st.DrawFn) -> FeatureGroup:
    """Like `groups`, of what the window kernel can compute."""
    slide, windows = draw(st.sampled_from(_GRIDS))
    copies = draw(st.sampled_from([{}, {"event_id": "id", "deduplicate_within": "5h"}]))
    source = BatchSource("events", table="raw.events", event_timestamp="ts", schema=SCHEMA, **copies)
    emit = draw(st.sampled_from(["changes", "changes", "changes", "snapshot"]))
    entity = draw(st.sampled_from([USER, USER_N_WORD]))
    aggregations = [(function, dtype) for function, dtype in _AGGREGATIONS if function.function in SLID_FUNCTIONS]
    lasting = [window for window in windows if not window.startswith("session")]
    return _group(draw, source, slide, lasting, emit, entity, aggregations)


@st.composite
def groups_of_the_same_tiles(draw: st.DrawFn) -> list[FeatureGroup]:
    """Two or three groups like those of `groups`, over the same rows by the same keys and slide."""
    slide, windows = draw(st.sampled_from(_GRIDS))
    copies = draw(st.sampled_from([{}, {"deduplicate_within": "5h"}]))
    source = BatchSource("events", table="raw.events", event_timestamp="ts", schema=SCHEMA, event_id="id", **copies)
    entity, emits = draw(st.sampled_from([USER, USER_N_WORD])), st.sampled_from(["changes", "changes", "snapshot"])
    several = [_group(draw, source, slide, windows, draw(emits), entity) for _ in range(draw(st.integers(2, 3)))]
    return [replace(group, name=f"user_random_{n}", where=several[0].where) for n, group in enumerate(several)]


def session_group(gaps: list[str]) -> FeatureGroup:
    """Sessions of several gaps over all events and over some of them, beside a window, by the second."""
    features = []
    for gap in gaps:
        for i, condition in enumerate([None, "ok", "n > 0 or n is null"]):
            shared = {"window": f"session({gap})", "where": condition, "rename_ok": "short"}
            features.append(Feature(f"user_session_count_{gap}_{i}", agg.count(), dtype=INT, **shared))
            words = agg.last_n("word", 100)
            features.append(Feature(f"user_session_words_{gap}_{i}", words, dtype=LIST(STRING), **shared))
    features.append(Feature("user_count_2s", agg.count(), window="2s", dtype=INT))
    source = StreamSource("events", topic="events", event_timestamp="ts", schema=SCHEMA)
    return FeatureGroup("user_sessions", entity=USER, source=source, owner="team:test", features=features)


def group_of_everything(shift: int) -> FeatureGroup:
    """Every aggregation, each over one of a few windows and conditions, by the second; `shift` says which."""
    windows, conditions = ["7s", "session(3s)", "all_time", "2s"], [None, "ok", None, "n > 0 or n is null", None]
    features = []
    for i, (function, dtype) in enumerate(_AGGREGATIONS):
        window, condition = windows[(i + shift) % len(windows)], conditions[(i + shift) % len(conditions)]
        name = f"user_x{i}_{named(window)}"
        features.append(Feature(name, function, window=window, dtype=dtype, where=condition))
    return FeatureGroup(
        "user_everything",
        entity=USER,
        source=StreamSource("events", topic="events", event_timestamp="ts", schema=SCHEMA),
        owner="team:test",
        columns=_COLUMNS,
        features=features,
    )


SQL_WORDS = [
    "all", "and", "as", "asc", "at", "between", "by", "case", "cast", "column", "cross", "current_date", "date",
    "day", "desc", "distinct", "else", "end", "exists", "false", "filter", "first", "for", "from", "full",
    "function", "group", "having", "hour", "if", "in", "index", "inner", "interval", "into", "is", "join", "key",
    "last", "left", "like", "limit", "map", "natural", "no", "not", "null", "of", "on", "or", "order", "outer",
    "over", "partition", "range", "row", "rows", "select", "session", "set", "some", "table", "then", "time",
    "timestamp", "to", "true", "union", "unique", "user", "using", "value", "values", "when", "where", "window",
    "with", "year",
]  # fmt: skip


def group_of_sql_words() -> FeatureGroup:
    """Every column and feature, the source and the join key are words that SQL has a use for."""
    schema = {"primary": STRING, "ts": TIMESTAMP, **dict.fromkeys(SQL_WORDS, INT)}
    features = [
        Feature(word, agg.sum(word), window="1d", dtype=INT, where=f'"{word}" > 0', rename_ok="a word of SQL")
        for word in SQL_WORDS
    ]
    computed = {"analyze": _sum_of(SQL_WORDS)}
    total = Feature("returning", agg.sum("analyze"), window="1d", dtype=INT, rename_ok="a word of SQL")
    return FeatureGroup(
        "user_words",
        entity=Entity("user", join_key="primary"),
        source=BatchSource("table", table="raw.words", event_timestamp="ts", schema=schema),
        owner="team:test",
        columns=computed,
        features=[*features, total],
        derived={"user_select": _sum_of(SQL_WORDS)},
    )


def _sum_of(words: list[str]) -> str:
    """Added up in pairs: that each sum fits is asked of all of them."""
    if len(words) == 1:
        return f'"{words[0]}"'
    half = len(words) // 2
    return f"({_sum_of(words[:half])} + {_sum_of(words[half:])})"


def _group(
    draw: st.DrawFn,
    source: BatchSource | StreamSource,
    slide: str,
    windows: list[str],
    emit: str,
    entity: Entity = USER,
    aggregations: list[tuple[Aggregation, DType]] = _AGGREGATIONS,
) -> FeatureGroup:
    one = st.tuples(st.sampled_from(aggregations), st.sampled_from(windows), st.sampled_from(_CONDITIONS))
    chosen = draw(st.lists(one, min_size=1, max_size=6))
    features = [
        Feature(f"user_x{i}_{named(window)}", function, window=window, dtype=dtype, where=condition)
        for i, ((function, dtype), window, condition) in enumerate(chosen)
    ]
    numeric = [f.name for f in features if f.dtype in (INT, FLOAT)]
    derived = {"user_ratio": f"{numeric[0]} / nullif({numeric[-1]} - 1, 0)"} if numeric else {}
    return FeatureGroup(
        "user_random",
        entity=entity,
        source=source,
        owner="team:test",
        columns=_COLUMNS,
        where=draw(st.sampled_from(_WHERES)),
        features=features,
        derived=derived,
        slide=slide,
        emit=emit,  # type: ignore[arg-type]
    )


def _instants(long: int, short: int) -> st.SearchStrategy[int]:
    """Instants around START, many of them at or beside a whole number of one of two units."""
    edges = st.sampled_from([-1, 0, 1])
    return st.one_of(
        st.builds(lambda steps, edge: START + steps * long + edge, st.integers(-9, 9), edges),
        st.builds(lambda steps, edge: START + steps * short + edge, st.integers(-30, 30), edges),
        st.integers(START - 9 * long, START + 9 * long),
    )


_VALUES: dict[str, list[Any]] = {
    "amount": [None, 0.0, -0.0, 1.5, -2.25, 0.1, 1e12, 3.0, float("nan"), float("inf")],
    "n": [None, 0, 1, 2, 3, -4],
    "big": [None, 1, -1, 2**62, 2**63 - 1, -(2**63), 2**63 - 2**32, -(2**62) - 2**31],
    "word": [None, "a", "b", "é", "", "\U0001f600", "\uffff"],
    "ok": [None, True, False],
}


@st.composite
def _chained(draw: st.DrawFn, long: int, short: int, length: int) -> list[int]:
    """Instants that follow each other at distances around the gaps of sessions."""
    steps = st.sampled_from([0, 1, short // 2, long // 3])
    gaps = st.builds(lambda times, edge: times * short + edge, st.integers(1, 7), st.sampled_from([-1, 0, 1]))
    begin = draw(st.sampled_from([START - long, START, START + short // 2 - 1]))
    distances = draw(st.lists(st.one_of(gaps, gaps, steps), min_size=length, max_size=length))
    return [begin + sum(distances[: i + 1]) for i in range(length)]


@st.composite
def events(draw: st.DrawFn, long: int = DAY, short: int = HOUR, far: int = 7 * DAY) -> list[Row]:
    """Up to 25 events of a few users around START, and copies.

    `long` and `short` are the units of their times (microseconds), `far` is the greatest distance of a copy.
    """
    rows = draw(st.lists(st.fixed_dictionaries({
        "user_id": st.sampled_from(["u1", "u1", "u2", "ü", None]),
        "ts": _instants(long, short).map(from_micros),
        **{name: st.sampled_from(some) for name, some in _VALUES.items()},
    }), max_size=25))  # fmt: skip
    if draw(st.booleans()):
        for row, at in zip(rows, draw(_chained(long, short, len(rows))), strict=True):
            row["ts"] = from_micros(at)
    for i, row in enumerate(rows):
        row["id"] = i if i % 7 else None
    copied = draw(st.lists(st.sampled_from(rows), max_size=8)) if rows else []
    return rows + [draw(copies(row, short, far)) for row in copied]


@st.composite
def copies(draw: st.DrawFn, row: Row, short: int, far: int) -> Row:
    """An event again: at its time or later by about five units or `far`, as it was or with other values."""
    later = draw(st.sampled_from([0, 0, 0, 2 * short, 5 * short, far]))
    later += draw(st.sampled_from([-1, 0, 1])) if later else 0
    changed = draw(st.sampled_from([[], [], *[[name] for name in _VALUES], list(_VALUES)]))
    values = {name: draw(st.sampled_from(_VALUES[name])) for name in changed}
    return row | {"ts": from_micros(to_micros(row["ts"]) + later), **values}


def chained_events(seed: int, begin: int = START, unit: int = SECOND, length: int = 30) -> list[Row]:
    """Events of two users, `length` each, that follow each other at distances around one and three units."""
    choose = random.Random(seed)  # hypothesis would draw few and small ones
    rows: list[Row] = []
    for user in ("u1", "u2"):
        at = begin + choose.choice([-1, 0, 1, unit // 2])
        for _ in range(length):
            values: Row = {name: choose.choice(some) for name, some in _VALUES.items()}
            rows.append({"user_id": user, "ts": from_micros(at), **values, "id": None})
            at += choose.choice([unit, 3 * unit, unit, 3 * unit, 2 * unit, 0, 7 * unit])
            at += choose.choice([-1, 0, 0, 0, 1]) if at % unit == 0 or choose.random() < 0.5 else 0
    choose.shuffle(rows)
    return rows


def sets_of_events(seed: int, count: int, begin: int = START - 3 * DAY, unit: int = 3 * HOUR) -> list[Row]:
    """Sets of events, some delivered twice, each of users of its own, so that one job computes all; a week of them.

    With another beginning and unit they last about 60 units.
    """
    rows: list[Row] = []
    for number in range(count):
        for row in chained_events(100 * seed + number, begin, unit, length=16):
            event_id = 1000 + len(rows)  # of no event of hypothesis's
            rows.append(row | {"user_id": f"{number} {row['user_id']}", "id": event_id if event_id % 7 else None})
    choose = random.Random(seed)
    for row in rows[::5]:
        later = choose.choice([0, 0, unit, 5 * HOUR - 1, 5 * HOUR, 5 * HOUR + 1])
        changed = {name: choose.choice(_VALUES[name]) for name in choose.choice([[], ["n"], ["word", "amount"]])}
        rows.append(row | {"ts": from_micros(to_micros(row["ts"]) + later), **changed})
    return rows


def quick_events() -> st.SearchStrategy[list[Row]]:
    """Like `events`, by the second."""
    return events(long=10 * SECOND, short=SECOND, far=30 * SECOND)
