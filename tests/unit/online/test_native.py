"""The native core against the Python path: the same rows, statuses, errors and answers of whatever Redis may have."""

from __future__ import annotations

import struct
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_store.dtypes import FLOAT, INT, LIST, STRING, TIMESTAMP, from_micros
from feature_store.online.native.core import NativeCore
from feature_store.online.read.decoding import GroupDecoder, UnknownLayout
from feature_store.online.read.entities import KeyColumns
from feature_store.online.vectors import EntityRows, GroupVectors, OnlineVectors
from feature_store.plan.expressions import parse_condition
from feature_store.plan.schema import Column, GroupSchema, ViewedSchema, ViewSchema
from serving.rest.answers import AnswerWriter, Shape
from tests.unit.online.native_cases import FLOATS_32, NOW, Case, as_text, cases, key_values

SHAPES: tuple[Shape, ...] = ("columns", "records", "msgpack")


def decoder_of(case: Case, core: NativeCore | None) -> GroupDecoder:
    decoder = GroupDecoder(ViewedSchema(case.group), core)
    decoder.learn(case.layouts, UnknownLayout(1, "k"))
    return decoder


def decoded(case: Case, core: NativeCore | None, *, packed: bool = False) -> EntityRows | tuple[str, str]:
    """What is read, or what is said to be wrong."""
    keys = [f"k{i}" for i in range(len(case.values))]
    try:
        return decoder_of(case, core).decode(keys, case.values, NOW, packed=packed)
    except Exception as error:
        return type(error).__name__, str(error)


def answer(case: Case, core: NativeCore | None, entities: EntityRows, shape: Shape, *, by_row: bool) -> Any:
    """An answer of the group twice, in two roles: of the case's rows, and of its first entity on every row."""
    roles = (ViewedSchema(case.group), ViewedSchema(case.group, prefix="p_"))
    view = ViewSchema("ranking", 1, roles)
    masked = case.masked | {f"p_{name}" for name in case.masked}
    chosen = None if case.chosen is None else (*case.chosen, "p_" + case.group.features[0].name)
    absent = decoder_of(case, core).absent
    groups = [
        GroupVectors(roles[0], entities, case.places, absent),
        GroupVectors(roles[1], entities, [0] * case.size, absent),
    ]
    columns = {"user_id": key_values(case.size)}
    rows: Any = KeyColumns(columns, case.size)
    vectors = OnlineVectors(view, [*rows] if by_row else rows, groups, [case.complete_at, None], NOW)
    try:
        body = AnswerWriter(view, chosen, masked, core).write(vectors, shape)
    except Exception as error:
        return type(error).__name__
    return as_text(msgspec.msgpack.decode(body)) if shape == "msgpack" else body


@settings(max_examples=150)
@given(cases(), st.booleans())
def test_whatever_is_stored_is_read_and_answered_as_by_python(core: NativeCore, case: Case, by_row: bool) -> None:
    expected, found, kept = decoded(case, None), decoded(case, core), decoded(case, core, packed=True)
    if not isinstance(expected, EntityRows):
        assert found == kept == expected
        return
    assert isinstance(found, EntityRows)
    assert not isinstance(kept, tuple)
    for each in (found, kept):
        assert (each.statuses, each.timestamps) == (expected.statuses, expected.timestamps)
    assert as_text(found.rows) == as_text(expected.rows)
    for shape in SHAPES:
        wanted = answer(case, None, expected, shape, by_row=by_row)
        assert answer(case, core, kept, shape, by_row=by_row) == wanted
        assert answer(case, core, found, shape, by_row=by_row) == wanted  # the core leaves Python's rows to Python


@settings(max_examples=100)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False) | FLOATS_32))
def test_floats_are_written_as_by_msgspec(core: NativeCore, numbers: list[float]) -> None:
    case = one_row(LIST(FLOAT), numbers)
    entities = decoded(case, core, packed=True)
    expected = decoded(case, None)
    assert not isinstance(entities, tuple)
    assert isinstance(expected, EntityRows)
    assert answer(case, core, entities, "columns", by_row=False) == answer(
        case, None, expected, "columns", by_row=False
    )


def one_row(dtype: Any, value: Any, column: Column | None = None) -> Case:
    group = GroupSchema(
        "orders", 1, (Column("user_id", STRING),), (column or Column("f", dtype),), None, 0, 1_000_000, 1
    )
    stored = struct.pack(">BHBQQ", 2, 1, 0, NOW + 2**63, NOW + 2**63) + msgspec.msgpack.encode([value])
    return Case(group, {1: (("f", dtype),)}, [stored], None, None, frozenset(), NOW)


@pytest.mark.parametrize("value", [2**64 - 1, -(2**63), 2**63 - 1, 0])
def test_integers_of_64_bits(core: NativeCore, value: int) -> None:
    case = one_row(INT, value)
    entities = decoded(case, core, packed=True)
    assert not isinstance(entities, tuple)
    assert f'"rows":[[{value},{value}]]'.encode() in answer(case, core, entities, "columns", by_row=False)


def test_instants_are_numbers_in_columns_and_texts_in_records(core: NativeCore) -> None:
    for micros in (-62_135_596_800_000_000, -1, 951_782_400_000_000, NOW + 120, 253_402_300_799_999_999):
        case = one_row(TIMESTAMP, micros)
        entities = decoded(case, core, packed=True)
        assert not isinstance(entities, tuple)
        assert f'"rows":[[{micros},'.encode() in answer(case, core, entities, "columns", by_row=False)
        text = msgspec.json.encode(from_micros(micros))
        assert b'"features":{"f":' + text in answer(case, core, entities, "records", by_row=False)


def test_a_number_that_does_not_fit_64_bits_is_told_of_null(core: NativeCore) -> None:
    overflow = parse_condition("f IS NULL", {"f": INT})
    case = one_row(INT, None, Column("f", INT, default=3, overflow=overflow))
    expected, kept = decoded(case, None), decoded(case, core, packed=True)
    assert isinstance(expected, EntityRows)
    assert not isinstance(kept, tuple)
    assert kept.overflows == expected.overflows == {"f": [0]}
    for shape in SHAPES:
        wanted = answer(case, None, expected, shape, by_row=False)
        assert answer(case, core, kept, shape, by_row=False) == wanted
        assert b"overflowed" in wanted


def test_a_layout_that_is_not_known_is_asked_for(core: NativeCore) -> None:
    case = one_row(INT, 1)
    decoder = GroupDecoder(ViewedSchema(case.group), core)
    with pytest.raises(UnknownLayout):
        decoder.decode(["k"], case.values, NOW)
