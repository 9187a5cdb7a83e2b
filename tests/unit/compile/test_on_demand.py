"""The kernel of on-demand features: the same values alone and among others, as the plain Python reference says."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_store import BOOL, FLOAT, INT, STRING, TIMESTAMP, OnDemand
from feature_store.compile.on_demand import Computed, OnDemandKernel
from feature_store.compile.reference_expressions import evaluate_or, finite_or_none
from feature_store.dtypes import INT_MAX, INT_MIN
from feature_store.errors import InputError
from feature_store.plan.build import view_schema
from feature_store.plan.polars_types import polars_type
from feature_store.plan.schema import ViewSchema
from tests.unit import on_demand_functions as functions
from tests.unit.on_demand_cases import HOME, PRICE, SINCE, view

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
Row = dict[str, Any]
ROW: Row = {"price": 3.0, "country": "DE", "user_order_count_30d": 2, "user_value_mean_30d": 1.5,
            "user_last_at_all_time": NOW - timedelta(microseconds=7), "request_time": NOW}  # fmt: skip
CHAIN = view_schema(
    view(
        PRICE,
        SINCE,
        HOME,
        OnDemand("seconds", "coalesce(user_time_since_last, -1) / 1000000", dtype=FLOAT, default=-9.0),
        OnDemand("verdict", "CASE WHEN is_home THEN 'home' WHEN price_ratio > 1.0 THEN lower(country) END",
                 dtype=STRING, default="?"),
        OnDemand("verdict_length", "length(verdict)", dtype=INT),
    )
)  # fmt: skip


def result_of(schema: ViewSchema, rows: list[Row], *, partial: bool = False) -> Computed:
    kernel = OnDemandKernel(schema)
    columns = {name: pl.Series([row[name] for row in rows], dtype=polars_type(t)) for name, t in kernel.inputs.items()}
    return kernel.compute(columns, partial=partial)


def result_apart(schema: ViewSchema, rows: list[Row]) -> tuple[Computed, list[str]]:
    """The same with functions called one by one, and of which features these were."""
    kernel, called = OnDemandKernel(schema), list[str]()
    columns = {name: pl.Series([row[name] for row in rows], dtype=polars_type(t)) for name, t in kernel.inputs.items()}
    steps = kernel.steps(columns, partial=True, apart=True)
    calls = next(steps)
    while True:
        called += [call.feature for call in calls.calls]
        try:
            calls = steps.send(calls.run())
        except StopIteration as done:
            return done.value, called


def computed(schema: ViewSchema, rows: list[Row]) -> list[Row]:
    values = {name: series.to_list() for name, series in result_of(schema, rows).values.items()}
    return [{name: column[i] for name, column in values.items()} for i in range(len(rows))]


def by_reference(schema: ViewSchema, rows: list[Row]) -> list[Row]:
    """Row by row, feature by feature, by the evaluator of all other expressions."""
    found = []
    for row in rows:
        known = {name: _finite(value) for name, value in row.items()}
        for column in schema.on_demand:
            assert column.expression is not None
            value = evaluate_or(None, column.expression, known)
            known[column.name] = column.default if value is None else value
        found.append({column.name: known[column.name] for column in schema.on_demand})
    return found


def _finite(value: Any) -> Any:
    return finite_or_none(value) if isinstance(value, float) else value


ROWS = st.fixed_dictionaries(
    {
        "price": st.sampled_from([None, 0.0, -0.0, 1.5, 7.0, 1e308, -1e308, 5e-324, math.nan, math.inf]),
        "country": st.sampled_from([None, "DE", "FR", "é", ""]),
        "user_order_count_30d": st.sampled_from([None, 0, 1, -5, INT_MAX]),
        "user_value_mean_30d": st.sampled_from([None, 0.0, 3.0, 0.1, 1e-300]),
        "user_last_at_all_time": st.sampled_from([None, NOW, NOW - timedelta(days=400, microseconds=1)]),
        "request_time": st.sampled_from([NOW, NOW + timedelta(microseconds=1)]),
    }
)
COUNTS = st.sampled_from([None, 0, 3, -11, 2**31, -(2**32), INT_MAX, INT_MIN])


@settings(max_examples=75, deadline=None)
@given(st.lists(ROWS, min_size=1, max_size=6))
def test_alone_among_others_and_by_the_reference(rows: list[Row]) -> None:
    together = computed(CHAIN, rows)
    assert together == by_reference(CHAIN, rows)
    assert together == [computed(CHAIN, [row])[0] for row in rows]


@settings(max_examples=30, deadline=None)
@given(st.lists(ROWS, min_size=1, max_size=6))
def test_a_function_gives_a_row_the_same_value_alone(rows: list[Row]) -> None:
    schema = view_schema(
        view(
            HOME,
            OnDemand("ratio", function=functions.ratio, dtype=FLOAT),
            OnDemand("third", function=functions.third, dtype=FLOAT, default=0.0),
            OnDemand("at", function=functions.local_time, dtype=TIMESTAMP),
        ),
        ("tests",),
    )
    together = computed(schema, rows)
    assert together == [computed(schema, [row])[0] for row in rows]
    for row, values in zip(rows, together, strict=True):
        price, mean = _finite(row["price"]), row["user_value_mean_30d"]
        ratio = None if price is None or not mean else _finite(price / mean)
        assert values["ratio"] == ratio
        assert values["third"] == pytest.approx(0.0 if price is None else price / 3, rel=1e-15)
        assert values["at"] == row["request_time"] + timedelta(hours=1)


def test_defaults_fill_null_and_are_counted_before() -> None:
    rows = [ROW, ROW | {"price": None}, ROW | {"user_value_mean_30d": 0.0, "country": None}]
    result = result_of(CHAIN, rows)
    assert result.values["price_ratio"].to_list() == [2.0, 1.0, 1.0]
    assert result.values["verdict"].to_list() == ["home", "home", "?"]
    assert result.missing == {"price_ratio": 2, "user_time_since_last": 0, "is_home": 1, "seconds": 0, "verdict": 1,
                              "verdict_length": 0}  # fmt: skip


def test_only_what_is_read_is_asked_for() -> None:
    schema = view_schema(view(OnDemand("days", "request_time - request_time", dtype=INT), request={}))
    assert list(OnDemandKernel(schema).inputs) == ["request_time"]
    constant = view_schema(view(OnDemand("one", "1", dtype=INT), OnDemand("two", "one + one", dtype=INT), request={}))
    assert computed(constant, [ROW] * 3) == [{"one": 1, "two": 2}] * 3
    assert computed(constant, [ROW]) == [{"one": 1, "two": 2}]


def test_a_difference_of_instants_is_exact() -> None:
    (values,) = computed(CHAIN, [ROW])
    assert values["user_time_since_last"] == 7
    first, last = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
    (values,) = computed(CHAIN, [ROW | {"user_last_at_all_time": first, "request_time": last}])
    assert values["user_time_since_last"] == (last - first) // timedelta(microseconds=1)


def test_what_is_not_finite_is_null_to_begin_with() -> None:
    schema = view_schema(view(HOME, OnDemand("is_known", "price IS NOT NULL", dtype=BOOL),
                              OnDemand("is_dear", "price > 5.0", dtype=BOOL)))  # fmt: skip
    rows = [ROW | {"price": price} for price in (math.nan, -math.inf, None, 7.0)]
    found = [(values["is_known"], values["is_dear"]) for values in computed(schema, rows)]
    assert found == [(False, None)] * 3 + [(True, True)]


def test_an_overflow_is_null_on_its_row_alone_and_flagged() -> None:
    """What reads it sees NULL, or its default; a condition on it is no way around."""
    schema = view_schema(
        view(
            PRICE,
            HOME,
            OnDemand("tenfold", "user_order_count_30d * 10", dtype=INT),
            OnDemand("more", "tenfold + 1", dtype=INT, default=-1),
            OnDemand("is_large", "user_order_count_30d * 10 > 5 OR TRUE", dtype=BOOL),
        )
    )
    rows = [ROW, ROW | {"user_order_count_30d": INT_MAX}, ROW]
    result = result_of(schema, rows)
    assert result.values["tenfold"].to_list() == [20, None, 20]
    assert result.values["more"].to_list() == [21, -1, 21]
    assert result.values["is_large"].to_list() == [True, None, True]
    assert {name: flags.to_list() for name, flags in result.overflows.items()} == {
        "tenfold": [False, True, False],
        "is_large": [False, True, False],
    }
    assert computed(schema, rows) == by_reference(schema, rows)


@settings(max_examples=50, deadline=None)
@given(st.lists(COUNTS, min_size=1, max_size=5))
def test_an_int_of_a_function_does_not_wrap_around(counts: list[int | None]) -> None:
    schema = view_schema(
        view(
            PRICE,
            HOME,
            OnDemand("squared", function=functions.squared, dtype=INT),
            OnDemand("is_large", function=functions.is_squared_large, dtype=BOOL),
            OnDemand("digit", function=functions.cast_in_between, dtype=INT, default=-1),
            OnDemand("more", "squared + 1", dtype=INT, default=-1),
        ),
        ("tests",),
    )
    result = result_of(schema, [ROW | {"user_order_count_30d": count} for count in counts])
    exact = [None if count is None else count * count for count in counts]
    lost = [square is not None and square > INT_MAX for square in exact]
    squares = [None if is_lost else square for square, is_lost in zip(exact, lost, strict=True)]
    values = {name: result.values[name].to_list() for name in ("squared", "is_large", "digit", "more")}
    assert values == {
        "squared": squares,
        "is_large": [None if square is None else square > 100 for square in squares],
        "digit": [-1 if square is None else square % 10 for square in squares],
        "more": [-1 if square in (None, INT_MAX) else square + 1 for square in squares],
    }
    flagged = {name: flags.to_list() for name, flags in result.overflows.items()}
    assert flagged == (dict.fromkeys(("squared", "is_large", "digit"), lost) if any(lost) else {})


def test_functions_that_are_others_in_128_bits_are_left_as_they_are() -> None:
    schema = view_schema(
        view(
            PRICE,
            HOME,
            OnDemand("hashed", function=functions.hashed, dtype=INT),
            OnDemand("negated", function=functions.negated, dtype=INT),
        ),
        ("tests",),
    )
    (values,) = computed(schema, [ROW])
    assert values["negated"] == -2
    assert values["hashed"] == pl.Series([2], dtype=pl.Int64).hash()[0] % 10


def test_a_failing_function_is_named() -> None:
    schema = view_schema(view(PRICE, HOME, OnDemand("number", function=functions.as_number, dtype=INT)), ("tests",))
    assert computed(schema, [ROW | {"country": "17"}])[0]["number"] == 17
    with pytest.raises(InputError, match=r"its function tests\.unit\.on_demand_functions:as_number fails") as caught:
        computed(schema, [ROW])
    assert caught.value.where == "view ranking@1, on-demand feature number"


@pytest.mark.parametrize("rows", [1, 2, 7])
def test_a_failing_function_may_fail_alone(rows: int) -> None:
    number = OnDemand("number", function=functions.as_number, dtype=INT, default=3)
    others = OnDemand("place", "upper(country)", dtype=STRING), OnDemand("double", "number * 2", dtype=INT, default=1)
    schema = view_schema(view(PRICE, HOME, number, *others), ("tests",))
    found = result_of(schema, [ROW] * rows, partial=True)
    assert [*found.failures] == ["number", "double"]
    assert found.values["number"].to_list() == found.values["double"].to_list() == [None] * rows
    assert found.values["place"].to_list() == [ROW["country"].upper()] * rows
    assert found.missing["number"] == rows


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(ROWS, COUNTS, st.sampled_from(["17", "DE", None])), min_size=1, max_size=4))
def test_functions_run_apart_give_the_same(drawn: list[tuple[Row, int | None, str | None]]) -> None:
    """Those that overflow and those that fail among them, and those that read one that fails."""
    rows = [row | {"user_order_count_30d": count, "country": country} for row, count, country in drawn]
    named = {"squared": INT, "is_squared_large": BOOL, "as_number": INT, "ratio": FLOAT, "cast_in_between": INT}
    of_functions = [OnDemand(n, function=getattr(functions, n), dtype=dtype) for n, dtype in named.items()]
    after = OnDemand("double", "as_number * 2", dtype=INT, default=1), OnDemand("rest", "squared % 7", dtype=INT)
    schema = view_schema(view(PRICE, HOME, *of_functions, *after), ("tests",))
    together, (apart, calls) = result_of(schema, rows, partial=True), result_apart(schema, rows)
    assert calls == [*named]
    assert {name: series.to_list() for name, series in apart.values.items()} == {
        name: series.to_list() for name, series in together.values.items()
    }
    assert {name: flags.to_list() for name, flags in apart.overflows.items()} == {
        name: flags.to_list() for name, flags in together.overflows.items()
    }
    assert {name: str(error) for name, error in apart.failures.items()} == {
        name: str(error) for name, error in together.failures.items()
    }
    assert apart.missing == together.missing


def test_no_rows() -> None:
    assert computed(CHAIN, []) == []
