"""The content hash sees values, not memory."""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_store.pit.content_hash import content_hash

COLUMNS: dict[str, tuple[pa.DataType, list[Any], Any]] = {  # type, values, another value
    "int64": (pa.int64(), [1, None, -3], 4),
    "int8": (pa.int8(), [1, None, -3], 4),
    "double": (pa.float64(), [0.5, None, 2.0], 4.0),
    "bool": (pa.bool_(), [False, None, False], True),
    "string": (pa.string(), ["a", None, ""], "b"),
    "large string": (pa.large_string(), ["a", None, ""], "b"),
    "string view": (pa.string_view(), ["a", None, "longer than twelve bytes"], "b"),
    "binary": (pa.binary(), [b"a", None, b""], b"b"),
    "fixed binary": (pa.binary(2), [b"aa", None, b"bb"], b"cc"),
    "decimal": (pa.decimal128(10, 2), [Decimal("1.50"), None, Decimal("-2.00")], Decimal("3.00")),
    "date": (pa.date32(), [1, None, 3], 4),
    "list": (pa.list_(pa.int64()), [[1, 2], None, []], [1]),
    "list of lists": (pa.list_(pa.list_(pa.string())), [[["a"], []], None, []], [["a", "b"]]),
    "fixed list": (pa.list_(pa.float32(), 2), [[1.0, 2.0], None, [3.0, 4.0]], [1.0, 3.0]),
    "struct": (
        pa.struct({"x": pa.int64(), "y": pa.string()}),
        [{"x": 1, "y": "a"}, None, {"x": None, "y": ""}],
        {"x": 2, "y": "a"},
    ),
    "map": (pa.map_(pa.string(), pa.int64()), [[("a", 1)], None, []], [("b", 1)]),
    "extension": (pa.uuid(), [UUID(int=1), None, UUID(int=2)], UUID(int=3)),
    "dictionary": (pa.dictionary(pa.int32(), pa.string()), ["a", None, "b"], "c"),
}


@pytest.mark.parametrize(("dtype", "values", "other"), COLUMNS.values(), ids=COLUMNS.keys())
def test_layout_does_not_matter_and_values_do(dtype: pa.DataType, values: list[Any], other: Any) -> None:
    whole = pa.chunked_array([pa.array(values, dtype)])
    chunks = pa.chunked_array([pa.array([value], dtype) for value in values])
    sliced = pa.chunked_array([pa.array([other, *values, other], dtype).slice(1, len(values))])
    hashes = {content_hash(pa.table({"c": column})) for column in (whole, chunks, sliced)}
    assert len(hashes) == 1
    for place in range(len(values)):
        changed = pa.array([*values[:place], other, *values[place + 1 :]], dtype)
        assert content_hash(pa.table({"c": changed})) not in hashes


def test_what_lies_under_a_null_does_not_matter() -> None:
    junk = pa.Array.from_buffers(pa.int64(), 2, [pa.py_buffer(b"\x01"), pa.array([5, 99]).buffers()[1]])
    assert junk.to_pylist() == [5, None]
    assert content_hash(pa.table({"c": junk})) == content_hash(pa.table({"c": pa.array([5, None])}))


def test_names_and_types_matter() -> None:
    tables = [
        pa.table({"a": [1], "b": [2]}),
        pa.table({"b": [1], "a": [2]}),
        pa.table({"a": [1], "c": [2]}),
        pa.table({"a": pa.array([1], pa.int32()), "b": [2]}),
        pa.table({"a": [None], "b": [2]}),
    ]
    assert len({content_hash(table) for table in tables}) == len(tables)


@settings(deadline=None)
@given(
    one=st.lists(st.none() | st.text(max_size=3), max_size=6),
    other=st.lists(st.none() | st.text(max_size=3), max_size=6),
)
def test_equal_hashes_mean_equal_text(one: list[str | None], other: list[str | None]) -> None:
    hashes = [content_hash(pa.table({"c": pa.array(column, pa.string())})) for column in (one, other)]
    assert (hashes[0] == hashes[1]) == (one == other)


def test_more_rows_than_are_hashed_at_once() -> None:
    values = pa.array(range(200_000))
    assert content_hash(pa.table({"c": values})) == content_hash(
        pa.table({"c": pa.chunked_array([values[:70_001], values[70_001:]])})
    )
