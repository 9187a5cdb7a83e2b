"""Many stored values decoded at once: what one gets of each, against what was stored, one value after the other."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_store import INT, STRING, TIMESTAMP
from feature_store.dtypes import LIST, from_micros
from feature_store.duration import HOUR
from feature_store.errors import ConflictError, InputError, StackError
from feature_store.online.keys import entity_tag
from feature_store.online.read.decoding import GroupDecoder, UnknownLayout
from feature_store.online.read.entities import KeyColumns, entity_tags
from feature_store.online.vectors import NO_ENTITY, EntityRows, GroupVectors, Status
from feature_store.plan.schema import Column, GroupSchema, ViewedSchema

NOW = 1_790_000_000_000_000
GROUP = GroupSchema(
    "user_orders",
    1,
    keys=(Column("user_id", STRING),),
    features=(Column("count", INT, default=7), Column("seen", TIMESTAMP), Column("words", LIST(STRING), default=["-"])),
    ttl=HOUR,
    availability_delay=0,
    freshness=HOUR,
    buckets=1,
)
LAYOUTS = {
    1: (("count", INT), ("seen", TIMESTAMP), ("words", LIST(STRING))),
    2: (("words", LIST(STRING)), ("other", STRING), ("count", INT)),  # before `seen` was added
}
FEATURES = st.fixed_dictionaries(
    {
        "count": st.none() | st.integers(-(2**63), 2**63 - 1),
        "seen": st.none() | st.integers(0, NOW),
        "words": st.none() | st.lists(st.none() | st.text(max_size=3), max_size=3),
        "other": st.none() | st.text(max_size=3),
    }
)


@dataclass(frozen=True)
class Stored:
    """One value as Redis may have it; without features it holds tombstones only, or a row that had expired."""

    format: int
    layout: int
    tombstones: int
    age: int
    created: int
    features: dict[str, Any] | None

    @property
    def value(self) -> bytes:
        order = (NOW - self.age + 2**63, self.created + 2**63)
        if self.format == 1:
            head = struct.pack(">BHBQ", 1, self.layout, 0, order[0])
        else:
            head = struct.pack(">BHBQQ", 2, self.layout, self.tombstones, *order) + b"t" * 24 * self.tombstones
        if self.features is None:
            return head
        return head + msgspec.msgpack.encode([self.features[name] for name, _ in LAYOUTS[self.layout]])


AGES = st.sampled_from([0, HOUR - 1, HOUR, HOUR + 1, 2 * HOUR, 2 * HOUR + 1, 50 * HOUR]) | st.integers(0, 3 * HOUR)
VALUES = st.none() | st.builds(
    Stored,
    format=st.sampled_from([1, 2, 2]),
    layout=st.sampled_from([1, 1, 2]),
    tombstones=st.sampled_from([0, 0, 0, 1, 2]),
    age=AGES,
    created=st.just(NOW) | st.integers(NOW - 4 * HOUR, NOW),
    features=st.none() | FEATURES,
)


def expected(stored: Stored | None, group: GroupSchema) -> tuple[Status, int | None, tuple[Any, ...]]:
    """Status, feature_timestamp and features by the rules, of one value."""
    nothing = (7, None, ["-"])
    if stored is None:
        return Status.NOT_FOUND, None, nothing
    timestamp = NOW - stored.age
    if stored.features is None or (group.ttl is not None and stored.age > group.ttl):
        known_for = NOW - max(timestamp + (group.ttl or 0), stored.created if stored.format == 2 else -(2**63))
        if group.ttl is not None and known_for > min(group.ttl, 24 * HOUR):
            return Status.NOT_FOUND, None, nothing
        return Status.EXPIRED, timestamp, nothing
    names = {name for name, _ in LAYOUTS[stored.layout]}
    had = {name: value if name in names else None for name, value in stored.features.items()}
    seen = None if had["seen"] is None else from_micros(had["seen"])
    filled = had["count"] is None or had["words"] is None
    row = (7 if had["count"] is None else had["count"], seen, ["-"] if had["words"] is None else had["words"])
    return Status.DEFAULTED if filled else Status.PRESENT, timestamp, row


def decoder_of(group: GroupSchema) -> GroupDecoder:
    decoder = GroupDecoder(ViewedSchema(group))
    decoder.learn(LAYOUTS, UnknownLayout(1, "k"))
    return decoder


def rows_of(group: GroupSchema, found: EntityRows) -> list[tuple[Status, int | None, tuple[Any, ...]]]:
    vectors = GroupVectors(ViewedSchema(group), found, None, decoder_of(group).absent)
    rows = zip(*[vectors.column(i) for i in range(len(group.features))], strict=True)
    return [*zip(found.statuses, found.timestamps, rows, strict=True)]


@given(st.lists(VALUES, max_size=12), st.sampled_from([HOUR, None]))
def test_every_value_is_decoded_as_if_it_were_alone(stored: list[Stored | None], ttl: int | None) -> None:
    group = replace(GROUP, ttl=ttl)
    keys = [f"k{i}" for i in range(len(stored))]
    found = decoder_of(group).decode(keys, [None if each is None else each.value for each in stored], NOW)
    assert rows_of(group, found) == [expected(each, group) for each in stored]


@given(st.lists(VALUES, max_size=12), st.sampled_from([HOUR, None]))
def test_packed_rows_are_those_that_are_decoded(stored: list[Stored | None], ttl: int | None) -> None:
    decoder = decoder_of(replace(GROUP, ttl=ttl))
    keys = [f"k{i}" for i in range(len(stored))]
    values = [None if each is None else each.value for each in stored]
    decoded, packed = decoder.decode(keys, values, NOW), decoder.decode(keys, values, NOW, packed=True)
    assert msgspec.msgpack.encode(packed.rows) == msgspec.msgpack.encode(decoded.rows)
    assert (packed.statuses, packed.timestamps) == (decoded.statuses, decoded.timestamps)
    assert packed.overflows == decoded.overflows


def row(**features: Any) -> Stored:
    return Stored(2, 1, 0, 0, NOW, {"count": 1, "seen": None, "words": [], "other": None, **features})


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"\x02",
        b"\x09" + row().value[1:],
        row().value[:19],
        row().value[:-1],
        row().value + b"\x00",
        row(count="x").value,
        row(seen=2**63 - 1).value,
        Stored(2, 1, 1, 0, NOW, None).value[:-1],
    ],
)
def test_a_damaged_value_among_others_is_named(damaged: bytes) -> None:
    values = [row().value, damaged, row().value, None]
    with pytest.raises(StackError, match="'k1'") as error:
        decoder_of(GROUP).decode(["k0", "k1", "k2", "k3"], values, NOW)
    assert error.value.code == "unreadable-value"


def test_a_layout_is_asked_for_when_it_is_met() -> None:
    decoder = GroupDecoder(ViewedSchema(GROUP))
    with pytest.raises(UnknownLayout) as met:
        decoder.decode(["k0", "k1"], [None, row().value], NOW)
    assert (met.value.number, met.value.key) == (1, "k1")
    with pytest.raises(StackError, match="has layout 1, which nobody registered"):
        decoder.learn({2: LAYOUTS[2]}, met.value)
    with pytest.raises(ConflictError, match="'count' is INT here and STRING"):
        decoder.learn({1: (("count", STRING),)}, met.value)


KEYS: dict[str, tuple[Column, ...]] = {
    "text": (Column("name", STRING),),
    "number": (Column("number", INT),),
    "both": (Column("name", STRING), Column("number", INT)),
}
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "name": st.none() | st.sampled_from(["a", "b", "", "a|b", "%", "é", "{}"]) | st.text(max_size=4),
            "number": st.none() | st.integers(-3, 3) | st.integers(-(2**63), 2**63 - 1),
        }
    ),
    max_size=12,
)


@pytest.mark.parametrize("columns", KEYS.values(), ids=KEYS)
@given(rows=ROWS)
def test_every_row_finds_its_entity(columns: Sequence[Column], rows: list[dict[str, Any]]) -> None:
    found = entity_tags(columns, rows)
    by_columns = KeyColumns({column.name: [row[column.name] for row in rows] for column in columns}, len(rows))
    assert entity_tags(columns, by_columns) == found
    assert found.keys("user_orders@1:") == [f"user_orders@1:{tag}" for tag in found.tags]
    assert len(set(found.tags)) == len(found.tags)
    places = range(len(rows)) if found.places is None else found.places
    tags = [None if place == NO_ENTITY else found.tags[place] for place in places]
    assert tags == [entity_tag(columns, row) for row in rows]


@given(st.lists(VALUES, max_size=5), st.data())
def test_rows_of_one_entity_have_the_same_values(stored: list[Stored | None], data: st.DataObject) -> None:
    decoder = decoder_of(GROUP)
    found = decoder.decode([f"k{i}" for i in range(len(stored))], [each and each.value for each in stored], NOW)
    places = data.draw(st.lists(st.integers(NO_ENTITY, len(stored) - 1), max_size=8))
    vectors = GroupVectors(decoder.viewed, found, places, decoder.absent)
    rows = [expected(None if place == NO_ENTITY else stored[place], GROUP) for place in places]
    columns = [vectors.column(i) for i in range(len(GROUP.features))]
    assert [*zip(vectors.statuses, vectors.timestamps, zip(*columns, strict=True), strict=True)] == rows


@pytest.mark.parametrize(
    ("rows", "where"),
    [
        ([{"number": 1}, {}], "row 1"),
        ([{"number": 1}, {"number": True}], "row 1"),
        ([{"number": 1}, {"number": 2}, {"number": 2**63}], "row 2"),
        ([{"number": "1"}], "row 0"),
    ],
)
def test_a_row_without_a_good_key_is_named(rows: list[dict[str, Any]], where: str) -> None:
    with pytest.raises(InputError) as error:
        entity_tags(KEYS["number"], rows)
    assert error.value.where == where
