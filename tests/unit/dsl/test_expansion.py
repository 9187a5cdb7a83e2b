"""One declaration, several features."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from feature_store import (
    INT,
    STRING,
    TIMESTAMP,
    BatchSource,
    Entity,
    Feature,
    FeatureGroup,
    agg,
    bucketed,
    one_hot,
    session,
    windowed,
)

USER = Entity("user", join_key="user_id")
SCHEMA = {"user_id": STRING, "ts": TIMESTAMP, "kind": STRING, "size": INT}
EVENTS = BatchSource("events", table="raw.events", event_timestamp="ts", schema=SCHEMA)
COUNT = Feature("user_{value}_count_7d", agg.count(), window="7d", dtype=INT, default=0)


def test_each_value_has_its_feature() -> None:
    group = FeatureGroup(
        "user_kinds", entity=USER, source=EVENTS, owner="team:test",
        features=[
            *bucketed(COUNT, by="kind", values=["it's", "New Hat"]),
            *bucketed(Feature("user_large_{value}_sum_7d", agg.sum("size"), window="7d", dtype=INT,
                              where="size > 5 OR kind IS NULL"), by="size", values=[6, 7]),
            Feature("user_last_kind_7d", agg.last("kind"), window="7d", dtype=STRING),
        ],
        derived=one_hot("user_last_kind_7d", ["it's", "New Hat"]),
    )  # fmt: skip
    kinds = [("it's", 6), ("New Hat", 6), ("New Hat", 7), (None, 7), ("other", 1), ("it's", None)]
    rows = [
        {"user_id": "u", "ts": datetime(2026, 1, day, tzinfo=UTC), "kind": kind, "size": size}
        for day, (kind, size) in enumerate(kinds, 1)
    ]
    assert group.run(rows, as_of="2026-01-07") == [
        {
            "user_id": "u",
            "user_it_s_count_7d": 2,
            "user_new_hat_count_7d": 2,
            "user_large_6_sum_7d": 12,
            "user_large_7_sum_7d": 14,
            "user_last_kind_7d": "it's",
            "user_last_kind_7d_is_it_s": 1,
            "user_last_kind_7d_is_new_hat": 0,
        }
    ]


@pytest.mark.parametrize("values", [["a", "A"], ["?"], ["a b", "a-b"]])
def test_names_are_different(values: list[str]) -> None:
    with pytest.raises(ValueError, match="gives no name of its own"):
        bucketed(COUNT, by="kind", values=values)
    with pytest.raises(ValueError, match="gives no name of its own"):
        one_hot("user_last_kind_7d", values)


def test_the_name_says_where_the_value_goes() -> None:
    with pytest.raises(ValueError, match=r"write \{value\} in it"):
        bucketed(Feature("user_count_7d", agg.count(), window="7d", dtype=INT), by="kind", values=["a"])


def test_each_window_has_its_feature_and_categories_have_theirs() -> None:
    count = Feature("user_{value}_count_{window}", agg.count(), dtype=INT, where="size > 1")
    features = [
        each for one in windowed(count, ["2d", "all_time", session("1d")]) for each in bucketed(one, "kind", ["a"])
    ]
    assert [(feature.name, str(feature.window)) for feature in features] == [
        ("user_a_count_2d", "2d"),
        ("user_a_count_all_time", "all_time"),
        ("user_a_count_session", "session(1d)"),
    ]
    group = FeatureGroup("user_a", entity=USER, source=EVENTS, owner="team:test", features=features)
    rows = [
        {"user_id": "u", "ts": datetime(2026, 1, day, tzinfo=UTC), "kind": "a", "size": day} for day in (1, 2, 4, 5)
    ]
    (found,) = group.run(rows, as_of="2026-01-06")
    assert list(found.values())[1:] == [2, 3, 2]


@pytest.mark.parametrize(
    ("feature", "windows", "message"),
    [
        (Feature("user_count_7d", agg.count(), dtype=INT), ["7d"], "needs {window} in its name"),
        (Feature("user_count_{window}", agg.count(), window="7d", dtype=INT), ["7d"], "and no window of its own"),
        (Feature("user_count_{window}", agg.count(), dtype=INT), ["7d", "1w"], "give the name 'user_count_7d'"),
        (Feature("user_count_{window}", agg.count(), dtype=INT), ["a while"], "a while"),
    ],
)
def test_windows_that_give_no_features(feature: Feature, windows: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        windowed(feature, windows)
