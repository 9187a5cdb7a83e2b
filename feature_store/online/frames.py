"""Rows as Polars frames: the newest row of every entity, and its stored form, a column at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import numpy as np
import polars as pl

from feature_store.dtypes import DType
from feature_store.errors import InputError
from feature_store.online.codec import HEADER_SIZE, OFFSET, OLDEST, pack_header
from feature_store.plan.schema import CREATED_TIMESTAMP, FEATURE_TIMESTAMP, RETRACTED, Column, GroupSchema

_ORDER = 16
_LIMIT = "<created_timestamp up to which rows were taken back>"
_PREFIX = HEADER_SIZE - _ORDER


def newest_rows(group: GroupSchema, frame: pl.DataFrame) -> pl.DataFrame:
    """The row of every entity with the greatest feature_timestamp, on ties the greatest created_timestamp.

    Rows whose key is NULL belong to no entity and are left out.
    """
    keys = [key.name for key in group.keys]
    by_time = frame.drop_nulls(keys).sort(FEATURE_TIMESTAMP, CREATED_TIMESTAMP)
    return by_time.unique(keys, keep="last", maintain_order=False)


def standing_rows(group: GroupSchema, rows: pl.DataFrame, taken_back: pl.DataFrame) -> pl.DataFrame:
    """The rows that were not taken back.

    Args:
        rows: with the keys, both timestamps and, if the table has the column, `retracted`.
        taken_back: keys, feature_timestamp and the created_timestamp up to which rows of that time were taken back.
    """
    if RETRACTED in rows.columns and rows[RETRACTED].any():
        rows = rows.filter(~pl.col(RETRACTED).fill_null(False))
    if taken_back.is_empty():
        return rows
    place = [*(key.name for key in group.keys), FEATURE_TIMESTAMP]
    limits = taken_back.group_by(place).agg(pl.col(CREATED_TIMESTAMP).max().alias(_LIMIT))
    found = rows.join(limits, on=place, how="left")
    return found.filter((pl.col(CREATED_TIMESTAMP) > pl.col(_LIMIT)).fill_null(True)).drop(_LIMIT)


def micros_of(frame: pl.DataFrame, column: str) -> pl.Series:
    """A timestamp column as int64 microseconds since the epoch."""
    return frame[column].dt.cast_time_unit("us").cast(pl.Int64)


def encode_rows(group: GroupSchema, frame: pl.DataFrame, layout: int, expired: pl.Series) -> list[bytes]:
    """The stored forms of a frame's rows, equal to what `Codec.encode` gives row by row.

    Args:
        frame: with both timestamps and the group's features.
        layout: number of the group's layout.
        expired: true for rows that are stored without their features.

    Raises:
        InputError: if an embedding has another length than its type or a number that is not finite.
    """
    headers = _headers(frame, layout)
    if expired.all():
        return headers
    columns = [_wire_column(group, feature, frame) for feature in group.features]
    pack = msgspec.msgpack.Encoder().encode
    rows: Iterable[Sequence[Any]] = zip(*columns, strict=True)
    if not expired.any():
        return [header + pack(row) for header, row in zip(headers, rows, strict=True)]
    flags = expired.to_list()
    return [h if dead else h + pack(row) for h, row, dead in zip(headers, rows, flags, strict=True)]


def _headers(frame: pl.DataFrame, layout: int) -> list[bytes]:
    prefix = pack_header(layout, OLDEST, OLDEST)[:_PREFIX]
    orders = np.empty((len(frame), 2), dtype=">u8")
    for i, column in enumerate((FEATURE_TIMESTAMP, CREATED_TIMESTAMP)):
        orders[:, i] = micros_of(frame, column).to_numpy().view(np.uint64) ^ np.uint64(OFFSET)
    packed = orders.tobytes()
    return [prefix + packed[i : i + _ORDER] for i in range(0, len(packed), _ORDER)]


def _wire_column(group: GroupSchema, feature: Column, frame: pl.DataFrame) -> list[Any]:
    values = frame[feature.name]
    if feature.dtype.kind == "EMBEDDING":
        return _embeddings(group, feature, values)
    return _wire_series(feature.dtype, values).to_list()


def _wire_series(dtype: DType, values: pl.Series) -> pl.Series:
    match dtype.kind:
        case "FLOAT":
            values = values.cast(pl.Float64)
            return values if values.is_finite().all() else values.set(~values.is_finite(), None)
        case "TIMESTAMP":
            return values.dt.cast_time_unit("us").cast(pl.Int64)
        case "LIST":
            assert dtype.item is not None
            return _wire_list(dtype.item, values)
        case _:
            return values


def _wire_list(item: DType, values: pl.Series) -> pl.Series:
    element = pl.element()
    match item.kind:
        case "FLOAT":
            return values.list.eval(pl.when(element.is_finite()).then(element))
        case "TIMESTAMP":
            return values.list.eval(element.dt.cast_time_unit("us").cast(pl.Int64))
        case _:
            return values


def _embeddings(group: GroupSchema, feature: Column, values: pl.Series) -> list[bytes | None]:
    size = feature.dtype.size
    assert size is not None
    present = values.drop_nulls()
    wrong = present.filter(present.list.len() != size)
    if len(wrong):
        raise InputError(
            f"an embedding of {len(wrong[0])} numbers in {feature.dtype}",
            where=f"group {group.id}, feature {feature.name!r}",
            code="embedding",
        )
    numbers = present.explode().cast(pl.Float32).to_numpy() if len(present) else np.empty(0, np.float32)
    if not np.isfinite(numbers).all():
        raise InputError(
            "an embedding holds NaN, an infinity or NULL",
            where=f"group {group.id}, feature {feature.name!r}",
            remedy="store NULL instead of the whole embedding",
            code="embedding",
        )
    packed, step = numbers.astype("<f4").tobytes(), 4 * size
    vectors = iter([packed[i : i + step] for i in range(0, len(packed), step)])
    return [next(vectors) if there else None for there in values.is_not_null().to_list()]
