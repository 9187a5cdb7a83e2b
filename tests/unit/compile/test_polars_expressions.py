"""Expressions on Polars give what the plain Python reference gives: random expressions of the whole language."""

from __future__ import annotations

import math
import zlib
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_store import BOOL, FLOAT, INT, STRING, TIMESTAMP
from feature_store.compile.polars_expressions import clean, constant_columns, lower
from feature_store.compile.reference_expressions import IntOverflowError, evaluate
from feature_store.dtypes import INT_MAX, INT_MIN, DType
from feature_store.plan.expression_nodes import finite
from feature_store.plan.expressions import parse_expression
from feature_store.plan.polars_types import polars_type

SCHEMA = {"i": INT, "j": INT, "x": FLOAT, "y": FLOAT, "s": STRING, "t": STRING, "b": BOOL, "c": BOOL,
          "at": TIMESTAMP, "since": TIMESTAMP}  # fmt: skip
_ORIGIN = datetime(2026, 1, 31, tzinfo=UTC)
_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "INT": st.sampled_from([0, 1, -1, 2, -3, 7, 10**9, 2**53 + 1, INT_MAX, INT_MIN, INT_MIN + 1]) | st.integers(-9, 9),
    "FLOAT": st.sampled_from([0.0, -0.0, 1.5, -2.25, 0.1, 1e308, -1e308, 5e-324, math.nan, math.inf, -math.inf])
    | st.floats(-4, 4),
    "STRING": st.sampled_from(["", " ", "a", "B", " Ab\t ", "é", "ÀÖ", "\uffff", "\U0001f600", "a\u00a0", "ñandú  "]),
    "BOOL": st.booleans(),
    "TIMESTAMP": st.sampled_from([-1, 0, 1, 86_400_000_000, -(10**14), 10**15]).map(
        lambda micros: _ORIGIN + timedelta(microseconds=micros)
    )
    | st.sampled_from([datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)]),
}
_LITERALS = {
    "INT": ["0", "1", "-1", "3", "9223372036854775807"],
    "FLOAT": ["0.0", "1.5", "-2.0", "1e308", "0.1"],
    "STRING": ["''", "'a'", "'é'", "' Ab '"],
    "BOOL": ["TRUE", "FALSE"],
    "TIMESTAMP": ["TIMESTAMP '2026-01-31T00:00:00Z'", "TIMESTAMP '1999-12-31T23:59:59.999999+01:00'"],
}
ROWS = st.fixed_dictionaries({name: st.none() | _VALUES[dtype.kind] for name, dtype in SCHEMA.items()})


@st.composite
def texts(draw: st.DrawFn, kind: str, depth: int) -> str:
    """A SQL expression of one type; sometimes a bare NULL."""
    names = [name for name, dtype in SCHEMA.items() if dtype.kind == kind]
    if depth == 0 or draw(st.integers(0, 9)) == 0:
        return draw(st.sampled_from([*names, *names, *_LITERALS[kind], "NULL"]))

    def part(of: str) -> str:
        found = draw(texts(of, depth - 1))
        # arithmetic takes no bare NULL, and a NULL of each type is a column's
        return draw(st.sampled_from([n for n, t in SCHEMA.items() if t.kind == of])) if found == "NULL" else found

    forms = [lambda: f"CASE WHEN {part('BOOL')} THEN {part(kind)} WHEN {part('BOOL')} THEN {part(kind)} END",
             lambda: f"CASE WHEN {part('BOOL')} THEN {part(kind)} ELSE {part(kind)} END",
             lambda: f"coalesce({part(kind)}, {draw(texts(kind, depth - 1))}, {part(kind)})",
             lambda: f"nullif({part(kind)}, {part(kind)})"]  # fmt: skip
    if kind in ("INT", "FLOAT"):
        forms += [lambda: f"({part(kind)} {draw(st.sampled_from(['+', '-', '*']))} {part(kind)})",
                  lambda: f"(- {part(kind)})", lambda: f"abs({part(kind)})"]  # fmt: skip
    if kind == "INT":
        forms += [lambda: f"({part('INT')} % {part('INT')})", lambda: f"length({part('STRING')})",
                  lambda: f"({part('TIMESTAMP')} - {part('TIMESTAMP')})",
                  lambda: f"{draw(st.sampled_from(['hour_of_day', 'iso_weekday']))}({part('TIMESTAMP')})",
                  lambda: f"ordinal({part('STRING')}, 'é', 'a', ' ')", lambda: f"ordinal({part('INT')}, 7, 0)",
                  lambda: f"bucketize({part('FLOAT')}, -2, 0.1, 1.5)", lambda: f"bucketize({part('INT')}, 0, 2)",
                  lambda: f"hash_bucket({part('STRING')}, {draw(st.sampled_from([1, 7, 1000]))})"]  # fmt: skip
    if kind == "FLOAT":
        forms += [lambda: f"({part('FLOAT')} / {part('FLOAT')})", lambda: f"({part('INT')} / {part('INT')})",
                  lambda: f"days_between({part('TIMESTAMP')}, {part('TIMESTAMP')})",
                  lambda: f"({part('INT')} * {part('FLOAT')})"]  # fmt: skip
    if kind == "STRING":
        forms += [lambda: f"{draw(st.sampled_from(['lower', 'upper', 'trim']))}({part('STRING')})",
                  lambda: f"({part('STRING')} || {part('STRING')})"]  # fmt: skip
    if kind == "BOOL":
        forms += [lambda: _comparison(draw, part), lambda: _comparison(draw, part),
                  lambda: f"({part('BOOL')} {draw(st.sampled_from(['AND', 'OR']))} {part('BOOL')})",
                  lambda: f"(NOT {part('BOOL')})",
                  lambda: f"({part(draw(st.sampled_from(list(_VALUES))))} IS NULL)",
                  lambda: f"({part(draw(st.sampled_from(list(_VALUES))))} IS NOT NULL)",
                  lambda: f"({part('INT')} BETWEEN {part('INT')} AND {part('FLOAT')})",
                  lambda: f"({part('STRING')} IN ('a', 'é', NULL))",
                  lambda: f"({part('INT')} IN (0, 1.5, -1))"]  # fmt: skip
    return draw(st.sampled_from(forms))()


def _comparison(draw: st.DrawFn, part: Any) -> str:
    kind = draw(st.sampled_from(list(_VALUES)))
    other = {"INT": "FLOAT"}.get(kind, kind) if draw(st.booleans()) else kind
    return f"({part(kind)} {draw(st.sampled_from(['=', '<>', '<', '<=', '>', '>=']))} {part(other)})"


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def by_reference(expression: Any, row: dict[str, Any]) -> object:
    """The value of one row, or "overflow"."""
    try:
        value = evaluate(expression, row)
    except IntOverflowError:
        return "overflow"
    return repr(value) if isinstance(value, float) else value  # NaN equals itself, and -0.0 is not 0.0


def by_polars(expression: Any, rows: list[dict[str, Any]]) -> list[object]:
    frame = pl.DataFrame([clean(pl.Series(name, [row[name] for row in rows], polars_type(dtype)))
                          for name, dtype in SCHEMA.items()])  # fmt: skip
    lowered = lower(expression)
    frame = frame.with_columns(constant_columns(lowered.constants.values(), len(rows)))
    overflow = pl.lit(False) if lowered.overflow is None else lowered.overflow
    found = frame.with_columns(value=lowered.value, overflow=overflow)
    assert not found["overflow"].null_count()
    assert found.filter(found["overflow"])["value"].null_count() == found["overflow"].sum()
    values = [repr(value) if isinstance(value, float) else value for value in found["value"]]
    return ["overflow" if over else value for over, value in zip(found["overflow"], values, strict=True)]


@pytest.mark.parametrize("kind", list(_VALUES))
@settings(max_examples=75, deadline=None)
@given(data=st.data())
def test_random_expressions_on_random_rows(kind: str, data: st.DataObject) -> None:
    text = data.draw(texts(kind, 4))
    expression = parse_expression(text, SCHEMA)
    rows = data.draw(st.lists(ROWS, min_size=1, max_size=8))
    cleaned = [{name: _finite(value) for name, value in row.items()} for row in rows]
    assert by_polars(expression, rows) == [by_reference(expression, row) for row in cleaned]


ROW: dict[str, Any] = dict.fromkeys(SCHEMA)


@pytest.mark.parametrize(
    ("text", "row", "expected"),
    [
        ("i % 4", {"i": -7}, -3),
        ("i % -4", {"i": 7}, 3),
        ("i % j", {"i": INT_MIN, "j": -1}, 0),
        ("i % 0", {"i": 1}, None),
        ("x / 0", {"x": 1.0}, None),
        ("x * 1e308 > 0", {"x": 1e308}, None),
        ("length(s)", {"s": "\U0001f600é"}, 2),
        ("length(trim(s))", {"s": " \t "}, 1),
        ("s < t", {"s": "\uffff", "t": "\U0001f600"}, True),
        ("upper(s) || lower(t)", {"s": "ñß", "t": "ÀÉ"}, "ÑSSàé"),
        ("at - since", {"at": _ORIGIN, "since": _ORIGIN + timedelta(microseconds=3)}, -3),
        ("at - since", {"at": _ORIGIN}, None),
        ("-i", {"i": INT_MIN}, "overflow"),
        ("abs(i)", {"i": INT_MIN}, "overflow"),
        ("i - 1", {"i": INT_MIN}, "overflow"),
        ("CASE WHEN b THEN i + 1 ELSE 0 END", {"i": INT_MAX, "b": False}, 0),
        ("CASE WHEN b THEN i + 1 ELSE 0 END", {"i": INT_MAX, "b": True}, "overflow"),
        ("CASE WHEN b THEN 0 ELSE i + 1 END", {"i": INT_MAX, "b": None}, "overflow"),
        ("coalesce(j, i * 2)", {"i": INT_MAX, "j": 5}, 5),
        ("coalesce(j, i * 2)", {"i": INT_MAX}, "overflow"),
        ("b AND i * 2 > 0", {"i": INT_MAX, "b": False}, "overflow"),
        ("hash_bucket(s, 1000)", {"s": "é"}, zlib.crc32("é".encode()) % 1000),
        ("nullif(s, NULL)", {"s": "a"}, "a"),
        ("1 + 1", {}, 2),
        ("coalesce(x * x - x * x, 0.0) > 1", {"x": 1e308}, None),  # NaN in the middle of an expression
        ("coalesce(x * x - x * x, 0.0) <> 1", {"x": 1e308}, None),
        ("abs(x * x - x * x) = abs(x * x - x * x)", {"x": 1e308}, None),
        ("abs(x * x - x * x) < y", {"x": 1e308}, None),
        ("nullif(x * x - x * x, x * x - x * x) IS NULL", {"x": 1e308}, True),
    ],
)
def test_corners(text: str, row: dict[str, Any], expected: object) -> None:
    expression = parse_expression(text, SCHEMA)
    assert by_polars(expression, [ROW | row, ROW | row]) == [expected] * 2
    assert by_reference(expression, ROW | row) == expected


def test_a_value_is_finite_and_has_one_zero() -> None:
    rows = [ROW | {"x": x, "y": y} for x, y in ((-1.0, 0.0), (1e308, 1e308), (-1e308, 1e308), (2.0, 3.0))]
    product = finite(parse_expression("x * y", SCHEMA))
    assert by_polars(product, rows) == ["0.0", None, None, "6.0"]
    assert [by_reference(product, row) for row in rows] == ["0.0", None, None, "6.0"]


def test_not_finite_columns_are_null() -> None:
    assert clean(pl.Series([1.0, math.nan, None, -math.inf])).to_list() == [1.0, None, None, None]
    assert clean(pl.Series([1, None])).to_list() == [1, None]


def test_a_difference_of_timestamps_is_an_int() -> None:
    assert parse_expression("at - since", SCHEMA).dtype == INT
    assert parse_expression("(at - NULL) / 1000000", SCHEMA).dtype == FLOAT
    assert isinstance(SCHEMA["at"], DType)
