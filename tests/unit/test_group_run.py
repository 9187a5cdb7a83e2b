"""`FeatureGroup.run`: what serving would have, from rows in memory."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_store import (
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
    session,
)
from feature_store.compile.reference import run_reference
from feature_store.compile.span import Span
from feature_store.dtypes import to_micros
from feature_store.errors import DefinitionErrors, InputError
from feature_store.plan.build import build_plan

USER = Entity("user", join_key="user_id")
SCHEMA = {"user_id": STRING, "amount": FLOAT, "status": STRING, "order_ts": TIMESTAMP}
ORDERS = BatchSource("orders", table="raw.orders", event_timestamp="order_ts", schema=SCHEMA)
SPENT = FeatureGroup(
    "user_orders",
    entity=USER,
    source=ORDERS,
    owner="team:test",
    where="status = 'completed'",
    features=[
        Feature("user_order_count_2d", agg.count(), window="2d", dtype=INT, default=0),
        Feature("user_amount_sum_all_time", agg.sum("amount"), window="all_time", dtype=FLOAT),
        Feature("user_amount_max_2d", agg.max("amount"), window="2d", dtype=FLOAT, default=-1.0),
        Feature("user_order_count_session", agg.count(), window=session("1d"), dtype=INT),
    ],
    derived={"user_amount_share_2d": "user_amount_max_2d / user_amount_sum_all_time"},
)


def order(user: str, at: str, amount: float | None = 1.0, status: str = "completed") -> dict[str, Any]:
    return {"user_id": user, "order_ts": at, "amount": amount, "status": status}


ROWS = [
    order("u1", "2026-01-10T12:00Z", 8.0),
    order("u1", "2026-01-12T00:00+01:00", 2.0),
    order("u1", "2026-01-12T10:00Z", 5.0, "returned"),
    order("u2", "2026-01-01", None),
    order("u3", "2026-01-20", 3.0),
]


def test_values_at_an_instant() -> None:
    assert SPENT.run(ROWS, as_of="2026-01-12T18:00") == [
        {
            "user_id": "u1",
            "user_order_count_2d": 2,
            "user_amount_sum_all_time": 10.0,
            "user_amount_max_2d": 8.0,
            "user_order_count_session": 1,
            "user_amount_share_2d": 0.8,
        },
        {
            "user_id": "u2",
            "user_order_count_2d": 0,
            "user_amount_sum_all_time": 0.0,
            "user_amount_max_2d": -1.0,
            "user_order_count_session": 0,
            "user_amount_share_2d": None,
        },
    ], "of 12 January 00:00: the grid is of days; u2's windows are empty, u3 is not there yet"


def test_an_instant_may_be_a_datetime_and_rows_may_come_by_name() -> None:
    noon = datetime(2026, 1, 21, tzinfo=UTC)
    found = SPENT.run({"orders": ROWS}, as_of=noon)
    assert [row["user_id"] for row in found] == ["u1", "u2", "u3"]
    assert SPENT.run([], as_of=noon) == []


def test_a_stream() -> None:
    clicks = StreamSource("clicks", topic="clicks", schema={"user_id": STRING, "ts": TIMESTAMP}, event_timestamp="ts")
    group = FeatureGroup(
        "user_clicks",
        entity=USER,
        source=clicks,
        owner="team:test",
        features=[Feature("user_click_count_30m", agg.count(), window="30m", dtype=INT)],
    )
    rows = [{"user_id": "u1", "ts": "2026-01-10T12:00:00.5"}, {"user_id": "u1", "ts": "2026-01-10T12:00:01"}]
    counts = {"12:00:01": 1, "12:00:01.999999": 1, "12:00:02": 2, "12:30:01": 1, "12:30:02": 0}
    for clock, count in counts.items():
        given = {"clicks": rows} if count == 2 else rows
        assert group.run(given, as_of=f"2026-01-10T{clock}") == [{"user_id": "u1", "user_click_count_30m": count}]


def test_a_query_over_two_sources() -> None:
    items = BatchSource(
        "items", table="raw.items", event_timestamp="at", schema={"item_id": STRING, "price": FLOAT, "at": TIMESTAMP}
    )
    sales = BatchSource("sales", table="raw.sales", event_timestamp="at", schema={"item_id": STRING, "at": TIMESTAMP})
    group = FeatureGroup(
        "item_sales",
        entity=Entity("item", join_key="item_id"),
        query="SELECT i.item_id, max(i.price) AS item_price_max, count(s.at) AS item_sale_count "
        "FROM items i LEFT JOIN sales s ON s.item_id = i.item_id GROUP BY i.item_id",
        sources=[items, sales],
        owner="team:test",
        features=[Feature("item_price_max", dtype=FLOAT), Feature("item_sale_count", dtype=INT)],
    )
    rows = {
        "items": [{"item_id": "a", "price": 2.0, "at": "2026-01-01"}, {"item_id": "b", "price": 3, "at": "2026-01-05"}],
        "sales": [{"item_id": "a", "at": "2026-01-02"}, {"item_id": "a", "at": "2026-01-09"}],
    }
    assert group.run(rows, as_of="2026-01-04") == [{"item_id": "a", "item_price_max": 2.0, "item_sale_count": 1}]
    with pytest.raises(InputError, match="reads several sources -> give rows by name: 'items', 'sales'"):
        group.run([], as_of="2026-01-04")
    with pytest.raises(InputError, match="no rows of 'sales' -> give an empty list"):
        group.run({"items": []}, as_of="2026-01-04")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (
            {"user": "u1"},
            "row 0 of orders, column user: there is no column 'user' -> did you mean 'user_id'? columns are",
        ),
        ({"amount": "9"}, "row 0 of orders, column amount: '9' is not a value of FLOAT"),
        ({"order_ts": "yesterday"}, "row 0 of orders, column order_ts: 'yesterday' is not an instant -> write"),
        ({"order_ts": datetime(2026, 1, 1)}, "is not an instant with a time zone"),  # noqa: DTZ001
        ({"order_ts": 5}, "5 is not an instant with a time zone"),
    ],
)
def test_a_wrong_row_is_named(row: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as failure:
        SPENT.run([row], as_of="2026-01-04")
    assert said in str(failure.value)


def test_a_value_that_does_not_fit_is_null_and_the_others_stay() -> None:
    source = BatchSource("counts", table="raw.c", event_timestamp="ts",
                         schema={"user_id": STRING, "n": INT, "ts": TIMESTAMP})  # fmt: skip
    total = Feature("user_n_sum_all_time", agg.sum("n"), window="all_time", dtype=INT)
    group = FeatureGroup("user_counts", entity=USER, source=source, owner="team:test", features=[total])
    rows = [{"user_id": user, "n": n, "ts": "2026-01-01"} for user, n in (("u", 2**63 - 1), ("u", 1), ("v", 2))]
    assert group.run(rows, as_of="2026-01-04") == [
        {"user_id": "u", "user_n_sum_all_time": None},
        {"user_id": "v", "user_n_sum_all_time": 2},
    ]


def test_other_mistakes() -> None:
    with pytest.raises(InputError, match="as_of: 'soon' is not an instant"):
        SPENT.run([], as_of="soon")
    with pytest.raises(InputError, match="rows: user_orders@1 does not read 'order' -> it reads 'orders'"):
        SPENT.run({"order": []}, as_of="2026-01-04")
    wrong = FeatureGroup(
        "user_orders",
        entity=USER,
        source=ORDERS,
        owner="team:test",
        features=[Feature("user_price_sum_2d", agg.sum("price"), window="2d", dtype=FLOAT)],
    )
    with pytest.raises(DefinitionErrors, match="price"):
        wrong.run([], as_of="2026-01-04")


def test_a_key_of_two_columns() -> None:
    bought = FeatureGroup(
        "user_orders",
        entity=Entity("user", join_key=("user_id", "status")),
        source=ORDERS,
        owner="team:test",
        features=[Feature("user_order_count_all_time", agg.count(), window="all_time", dtype=INT)],
    )
    assert bought.run(ROWS, as_of="2026-01-15") == [
        {"user_id": "u1", "status": "completed", "user_order_count_all_time": 2},
        {"user_id": "u1", "status": "returned", "user_order_count_all_time": 1},
        {"user_id": "u2", "status": "completed", "user_order_count_all_time": 1},
    ]


DAYS = st.integers(0, 9).flatmap(lambda day: st.integers(-1, 1).map(lambda micros: (day, micros)))


@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), DAYS, st.sampled_from([1.0, 2.5, None])), max_size=8))
def test_it_is_the_newest_row_that_the_group_would_have_written(events: list[tuple[str, tuple[int, int], Any]]) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    rows = [
        {
            "user_id": user,
            "order_ts": start + timedelta(days=day, microseconds=micros),
            "amount": amount,
            "status": "completed",
        }
        for user, (day, micros), amount in events
    ]
    begin = to_micros(start - timedelta(days=3))
    for day in range(-1, 14):
        until = start + timedelta(days=day)
        written = run_reference(build_plan(SPENT), {"orders": rows}, Span(begin, to_micros(until)))
        newest = {row["user_id"]: row for row in written}
        defaults = {feature.name: feature.default for feature in build_plan(SPENT).schema.features}
        wanted = [
            {"user_id": user} | {n: newest[user][n] if newest[user][n] is not None else d for n, d in defaults.items()}
            for user in sorted(newest)
        ]
        assert SPENT.run(rows, as_of=until + timedelta(hours=7)) == wanted
