"""Values in Redis: a fixed 12-byte header and a MessagePack array of the features, positional as its layout says.

    offset 0  format             u8, 1
    offset 1  layout number      u16, big-endian: names, types and order are in the group's layouts hash
    offset 3  reserved           u8, 0
    offset 4  feature_timestamp  u64, big-endian: microseconds since the epoch + 2**63
    offset 12 features           MessagePack array; nothing at all: the row had expired when it was written

The timestamp orders as bytes and sits at the same place in every format, so the guard inside Redis needs no decoder.
NULL is nil; defaults are never stored. TIMESTAMP is an integer of microseconds, EMBEDDING little-endian float32 bytes,
LIST an array; the other types are what MessagePack has.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from feature_store.dtypes import DType, Value, from_micros, to_micros
from feature_store.errors import InputError, StackError
from feature_store.online.layout import Layout

FORMAT = 1
OFFSET = 2**63
HEADER = struct.Struct(">BHBQ")
HEADER_SIZE = HEADER.size

_pack = msgspec.msgpack.Encoder().encode


@dataclass(frozen=True)
class Wire:
    """How values of one type travel: `None` for `encode` or `decode` is "as they are"."""

    stored: Any
    encode: Callable[[Any], Any] | None = None
    decode: Callable[[Any], Any] | None = None


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
            return Wire(int, encode=to_micros, decode=from_micros)
        case "EMBEDDING":
            assert dtype.size is not None
            floats = struct.Struct(f"<{dtype.size}f")
            return Wire(bytes, encode=lambda vector: floats.pack(*vector), decode=lambda raw: list(floats.unpack(raw)))
        case _:
            assert dtype.item is not None
            item = wire_of(dtype.item)
            return Wire(list[item.stored | None], encode=_each(item.encode), decode=_each(item.decode))  # type: ignore[name-defined]


def pack_header(layout: int, feature_timestamp: int) -> bytes:
    """The header of a value of a row at `feature_timestamp` (microseconds)."""
    return HEADER.pack(FORMAT, layout, 0, feature_timestamp + OFFSET)


def unpack_header(value: bytes, key: str) -> tuple[int, int]:
    """Layout number and feature timestamp (microseconds) of a stored value.

    Raises:
        StackError: if this is not a value of a known format.
    """
    if len(value) < HEADER_SIZE:
        raise _unreadable(key, f"it has {len(value)} bytes, a header has {HEADER_SIZE}")
    form, layout, _, timestamp = HEADER.unpack_from(value)
    if form != FORMAT:
        raise _unreadable(key, f"its format is {form}, this reader knows format {FORMAT}")
    return layout, timestamp - OFFSET


class Codec:
    """Encodes and decodes the rows of one layout."""

    def __init__(self, layout: Layout, number: int) -> None:
        self.layout = layout
        self.number = number
        self._wires = tuple(wire_of(dtype) for _, dtype in layout)
        stored = tuple(wire.stored | None for wire in self._wires)
        self._unpack = msgspec.msgpack.Decoder(tuple[stored] if stored else tuple[()])  # type: ignore[valid-type]
        self._decoders = tuple((i, w.decode) for i, w in enumerate(self._wires) if w.decode is not None)

    def encode(self, feature_timestamp: int, values: Sequence[Value]) -> bytes:
        """The stored form of one row.

        Args:
            feature_timestamp: microseconds since the epoch.
            values: one per feature, in order of the layout; NaN and infinities are stored as NULL.

        Raises:
            InputError: if a value is not of its feature's type.
        """
        if len(values) != len(self.layout):
            raise InputError(f"{len(values)} values for {len(self.layout)} features", code="wrong-type")
        stored = [self._encode(i, value) for i, value in enumerate(values)]
        return pack_header(self.number, feature_timestamp) + _pack(stored)

    def decode(self, value: bytes, key: str) -> list[Value]:
        """The values of a stored row, in order of the layout.

        Raises:
            StackError: if the bytes are not a row of this layout; it names the key.
        """
        try:
            row = list(self._unpack.decode(memoryview(value)[HEADER_SIZE:]))
            for i, decode in self._decoders:
                if row[i] is not None:
                    row[i] = decode(row[i])
        except (msgspec.DecodeError, struct.error, OverflowError, UnicodeDecodeError) as error:
            raise _unreadable(key, str(error)) from None
        return row

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


def wire_round_trip(dtype: DType, value: Value) -> Value:
    """The value as a reader gets it back: a default becomes what a stored value of its type would be."""
    codec = Codec(((str(dtype), dtype),), 0)
    return codec.decode(codec.encode(0, [value]), "default")[0]


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
