"""Values in Redis: a header, tombstones, and a MessagePack array of the features, positional as its layout says.

    offset 0  format             u8, 2
    offset 1  layout number      u16, big-endian: names, types and order are in the group's layouts hash
    offset 3  tombstones         u8: how many
    offset 4  feature_timestamp  u64, big-endian: microseconds since the epoch + 2**63
    offset 12 created_timestamp  u64, likewise
    offset 20 tombstones         24 bytes each: first and last feature_timestamp, created_timestamp, as above
    then      features           MessagePack array; nothing at all: the row had expired when it was written

Rows are ordered by (feature_timestamp, created_timestamp). The order sits at the same place in every format from 2 on,
so the guard inside Redis needs no decoder. A tombstone says that rows between its feature timestamps that are no newer
than its created_timestamp were taken back; a value holds those that are newer than its row. A value without a row holds
nothing but tombstones, and zeros in the place of both timestamps.

Format 1, which older versions wrote, has neither created_timestamp nor tombstones: its features begin at offset 12. Its
row counts as the oldest of its feature_timestamp.

NULL is nil; defaults are never stored. TIMESTAMP is an integer of microseconds, EMBEDDING little-endian float32 bytes,
LIST an array; the other types are what MessagePack has.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Annotated, Any

import msgspec

from feature_store.dtypes import DType, Value, from_micros, to_micros
from feature_store.errors import InputError, StackError
from feature_store.online.layout import Layout

FORMAT = 2
OFFSET = 2**63
OLDEST = -OFFSET
"""The timestamp of no row: before all others."""
HEADER = struct.Struct(">BHBQQ")
HEADER_SIZE = HEADER.size
TOMBSTONE_SIZE = 24
_FIRST_FORMAT = 1
_FIRST_HEADER = struct.Struct(">BHBQ")

_ARRAY = struct.Struct(">BI")
_ARRAY_32 = 0xDD  # MessagePack: an array whose length is a u32
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError)
_INSTANT = Annotated[
    int,
    msgspec.Meta(ge=to_micros(datetime.min.replace(tzinfo=UTC)), le=to_micros(datetime.max.replace(tzinfo=UTC))),
]

StoredRow = Sequence[Any]
"""The features of one row as they are stored, in order of a definition; `Wire.decode` has their values."""

_pack = msgspec.msgpack.Encoder().encode


@dataclass(frozen=True)
class Wire:
    """How values of one type travel: `None` for `encode` or `decode` is "as they are".

    `stored` is the type that MessagePack is read as; what it accepts, `decode` takes.
    """

    stored: Any
    encode: Callable[[Any], Any] | None = None
    decode: Callable[[Any], Any] | None = None


@cache
def wire_of(dtype: DType) -> Wire:
    """The wire form of a type's non-NULL values."""
    match dtype.kind:
        case "STRING":
            return Wire(str)
        case "INT":
            return Wire(int)
        case "BOOL":
            return Wire(bool)
        case "FLOAT":
            return Wire(float, encode=_finite)
        case "TIMESTAMP":
            return Wire(_INSTANT, encode=to_micros, decode=from_micros)
        case "EMBEDDING":
            assert dtype.size is not None
            floats = struct.Struct(f"<{dtype.size}f")
            size = msgspec.Meta(min_length=floats.size, max_length=floats.size)
            return Wire(
                Annotated[bytes, size],
                encode=lambda vector: floats.pack(*vector),
                decode=lambda raw: list(floats.unpack(raw)),
            )
        case _:
            assert dtype.item is not None
            item = wire_of(dtype.item)
            return Wire(list[item.stored | None], encode=_each(item.encode), decode=_each(item.decode))  # type: ignore[name-defined]


def pack_header(layout: int, feature_timestamp: int, created_timestamp: int) -> bytes:
    """The header of a value of a row (times in microseconds) without tombstones."""
    return HEADER.pack(FORMAT, layout, 0, feature_timestamp + OFFSET, created_timestamp + OFFSET)


def unpack_header(value: bytes, key: str) -> tuple[int, int, int, int]:
    """Of a stored value the layout number, feature and created timestamp (microseconds), and where its features begin.

    The feature timestamp is OLDEST if the value holds no row; the created timestamp is OLDEST if the value has none.

    Raises:
        StackError: if this is not a value of a known format.
    """
    if value[:1] == b"\x02" and len(value) >= HEADER_SIZE:
        _, layout, tombstones, timestamp, created = HEADER.unpack_from(value)
        return layout, timestamp - OFFSET, created - OFFSET, HEADER_SIZE + TOMBSTONE_SIZE * tombstones
    if len(value) < _FIRST_HEADER.size or value[0] == FORMAT:
        raise _unreadable(key, f"it has {len(value)} bytes, a header has {HEADER_SIZE}")
    if value[0] != _FIRST_FORMAT:
        raise _unreadable(key, f"its format is {value[0]}, this reader knows the formats 1 and {FORMAT}")
    _, layout, _, timestamp = _FIRST_HEADER.unpack_from(value)
    return layout, timestamp - OFFSET, OLDEST, _FIRST_HEADER.size


def pack_instant(timestamp: int) -> bytes:
    """A timestamp (microseconds) as headers and tombstones have it."""
    return (timestamp + OFFSET).to_bytes(8, "big")


class Codec:
    """Encodes and decodes the rows of one layout."""

    def __init__(self, layout: Layout, number: int) -> None:
        self.layout = layout
        self.number = number
        self._wires = tuple(wire_of(dtype) for _, dtype in layout)
        stored = tuple(wire.stored | None for wire in self._wires)
        row = tuple[stored] if stored else tuple[()]  # type: ignore[valid-type]
        self._unpack = msgspec.msgpack.Decoder(row)
        self._unpack_all = msgspec.msgpack.Decoder(list[row])  # type: ignore[valid-type]
        self._decoders = tuple((i, w.decode) for i, w in enumerate(self._wires) if w.decode is not None)

    def encode(self, feature_timestamp: int, created_timestamp: int, values: Sequence[Value]) -> bytes:
        """The stored form of one row.

        Args:
            feature_timestamp, created_timestamp: microseconds since the epoch.
            values: one per feature, in order of the layout; NaN and infinities are stored as NULL.

        Raises:
            InputError: if a value is not of its feature's type.
        """
        if len(values) != len(self.layout):
            raise InputError(f"{len(values)} values for {len(self.layout)} features", code="wrong-type")
        stored = [self._encode(i, value) for i, value in enumerate(values)]
        return pack_header(self.number, feature_timestamp, created_timestamp) + _pack(stored)

    def decode(self, value: bytes, start: int, key: str) -> list[Value]:
        """The values of a stored row, in order of the layout.

        Args:
            start: where its features begin, as its header says.

        Raises:
            StackError: if the bytes are not a row of this layout; it names the key.
        """
        try:
            row = list(self._unpack.decode(memoryview(value)[start:]))
            for i, decode in self._decoders:
                if row[i] is not None:
                    row[i] = decode(row[i])
        except _UNREADABLE as error:
            raise _unreadable(key, str(error)) from None
        return row

    def decode_rows(self, values: Sequence[bytes], start: int, keys: Sequence[str]) -> list[StoredRow]:
        """The features of some stored rows, as they are stored: all rows are read at once.

        Args:
            start: where the features of all of them begin.
            keys: under which they are stored, for errors.

        Raises:
            StackError: if one is not a row of this layout; it names the key.
        """
        try:
            if len(values) == 1:
                return [self._unpack.decode(values[0][start:])]
            body = b"".join([_ARRAY.pack(_ARRAY_32, len(values)), *[value[start:] for value in values]])
            return self._unpack_all.decode(body)
        except _UNREADABLE as error:
            for key, value in zip(keys, values, strict=True):
                self.decode(value, start, key)  # says which one it is
            raise _unreadable(keys[0], str(error)) from None

    def _encode(self, i: int, value: Value) -> Any:
        if value is None or (isinstance(value, float) and not math.isfinite(value)):
            return None
        name, dtype = self.layout[i]
        encode = self._wires[i].encode
        try:
            if _fits(dtype, value):
                return value if encode is None else encode(value)
        except OverflowError:  # a number beyond float64 in FLOAT, beyond float32 in EMBEDDING
            pass
        raise InputError(f"{value!r} is not {dtype}", where=f"feature {name!r}", code="wrong-type")


def stored_form(dtype: DType, value: Value) -> Any:
    """A value as it would be read from a stored row: what a default becomes beside stored values of its type."""
    codec = Codec(((str(dtype), dtype),), 0)
    return codec.decode_rows([codec.encode(0, 0, [value])], HEADER_SIZE, ["default"])[0][0]


def _finite(value: float) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None


def _each(convert: Callable[[Any], Any] | None) -> Callable[[Any], Any] | None:
    if convert is None:
        return None
    return lambda items: [None if item is None else convert(item) for item in items]


def _fits(dtype: DType, value: Value) -> bool:
    """Whether the type accepts the value, up to non-finite numbers in a list, which are stored as NULL."""
    if dtype.kind != "LIST" or not isinstance(value, list):
        return dtype.accepts(value)
    assert dtype.item is not None
    return all((isinstance(item, float) and dtype.item.kind == "FLOAT") or dtype.item.accepts(item) for item in value)


def _unreadable(key: str, why: str) -> StackError:
    return StackError(
        f"the stored value cannot be read: {why}",
        where=f"Redis key {key!r}",
        remedy="materialize the group again with full=True, or upgrade this client if a newer one wrote the value",
        code="unreadable-value",
    )
