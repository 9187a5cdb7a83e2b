"""Random groups and events for the comparison of engines: ties, NULLs, boundary instants, bursts, gaps, re-entry."""

from __future__ import annotations

from hypothesis import strategies as st

from feature_store import BOOL, FLOAT, INT, STRING, TIMESTAMP, BatchSource, Entity, Feature, FeatureGroup, agg
from feature_store.compile.reference_events import Row
from feature_store.dsl.aggregation import Aggregation
from feature_store.dtypes import LIST, DType, from_micros
from feature_store.duration import DAY, HOUR

USER = Entity("user", join_key="user_id")
SCHEMA = {"user_id": STRING, "ts": TIMESTAMP, "amount": FLOAT, "n": INT, "word": STRING, "ok": BOOL, "id": INT}
START = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z

_AGGREGATIONS: list[tuple[Aggregation, DType]] = [
    (agg.count(), INT),
    (agg.count("amount"), INT),
    (agg.count("word"), INT),
    (agg.sum("amount"), FLOAT),
    (agg.sum("n"), INT),
    (agg.sum("doubled"), INT),
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
    (agg.top_k("word", 2), LIST(STRING)),
    (agg.top_k("word", 3, by="n"), LIST(STRING)),
    (agg.top_k("n", 2), LIST(INT)),
]
_GRIDS = [
    ("1d", ["1d", "3d", "7d", "all_time"]),
    ("1h", ["1h", "5h", "1d", "all_time"]),
    ("6h", ["6h", "1d", "2d"]),
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
    "ts >= TIMESTAMP '2026-01-02T00:00:00Z'",
]


@st.composite
def groups(draw: st.DrawFn) -> FeatureGroup:
    """A windowed group with up to six features over a few windows."""
    slide, windows = draw(st.sampled_from(_GRIDS))
    one = st.tuples(st.sampled_from(_AGGREGATIONS), st.sampled_from(windows), st.sampled_from(_CONDITIONS))
    chosen = draw(st.lists(one, min_size=1, max_size=6))
    features = [
        Feature(f"user_x{i}_{window}", function, window=window, dtype=dtype, where=condition)
        for i, ((function, dtype), window, condition) in enumerate(chosen)
    ]
    numeric = [f.name for f in features if f.dtype in (INT, FLOAT)]
    derived = {"user_ratio": f"{numeric[0]} / nullif({numeric[-1]} - 1, 0)"} if numeric else {}
    return FeatureGroup(
        "user_random",
        entity=USER,
        source=BatchSource(
            "events",
            table="raw.events",
            event_timestamp="ts",
            schema=SCHEMA,
            event_id=draw(st.sampled_from([None, "id"])),
        ),
        owner="team:test",
        columns={"doubled": "n * 2", "ratio": "amount / n"},
        where=draw(st.sampled_from([None, None, "word <> 'b' or word is null", "n is null or n < 3"])),
        features=features,
        derived=derived,
        slide=slide,
        emit=draw(st.sampled_from(["changes", "changes", "changes", "snapshot"])),
    )


_INSTANTS = st.one_of(
    st.builds(lambda day, edge: START + day * DAY + edge, st.integers(-9, 9), st.sampled_from([-1, 0, 1])),
    st.builds(lambda hour, edge: START + hour * HOUR + edge, st.integers(-30, 30), st.sampled_from([-1, 0, 1])),
    st.integers(START - 9 * DAY, START + 9 * DAY),
)
_FLOATS = st.sampled_from([None, 0.0, -0.0, 1.5, -2.25, 0.1, 1e12, 3.0, float("nan"), float("inf")])


@st.composite
def events(draw: st.DrawFn) -> list[Row]:
    """Up to 25 events of a few users around START."""
    rows = draw(st.lists(st.fixed_dictionaries({
        "user_id": st.sampled_from(["u1", "u1", "u2", "ü", None]),
        "ts": _INSTANTS.map(from_micros),
        "amount": _FLOATS,
        "n": st.sampled_from([None, 0, 1, 2, 3, -4]),
        "word": st.sampled_from([None, "a", "b", "é", "", "\U0001f600", "\uffff"]),
        "ok": st.sampled_from([None, True, False]),
    }), max_size=25))  # fmt: skip
    for i, row in enumerate(rows):
        row["id"] = i if i % 7 else None
    return rows + [dict(row) for row in rows[::5]]
