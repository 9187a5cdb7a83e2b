"""Requests that the native core reads and answers alone, against Python's path: the same command, the same answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import hiredis
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_store.dtypes import INT, STRING
from feature_store.errors import FeatureStoreError, InputError
from feature_store.online.layout import Layout
from feature_store.online.native.core import NativeCore, NativeDirectForm, NativeHead, type_numbers
from feature_store.online.read.decoding import UNREACHABLE, UnknownLayout
from feature_store.online.read.steps import GetValues, ViewReading
from feature_store.plan.schema import Column, GroupSchema, ViewedSchema, ViewSchema
from serving.rest.answers import AnswerWriter, Shape
from serving.rest.requests import OnlineRequest, Query, request_by_columns, request_by_ids
from tests.unit.online.native_cases import NOW, cases, groups, layouts, stored_values

SHAPES: tuple[Shape, ...] = ("columns", "records", "msgpack")
USER, ITEM = Column("user_id", STRING), Column("item_id", INT)
LINES, END = b"HTTP/1.1 200 OK\r\nx-request-id: ", b"connection: close\r\n"
UPDATED = st.sampled_from(
    [None, UNREACHABLE, b"%d 1" % NOW, b"%d" % (NOW - 10**12), b"-5 2", b"0 0", b"%d 1" % (NOW + 1)]
)

users = st.lists(st.text("ab0-_.~:@", max_size=3), min_size=1, max_size=8)
items = st.lists(
    st.sampled_from(["0", "-0", "007", "-5", str(2**63 - 1), str(-(2**63))]) | st.integers(0, 3).map(str), min_size=1
)
odd_items = st.sampled_from([str(2**63), "", "-", "+1", "1_0", "x", "0" * 20, " 1", "1.0"])


@dataclass(frozen=True)
class Asked:
    """A view or a group, what is stored of it under whatever key, and a query."""

    view: ViewSchema
    layouts: Sequence[Mapping[int, Layout]]
    values: Sequence[Sequence[Any]]
    updated: Sequence[Any]
    query: str
    chosen: tuple[str, ...] | None
    masked: frozenset[str]

    @property
    def is_group(self) -> bool:
        return self.query.startswith("entity_ids=")

    def rows(self) -> OnlineRequest:
        """As Python reads them."""
        read = request_by_ids if self.is_group else request_by_columns
        return read(self.view, Query(self.query.encode()))

    def reading(self, core: NativeCore | None) -> ViewReading:
        """That knows the layouts."""
        reading = ViewReading(self.view, core=core)
        for decoder, known in zip(reading._decoders, self.layouts, strict=True):
            decoder.learn(known, UnknownLayout(1, "k"))
        return reading

    def is_readable(self, core: NativeCore, keys: Sequence[str], values: Sequence[Any]) -> bool:
        """Whether the native core reads all values."""
        for decoder in self.reading(core)._decoders:
            of = [value for key, value in zip(keys, values, strict=True) if key.startswith(f"{decoder.group.id}:{{")]
            if decoder.decode_natively(of, NOW, packed=True) is None:
                return False
        return True

    def stored(self, keys: Sequence[str]) -> list[Any]:
        """What Redis has under these keys: whatever comes first to an entity's key."""
        prefixes = [f"{viewed.group.id}:" for viewed in self.view.groups]
        found: list[Any] = [*self.updated]
        for key in keys[len(prefixes) :]:
            of = next(i for i, prefix in enumerate(prefixes) if key.startswith(prefix))
            found.append(self.values[of][sum(key.encode()) % len(self.values[of])])
        return found


@st.composite
def asked(draw: st.DrawFn) -> Asked:
    """Of a group by ids, or of a view of three groups by its keys."""
    case = draw(cases())
    updated = st.lists(UPDATED, min_size=3, max_size=3)
    if draw(st.booleans()):
        key, words = (USER, users) if draw(st.booleans()) else (ITEM, items)
        group = replace(case.group, keys=(key,))
        query = "entity_ids=" + ",".join(draw(words))
        view = ViewSchema("orders", 1, (ViewedSchema(group),))
        return Asked(view, [case.layouts], [case.values], draw(updated)[:1], query, case.chosen, case.masked)
    of_items, of_pairs = _renamed(draw(groups()), "items", (ITEM,)), _renamed(draw(groups()), "pairs", (USER, ITEM))
    all_groups = (case.group, of_items, of_pairs)
    viewed = tuple(ViewedSchema(group, prefix=f"{group.name}_") for group in all_groups)
    known = [case.layouts, draw(layouts(of_items)), draw(layouts(of_pairs))]
    values = [draw(st.lists(stored_values(each), min_size=1, max_size=3)) for each in known]
    pairs = [("user_id", ",".join(draw(users))), ("item_id", ",".join(draw(items)))]
    if draw(st.booleans()):
        size = pairs[0][1].count(",") + 1
        pairs[1] = ("item_id", ",".join(draw(st.lists(st.sampled_from("012"), min_size=size, max_size=size))))
    query = "&".join(f"{name}={value}" for name, value in draw(st.permutations(pairs)))
    return Asked(ViewSchema("v", 2, viewed), known, values, draw(updated), query, None, frozenset())


def _renamed(group: GroupSchema, name: str, keys: tuple[Column, ...]) -> GroupSchema:
    return replace(group, name=name, keys=keys)


def head_of(core: NativeCore, query: str) -> NativeHead:
    head = core.read_head(f"GET /p?{query} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    assert head is not None
    return head


def form_of(core: NativeCore, case: Asked, shape: Shape) -> NativeDirectForm:
    reading = case.reading(core)
    answers = AnswerWriter(case.view, case.chosen, case.masked, core).native
    assert reading.native is not None
    assert answers is not None
    names = [pair.partition("=")[0] for pair in case.query.split("&")]
    places = {key.name: 0 if case.is_group else names.index(key.name) for key in case.view.keys}
    keys = [(places[key.name], type_numbers(key.dtype)) for key in case.view.keys]
    sets = [[places[name] for name in of] for of in reading.native.names]
    more, count = answers.usual_members(shape)
    return core.DirectForm(
        reading.native.form, sets, answers.form, SHAPES.index(shape), keys, reading.native_groups, more, count
    )


def answer_of_python(case: Asked, rows: OnlineRequest, shape: Shape) -> tuple[list[str], list[Any], bytes | None]:
    """The keys that are read, what is stored under them, and the answer; None if there is an error."""
    steps = case.reading(None).steps(rows.rows, {}, NOW)
    command = next(steps)
    assert isinstance(command, GetValues)
    keys = [*command.keys]
    values = case.stored(keys)
    try:
        steps.send(values)
    except StopIteration as done:
        try:
            return keys, values, AnswerWriter(case.view, case.chosen, case.masked).write(done.value, shape)
        except OverflowError:  # records say times as text: one of a broken value has none
            return keys, values, None
    except FeatureStoreError:
        return keys, values, None
    return keys, values, None  # it asks for a layout that is not known


@settings(max_examples=150)
@given(asked(), st.sampled_from(SHAPES))
def test_commands_and_answers_are_those_of_python(core: NativeCore, case: Asked, shape: Shape) -> None:
    head, form = head_of(core, case.query), form_of(core, case, shape)
    command = form.command(head)
    try:
        rows = case.rows()
    except InputError:
        assert command is None
        return
    keys, values, expected = answer_of_python(case, rows, shape)
    assert command is not None
    assert [*command] == keys
    assert command.packed == hiredis.pack_command(("MGET", *keys))
    found = form.answer(head, command, values, NOW, LINES, b"id-1", END)
    if expected is None:
        assert found is None
        return
    if found is None:
        assert not case.is_readable(core, keys, values) or (case.chosen, shape) == ((), "columns")
        return
    answer, of_groups, complete_at = found
    start, _, body = answer.partition(b"\r\n\r\n")
    assert start == LINES + b"id-1\r\ncontent-length: %d\r\nconnection: close" % len(body)
    if shape == "msgpack":
        assert msgspec.msgpack.decode(body) == msgspec.msgpack.decode(expected)
    else:
        assert body == expected
    assert [int(value.split()[0]) if isinstance(value, bytes) else None for value in case.updated] == [*complete_at]
    assert [of_group.present for of_group in of_groups] == [of.statuses.count("PRESENT") for of in of_groups]


@given(st.lists(items.flatmap(st.sampled_from) | odd_items, min_size=1, max_size=3))
def test_numbers_are_read_as_by_python_or_not_at_all(core: NativeCore, words: list[str]) -> None:
    group = GroupSchema("orders", 1, (ITEM,), (Column("f", STRING),), None, 0, 1, 1)
    query = "entity_ids=" + ",".join(words)
    case = Asked(ViewSchema("orders", 1, (ViewedSchema(group),)), [{}], [[None]], [None], query, None, frozenset())
    if "+" in query or " " in query:
        assert core.read_head(f"GET /p?{query} HTTP/1.1\r\n\r\n".encode()) is None
        return
    command = form_of(core, replace(case, layouts=[{1: (("f", STRING),)}]), "columns").command(head_of(core, query))
    try:
        rows = case.rows()
    except InputError:
        assert command is None
        return
    keys = [*dict.fromkeys(f"orders@1:{{{row['item_id']}}}" for row in rows.rows)]
    if max(int(row["item_id"]) for row in rows.rows) >= 2**63:
        assert command is None
    else:
        assert command is not None
        assert [*command] == ["orders@1:last_updated", *keys]


def one_group(core: NativeCore, shape: Shape = "columns") -> NativeDirectForm:
    group = GroupSchema("orders", 1, (USER,), (Column("f", STRING),), None, 0, 1, 1)
    view = ViewSchema("orders", 1, (ViewedSchema(group),))
    known = {1: (("f", STRING),)}
    return form_of(core, Asked(view, [known], [[None]], [None], "entity_ids=a", None, frozenset()), shape)


def test_a_thousand_rows_are_the_most(core: NativeCore) -> None:
    form = one_group(core)
    thousand = form.command(head_of(core, "entity_ids=" + ",".join(["a", "b"] * 500)))
    assert thousand is not None
    assert [*thousand] == ["orders@1:last_updated", "orders@1:{a}", "orders@1:{b}"]
    assert form.command(head_of(core, "entity_ids=" + ",".join(["a"] * 1_001))) is None


@pytest.mark.parametrize("updated", [b"", b"x 1", b"1_0 1", b"+5 1", b"5.0 1", b"%d 1" % 2**63, 5])
def test_what_nobody_of_ours_wrote_is_left_to_python(core: NativeCore, updated: Any) -> None:
    form, head = one_group(core), head_of(core, "entity_ids=a")
    command = form.command(head)
    assert command is not None
    for values in ([updated, None], [None], [None, None, None], (None, None), None):
        assert form.answer(head, command, values, NOW, LINES, b"i", b"") is None  # type: ignore[arg-type]


def test_parts_of_other_views_are_refused(core: NativeCore) -> None:
    form, other, head = one_group(core), one_group(core), head_of(core, "entity_ids=a")
    command = other.command(head)
    assert command is not None
    with pytest.raises(ValueError, match="another form"):
        form.answer(head, command, [None, None], NOW, LINES, b"i", b"")
    wrong: Any = command
    with pytest.raises(TypeError, match="another type"):
        form.command(wrong)


def test_a_request_without_the_parameters_of_a_form_has_no_command(core: NativeCore) -> None:
    form, head = one_group(core, "records"), head_of(core, "shape=records")
    assert form.command(head) is None
    command = form.command(head_of(core, "entity_ids=a"))
    assert command is not None
    assert form.answer(head, command, [None, None], NOW, LINES, b"i", b"") is None
