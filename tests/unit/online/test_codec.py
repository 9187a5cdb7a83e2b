"""Stored values: every type comes back as it was, timestamps order as bytes, and damage is an error."""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_store import BOOL, EMBEDDING, FLOAT, INT, STRING, TIMESTAMP
from feature_store.dtypes import LIST, DType, arrow_type
from feature_store.errors import InputError, StackError
from feature_store.online.codec import HEADER_SIZE, OLDEST, Codec, pack_header, stored_form, unpack_header, wire_of
from feature_store.online.frames import encode_rows
from feature_store.plan.schema import CREATED_TIMESTAMP, FEATURE_TIMESTAMP, Column, GroupSchema

NAIVE = datetime(2026, 1, 1)  # noqa: DTZ001 - a naive one is the point
MICROS = st.integers(-(2**63), 2**63 - 1)
INSTANTS = st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001
SCALARS: dict[DType, st.SearchStrategy[Any]] = {
    STRING: st.text(),
    INT: st.sampled_from([-(2**63), -1, 0, 2**53 + 1, 2**63 - 1]) | MICROS,
    FLOAT: st.floats(allow_nan=False, allow_infinity=False),
    BOOL: st.booleans(),
    TIMESTAMP: INSTANTS,
}
VALUES = SCALARS | {
    EMBEDDING(3): st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=3, max_size=3),
    **{LIST(item): st.lists(st.none() | values, max_size=4) for item, values in SCALARS.items()},
}
CASES = st.lists(st.sampled_from(list(VALUES)), min_size=1, max_size=20).flatmap(
    lambda dtypes: st.tuples(
        st.just(dtypes),
        st.lists(st.tuples(*(st.none() | VALUES[dtype] for dtype in dtypes)), min_size=1, max_size=5),
    )
)


def codec_of(*dtypes: DType) -> Codec:
    return Codec(tuple((f"f{i}", dtype) for i, dtype in enumerate(dtypes)), 7)


def group_of(*dtypes: DType) -> GroupSchema:
    features = tuple(Column(f"f{i}", dtype) for i, dtype in enumerate(dtypes))
    return GroupSchema("g", 1, (Column("k", INT),), features, None, 0, 1, 1)


def frame_of(dtypes: list[DType], orders: list[tuple[int, int]], rows: list[tuple[Any, ...]]) -> pl.DataFrame:
    """Rows with their feature and created timestamps."""
    columns = {
        name: pa.array([order[i] for order in orders], pa.int64()).cast(pa.timestamp("us", "UTC"))
        for i, name in enumerate((FEATURE_TIMESTAMP, CREATED_TIMESTAMP))
    }
    columns |= {f"f{i}": pa.array([row[i] for row in rows], arrow_type(dtype)) for i, dtype in enumerate(dtypes)}
    frame = pl.from_arrow(pa.table(columns))
    assert isinstance(frame, pl.DataFrame)
    return frame


@given(CASES, MICROS, MICROS)
def test_rows_come_back(case: tuple[list[DType], list[tuple[Any, ...]]], timestamp: int, created: int) -> None:
    dtypes, rows = case
    codec = codec_of(*dtypes)
    for row in rows:
        value = codec.encode(timestamp, created, row)
        assert unpack_header(value, "k") == (7, timestamp, created, HEADER_SIZE)
        decoded = codec.decode(value, HEADER_SIZE, "k")
        assert decoded == list(row)
        assert [type(v) for v in decoded] == [type(v) for v in row]


@settings(deadline=None)  # the first example waits for Arrow and Polars to start
@given(CASES, st.data())
def test_frames_are_encoded_as_rows_are(case: tuple[list[DType], list[tuple[Any, ...]]], data: st.DataObject) -> None:
    dtypes, rows = case
    codec = codec_of(*dtypes)
    orders = [(data.draw(MICROS), data.draw(MICROS)) for _ in rows]
    expired = [data.draw(st.booleans()) for _ in rows]
    expected = [
        pack_header(7, *order) if dead else codec.encode(*order, row)
        for order, row, dead in zip(orders, rows, expired, strict=True)
    ]
    frame = frame_of(dtypes, orders, rows)
    assert encode_rows(group_of(*dtypes), frame, 7, pl.Series(expired)) == expected


@given(st.tuples(MICROS, MICROS), st.tuples(MICROS, MICROS))
def test_rows_order_as_bytes(a: tuple[int, int], b: tuple[int, int]) -> None:
    assert (pack_header(1, *a)[4:] < pack_header(1, *b)[4:]) == (a < b)


def test_values_of_the_first_format_are_read() -> None:
    """They have no created_timestamp and no tombstones; a header alone is a row that had expired."""
    header = struct.pack(">BHBQ", 1, 7, 0, 2**63 - 5)
    assert unpack_header(header + b"\x92\x01\xc0", "k") == (7, -5, OLDEST, 12)
    assert codec_of(INT, STRING).decode(header + b"\x92\x01\xc0", 12, "k") == [1, None]
    assert unpack_header(header, "k") == (7, -5, OLDEST, 12)


def test_features_are_behind_the_tombstones() -> None:
    value = codec_of(INT).encode(1, 2, [3])
    value = value[:3] + b"\x02" + value[4:20] + bytes(2 * 24) + value[20:]
    assert unpack_header(value, "k") == (7, 1, 2, 68)
    assert codec_of(INT).decode(value, 68, "k") == [3]


def test_the_header_is_fixed() -> None:
    assert pack_header(258, 0, 1) == b"\x02\x01\x02\x00\x80" + bytes(7) + b"\x80" + bytes(6) + b"\x01"
    assert HEADER_SIZE == 20
    assert codec_of(INT, STRING).encode(0, 0, [1, None])[20:] == b"\x92\x01\xc0"
    assert codec_of(EMBEDDING(2)).encode(0, 0, [[1.0, 2.0]])[-8:] == struct.pack("<2f", 1.0, 2.0)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_are_not_finite_are_never_stored(number: float) -> None:
    codec = codec_of(FLOAT, LIST(FLOAT))
    value = codec.encode(0, 0, [number, [1.0, number, None]])
    assert codec.decode(value, HEADER_SIZE, "k") == [None, [1.0, None, None]]
    frame = frame_of([FLOAT, LIST(FLOAT)], [(0, 0)], [(number, [1.0, number, None])])
    assert encode_rows(group_of(FLOAT, LIST(FLOAT)), frame, 7, pl.Series([False])) == [value]
    with pytest.raises(InputError, match=r"f0"):
        codec_of(EMBEDDING(1)).encode(0, 0, [[number]])
    with pytest.raises(InputError, match=r"f0.*NaN"):
        encode_rows(group_of(EMBEDDING(1)), frame_of([EMBEDDING(1)], [(0, 0)], [([number],)]), 7, pl.Series([False]))


def round_trip(dtype: DType, value: Any) -> Any:
    """What a reader gets of a default."""
    stored, decode = stored_form(dtype, value), wire_of(dtype).decode
    return stored if decode is None or stored is None else decode(stored)


def test_an_integer_in_a_float_feature_is_a_float() -> None:
    assert repr(round_trip(FLOAT, 3)) == "3.0"
    assert repr(round_trip(LIST(FLOAT), [3])) == "[3.0]"


def test_a_default_is_rounded_as_a_stored_value_is() -> None:
    assert round_trip(EMBEDDING(1), [0.1]) == [struct.unpack("f", struct.pack("f", 0.1))[0]]
    assert round_trip(STRING, None) is None


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        (INT, "1"),
        (INT, 2**63),
        (INT, True),
        (STRING, 1),
        (BOOL, 1),
        (FLOAT, "x"),
        (FLOAT, 10**400),
        (EMBEDDING(2), [1.0]),
        (EMBEDDING(1), [1e39]),
        (TIMESTAMP, NAIVE),
        (LIST(INT), ["1"]),
        (LIST(INT), [1.5]),
        (LIST(INT), 1),
    ],
)
def test_a_value_of_another_type_is_refused(dtype: DType, value: Any) -> None:
    with pytest.raises(InputError, match="'f0'"):
        codec_of(dtype).encode(0, 0, [value])


def test_an_embedding_of_another_length_is_refused() -> None:
    with pytest.raises(InputError, match=r"of 3 numbers in EMBEDDING\(2\)"):
        encode_rows(group_of(EMBEDDING(2)), frame_of([EMBEDDING(2)], [(0, 0)], [([1.0] * 3,)]), 7, pl.Series([False]))


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (b"", "0 bytes"),
        (b"\x01" * 11, "11 bytes"),
        (b"\x02" * 19, "19 bytes"),
        (b"\x03" + bytes(24), "format is 3"),
        (b"u1 was here, 42", "format is 117"),
    ],
)
def test_other_formats_are_refused_by_name(value: bytes, why: str) -> None:
    with pytest.raises(StackError, match=r"Redis key 'g@1:\{u1\}'.*" + why):
        unpack_header(value, "g@1:{u1}")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x91\x01",
        b"\x93\x01\xa1a\xc0",
        b"\x92\xa1a\xa1a",
        b"\x92\x01\xa1",
        b"\x92\x01\xa1a\x00",
        b"\x92\x01\xa1\xff",
    ],
)
def test_a_damaged_body_is_never_misread(body: bytes) -> None:
    codec = codec_of(INT, STRING)
    with pytest.raises(StackError, match=r"Redis key 'k1': the stored value cannot be read"):
        codec.decode(pack_header(7, 0, 0) + body, HEADER_SIZE, "k1")


def test_damage_inside_a_value_is_never_misread() -> None:
    for dtype, stored in ((EMBEDDING(2), b"\x91\xc4\x04abcd"), (TIMESTAMP, b"\x91\xcf" + b"\xff" * 8)):
        with pytest.raises(StackError, match="k1"):
            codec_of(dtype).decode(pack_header(7, 0, 0) + stored, HEADER_SIZE, "k1")


@given(CASES, st.data())
def test_a_cut_value_is_never_misread(case: tuple[list[DType], list[tuple[Any, ...]]], data: st.DataObject) -> None:
    codec = codec_of(*case[0])
    value = codec.encode(0, 0, case[1][0])
    with pytest.raises(StackError, match="k1"):
        codec.decode(value[: data.draw(st.integers(HEADER_SIZE, len(value) - 1))], HEADER_SIZE, "k1")
