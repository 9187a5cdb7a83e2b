"""Request values of label rows: columns of their names, of their types, checked before anything runs."""

from __future__ import annotations

from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from feature_store import BOOL, FLOAT, INT, STRING, TIMESTAMP
from feature_store.dtypes import DType, arrow_type
from feature_store.errors import InputError
from feature_store.pit.label_sources import LabelSource
from feature_store.plan.schema import Column, OnDemandColumn, ViewedSchema, ViewSchema
from tests.unit.pit.pit_cases import NOON, group, read_labels

LABEL = {"user_id": "a", "label_timestamp": NOON}


def asking(**request: DType) -> ViewSchema:
    on_demand = (OnDemandColumn("computed", FLOAT),)
    return ViewSchema(
        "ranking", 1, (ViewedSchema(group()),), on_demand, tuple(Column(n, t) for n, t in request.items())
    )


@pytest.mark.parametrize(
    ("dtype", "values", "read"),
    [
        (FLOAT, pa.array([1.5, None], pa.float32()), [1.5, None]),
        (FLOAT, pa.array([1, None], pa.int16()), [1.0, None]),
        (FLOAT, pa.array([2**53 + 1, 2**63 - 1], pa.int64()), [float(2**53), float(2**63)]),
        (INT, pa.array([1, None], pa.uint8()), [1, None]),
        (BOOL, pa.array([True, None]), [True, None]),
        (STRING, pa.array(["a", None], pa.large_string()).dictionary_encode(), ["a", None]),
        (TIMESTAMP, pa.array([NOON, None], pa.timestamp("ms", "Europe/Berlin")), [NOON, None]),
        (STRING, pa.nulls(2), [None, None]),
        (FLOAT, pa.nulls(2), [None, None]),
    ],
)
def test_they_become_the_declared_type(dtype: DType, values: pa.Array, read: list[Any]) -> None:
    labels = pa.Table.from_pylist([LABEL] * 2).append_column("x", values)
    column = read_labels(labels, asking(x=dtype)).table["x"]
    assert column.type == arrow_type(dtype)
    assert column.to_pylist() == read


@pytest.mark.parametrize(
    "source", [[LABEL], pd.DataFrame([LABEL]), pl.DataFrame([LABEL]), pa.Table.from_pylist([LABEL])]
)
def test_a_missing_column_is_named(source: LabelSource) -> None:
    with pytest.raises(InputError, match="labels column 'price': missing from the labels") as caught:
        read_labels(source, asking(price=FLOAT))
    assert "its on-demand features read price" in caught.value.remedy
    assert caught.value.code == "missing-column"


@pytest.mark.parametrize(
    ("dtype", "value", "message"),
    [
        (FLOAT, "5", "labels column 'x': it is string, but the request value 'x' is FLOAT"),
        (INT, 1.0, "it is double, but the request value 'x' is INT"),
        (BOOL, 1, "it is int64, but the request value 'x' is BOOL"),
        (STRING, 5, "it is int64, but the request value 'x' is STRING"),
        (TIMESTAMP, 5, "not a timestamp with a time zone"),
        (TIMESTAMP, NOON.replace(tzinfo=None), "have no time zone"),
    ],
)
def test_a_wrong_type_is_named(dtype: DType, value: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_labels([LABEL | {"x": value}], asking(x=dtype))


def test_a_label_column_cannot_have_the_name_of_an_on_demand_feature() -> None:
    with pytest.raises(InputError, match="labels column 'computed': named as a feature of view ranking@1 is"):
        read_labels([LABEL | {"computed": 1}], asking())


def test_no_labels_at_all() -> None:
    assert read_labels([], asking(price=FLOAT)).table.num_rows == 0


def test_the_same_labels_have_one_hash_whatever_their_width() -> None:
    wide = pa.Table.from_pylist([LABEL]).append_column("x", pa.array([2], pa.float64()))
    narrow = pa.Table.from_pylist([LABEL]).append_column("x", pa.array([2], pa.int8()))
    assert read_labels(wide, asking(x=FLOAT)).hash == read_labels(narrow, asking(x=FLOAT)).hash
