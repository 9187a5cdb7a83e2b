"""Random groups, values as Redis may have them, and answers: what the native core and Python are compared on."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from hypothesis import strategies as st

from feature_store.dtypes import BOOL, EMBEDDING, FLOAT, INT, LIST, STRING, TIMESTAMP, DType, from_micros
from feature_store.duration import HOUR
from feature_store.online.codec import Codec
from feature_store.online.layout import Layout, layout_of
from feature_store.online.read.decoding import UNREACHABLE
from feature_store.plan.schema import Column, GroupSchema

NOW = 1_790_000_000_000_000
SCALARS = (STRING, INT, FLOAT, BOOL, TIMESTAMP)
TYPES = st.sampled_from([*SCALARS, EMBEDDING(1), EMBEDDING(3), *map(LIST, SCALARS)])
TEXTS = st.text(max_size=12) | st.sampled_from(['"\\/', "\x00\x1f\x7f", "ß€😀 and more than eight", "a" * 300])
FLOATS_32 = st.floats(width=32, allow_nan=False, allow_infinity=False)
INSTANTS = st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999) | st.integers(NOW - HOUR, NOW)


def values_of(dtype: DType) -> st.SearchStrategy[Any]:
    """Values of a type, without NULL."""
    match dtype.kind:
        case "STRING":
            return TEXTS
        case "INT":
            return st.integers(-(2**63), 2**63 - 1) | st.integers(-200, 70_000)
        case "FLOAT":
            return st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53).map(float)
        case "BOOL":
            return st.booleans()
        case "TIMESTAMP":
            return INSTANTS.map(from_micros)
        case "EMBEDDING":
            assert dtype.size is not None
            return st.lists(FLOATS_32, min_size=dtype.size, max_size=dtype.size)
        case _:
            assert dtype.item is not None
            return st.lists(st.none() | values_of(dtype.item), max_size=4)


@st.composite
def groups(draw: st.DrawFn) -> GroupSchema:
    """A group of one to five features with or without defaults, with or without a ttl."""
    features = []
    for i, dtype in enumerate(draw(st.lists(TYPES, min_size=1, max_size=5))):
        default = draw(st.none() | values_of(dtype))
        features.append(Column(f"f{i}é", dtype, default))
    ttl = draw(st.sampled_from([None, HOUR]))
    return GroupSchema("orders", 1, (Column("user_id", STRING),), tuple(features), ttl, 0, HOUR, 1)


@st.composite
def layouts(draw: st.DrawFn, group: GroupSchema) -> dict[int, Layout]:
    """That of the definition, and an older one: some of its features in another order, and one that is gone."""
    some = draw(st.lists(st.sampled_from(layout_of(group)), unique_by=lambda field: field[0]))
    return {1: layout_of(group), 300: (*some, ("gone", draw(TYPES)))}


@st.composite
def stored_values(draw: st.DrawFn, known: dict[int, Layout]) -> Any:
    """A value: none, unreachable, of either format, with tombstones, without a row, and sometimes damaged."""
    kind = draw(st.sampled_from([*["row"] * 7, "none", "unreachable"]))
    if kind != "row":
        return None if kind == "none" else UNREACHABLE
    number = draw(st.sampled_from([1, 1, 1, 300]))
    row = [draw(st.none() | values_of(dtype)) for _, dtype in known[number]]
    timestamp = NOW - draw(st.sampled_from([0, 1, HOUR, HOUR + 1, 2 * HOUR, 2 * HOUR + 1, 50 * HOUR]))
    whole = Codec(known[number], number).encode(timestamp, NOW, row)
    body = b"" if draw(st.integers(0, 9)) == 0 else whole[20:]
    order = struct.unpack(">QQ", whole[4:20])
    if draw(st.integers(0, 3)) == 0:
        value = struct.pack(">BHBQ", 1, number, 0, order[0]) + body
    else:
        tombstones = draw(st.sampled_from([0, 0, 1, 3]))
        value = struct.pack(">BHBQQ", 2, number, tombstones, *order) + b"t" * 24 * tombstones + body
    return draw(damaged(value)) if draw(st.integers(0, 3)) == 0 else value


@st.composite
def damaged(draw: st.DrawFn, value: bytes) -> bytes:
    """Bytes that are cut off, longer, or have others among them."""
    place = draw(st.integers(0, len(value) - 1))
    match draw(st.sampled_from(["cut", "longer", "other", "inserted", "taken"])):
        case "cut":
            return value[:place]
        case "longer":
            return value + draw(st.binary(min_size=1, max_size=3))
        case "other":
            return value[:place] + draw(st.binary(min_size=1, max_size=4)) + value[place + 1 :]
        case "inserted":
            return value[:place] + draw(st.binary(min_size=1, max_size=2)) + value[place:]
        case _:
            return value[:place] + value[place + 1 :]


@dataclass(frozen=True)
class Case:
    """Values of some entities of a group, and of the rows of an answer which entity each has (None: the same one)."""

    group: GroupSchema
    layouts: dict[int, Layout]
    values: list[Any]
    places: list[int] | None
    chosen: tuple[str, ...] | None
    masked: frozenset[str]
    complete_at: int | None

    @property
    def size(self) -> int:
        return len(self.values) if self.places is None else len(self.places)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Any of them."""
    group = draw(groups())
    known = draw(layouts(group))
    values = draw(st.lists(stored_values(known), min_size=1, max_size=5))
    places = draw(st.none() | st.lists(st.integers(-1, len(values) - 1), min_size=1, max_size=6))
    names = [feature.name for feature in group.features]
    chosen = draw(st.none() | st.lists(st.sampled_from(names), unique=True).map(tuple))
    masked = draw(st.frozensets(st.sampled_from(names), max_size=2))
    return Case(group, known, values, places, chosen, masked, draw(st.none() | INSTANTS))


def as_text(value: Any) -> bytes:
    """Something that tells values apart, also those that are not equal to themselves."""
    return msgspec.msgpack.encode(value)


def key_values(size: int) -> Sequence[Any]:
    """Keys of each kind."""
    return [('a"b', None, "é")[i % 3] for i in range(size)]
