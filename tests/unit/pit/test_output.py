"""Output columns: filled in any order, defaults where nothing was found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from feature_store.dtypes import DType, arrow_type
from feature_store.pit.output import output_column
from feature_store.plan.schema import Column
from tests.unit.pit.pit_cases import EVERY_TYPE


@pytest.mark.parametrize(("dtype", "value", "default"), EVERY_TYPE.values(), ids=EVERY_TYPE.keys())
def test_missing_and_null_become_the_default_or_null(dtype: DType, value: Any, default: Any) -> None:
    for given, shown in ((None, None), (default, default)):
        column = output_column(Column("f", dtype, given), 6)
        column.put(np.array([5, 0]), pa.array([value, None], arrow_type(dtype)))
        column.put(np.array([2]), pa.array([value], arrow_type(dtype)))
        finished = column.finish()
        assert finished.values.type == arrow_type(dtype)
        assert finished.values.to_pylist() == [shown, shown, value, shown, shown, value]
        assert finished.missing == 4


@pytest.mark.parametrize(("dtype", "value", "default"), EVERY_TYPE.values(), ids=EVERY_TYPE.keys())
def test_no_labels_and_no_values(dtype: DType, value: Any, default: Any) -> None:
    assert output_column(Column("f", dtype, default), 0).finish().values.type == arrow_type(dtype)
    assert output_column(Column("f", dtype, default), 2).finish().values.to_pylist() == [default] * 2
    assert output_column(Column("f", dtype), 2).finish().missing == 2


@pytest.mark.parametrize(("dtype", "value", "default"), EVERY_TYPE.values(), ids=EVERY_TYPE.keys())
def test_all_found(dtype: DType, value: Any, default: Any) -> None:
    column = output_column(Column("f", dtype), 2)
    column.put(np.array([1, 0]), pa.array([default, value], arrow_type(dtype)))
    finished = column.finish()
    assert finished.values.to_pylist() == [value, default]
    assert finished.missing == 0
