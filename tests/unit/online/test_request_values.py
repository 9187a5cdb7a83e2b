"""Request values: those of a row before those of the request, and an error that names what does not fit."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import pytest

from feature_store import BOOL, FLOAT, INT, STRING, TIMESTAMP
from feature_store.dtypes import DType
from feature_store.errors import InputError
from feature_store.online.on_demand import request_values
from feature_store.online.reader import OnlineReader
from feature_store.plan.schema import Column, ViewedSchema, ViewSchema
from tests.unit.pit.pit_cases import group

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def asking(**request: DType) -> ViewSchema:
    return ViewSchema("ranking", 1, (ViewedSchema(group()),), request=tuple(Column(n, t) for n, t in request.items()))


def test_a_row_s_own_value_comes_first() -> None:
    rows = [{"user_id": "a", "price": 2}, {"user_id": "b"}, {"user_id": "c", "price": None, "other": 5}]
    values = request_values(asking(price=FLOAT, country=STRING), rows, {"price": 1.5, "country": "DE"})
    assert values == {"price": [2.0, 1.5, None], "country": ["DE"] * 3}
    assert [type(value) for value in values["price"]] == [float, float, type(None)]


def test_no_rows_need_no_values() -> None:
    assert request_values(asking(price=FLOAT), [], {}) == {"price": []}


@pytest.mark.parametrize(
    ("dtype", "value", "read"),
    [
        (FLOAT, 5, 5.0),
        (FLOAT, math.nan, None),
        (FLOAT, -math.inf, None),
        (FLOAT, 2**53 + 1, float(2**53)),
        (INT, -(2**63), -(2**63)),
        (BOOL, False, False),
        (STRING, "", ""),
        (TIMESTAMP, NOON, NOON),
        (TIMESTAMP, None, None),
    ],
)
def test_values_of_their_type(dtype: DType, value: Any, read: Any) -> None:
    assert request_values(asking(x=dtype), [{}], {"x": value}) == {"x": [read]}
    assert request_values(asking(x=dtype), [{"x": value}], {}) == {"x": [read]}


@pytest.mark.parametrize(
    ("dtype", "value", "remedy"),
    [
        (FLOAT, "5", "a value of type FLOAT, or None"),
        (FLOAT, True, "FLOAT"),
        (FLOAT, 10**400, "FLOAT"),
        (INT, 1.0, "INT"),
        (INT, 2**63, "INT"),
        (INT, True, "INT"),
        (BOOL, 1, "BOOL"),
        (STRING, 5, "STRING"),
        (STRING, "\ud800", "STRING"),
        (TIMESTAMP, "2026-01-01", "TIMESTAMP"),
        (TIMESTAMP, datetime(2026, 1, 1), "add a time zone"),  # noqa: DTZ001
    ],
)
def test_a_wrong_type_is_named(dtype: DType, value: Any, remedy: str) -> None:
    with pytest.raises(InputError, match=f"the request value 'x' is {dtype}, not ") as caught:
        request_values(asking(x=dtype), [{}, {"x": value}], {"x": None})
    assert caught.value.where == "row 1"
    assert remedy in caught.value.remedy
    with pytest.raises(InputError) as caught:
        request_values(asking(x=dtype), [{}], {"x": value})
    assert caught.value.where == "request"


def test_a_missing_value_is_named() -> None:
    with pytest.raises(InputError, match="row 1: the request value 'price' is missing -> give it for all rows"):
        request_values(asking(price=FLOAT), [{"price": 1.0}, {}], {})


def test_a_value_nobody_asks_for_is_named() -> None:
    with pytest.raises(InputError, match="no request value 'prize' -> it has price"):
        request_values(asking(price=FLOAT), [{"price": 1.0}], {"prize": 2.0})


@pytest.mark.parametrize("request_", [{}, {"price": "1"}, {"price": 1.0, "prize": 1.0}])
def test_the_check_comes_before_redis(request_: dict[str, Any]) -> None:
    """Nobody listens on the port of the URL: a read that asked Redis would be a StackError."""
    with OnlineReader("redis://127.0.0.1:1/0") as reader, pytest.raises(InputError, match=r"request value 'pri[cz]e'"):
        reader.read(asking(price=FLOAT), [{"user_id": "a"}], request=request_)
    with OnlineReader("redis://127.0.0.1:1/0") as reader, pytest.raises(InputError, match="has no request value 'x'"):
        reader.read(asking(), [{"user_id": "a"}], request={"x": 1})
