"""Keys and commands of the native core against the Python path: the same keys, places and bytes for any rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_store.dtypes import BOOL, INT, STRING, TIMESTAMP, DType
from feature_store.errors import InputError
from feature_store.online.native.core import NativeCore
from feature_store.online.read.entities import KeyColumns, entity_tags
from feature_store.online.read.native_round import NativeRound
from feature_store.plan.schema import Column

KEYS: Sequence[Mapping[str, DType]] = ({"a": STRING}, {"b": INT}, {"a": STRING, "b": INT, "c": BOOL})
FIRST = ("g0@1:last_updated", "é@2:last_updated")
TEXTS = st.sampled_from(["", "%", "{x|y}", "é", "a", "b", "u00042", "\ud800", "a\r\n$1"]) | st.text(max_size=20)
NUMBERS = st.sampled_from([0, 1, -(2**63), 2**63 - 1, 2**63, True]) | st.integers()


def row(unusual: bool) -> st.SearchStrategy[dict[str, Any]]:
    """A row; an unusual one may have values of other types, or lack a column."""
    columns: dict[str, st.SearchStrategy[Any]] = {
        "a": st.none() | TEXTS,
        "b": st.none() | NUMBERS,
        "c": st.none() | st.booleans(),
    }
    if not unusual:
        usual = {"a": st.none() | st.sampled_from(["", "%|", "é", "u1", "u2"]), "b": st.none() | st.integers(-2, 2)}
        return st.fixed_dictionaries({**columns, **usual})
    return st.fixed_dictionaries({"c": st.just(1.5) | columns["c"]}, optional={"a": columns["a"], "b": columns["b"]})


ROWS = st.lists(row(unusual=False), min_size=1, max_size=40) | st.lists(row(unusual=True), min_size=1, max_size=4)


@given(ROWS, st.booleans())
def test_keys_and_places_are_those_of_python(core: NativeCore, rows: list[dict[str, Any]], by_column: bool) -> None:
    sets = [[Column(name, dtype) for name, dtype in each.items()] for each in KEYS]
    groups = [("g0@1:", 0), ("é@2:", 2), ("g3@1:", 1), ("g4@1:", 0)]
    given_rows: Sequence[Mapping[str, Any]] = rows
    if by_column and all(len(each) == 3 for each in rows):
        given_rows = KeyColumns({name: [each[name] for each in rows] for name in "abc"}, len(rows))
    command = NativeRound(core, FIRST, sets, groups).command(given_rows)
    try:
        expected = [entity_tags(columns, rows) for columns in sets]
    except InputError:
        assert command is None
        return
    assert command is not None
    keys = [*FIRST, *(key for prefix, of in groups for key in expected[of].keys(prefix))]
    assert [*command] == keys
    assert len(command) == len(keys)
    assert [command[i] for i in range(len(keys))] == keys
    assert (command[1:-1], command[-1]) == (keys[1:-1], keys[-1])
    assert command.packed == hiredis.pack_command(("MGET", *keys))
    for of, tags in enumerate(expected):
        assert command.count(of) == len(tags.tags)
        assert command.places(of) == (None if tags.places is None else [*tags.places])


def test_many_rows(core: NativeCore) -> None:
    rows = [{"a": f"u{i * 7 % 1_000}"} for i in range(5_000)]
    command = NativeRound(core, (), [[Column("a", STRING)]], [("g@1:", 0)]).command(rows)
    assert command is not None
    assert [*command] == [f"g@1:{{u{i * 7 % 1_000}}}" for i in range(1_000)]
    assert command.places(0) == [i % 1_000 for i in range(5_000)]


def test_instants_are_left_to_python(core: NativeCore) -> None:
    assert NativeRound(core, (), [[Column("t", TIMESTAMP)]], [("g@1:", 0)]).command([{"t": 5}]) is None


def test_there_is_no_key_beyond_the_last(core: NativeCore) -> None:
    command = NativeRound(core, FIRST, [[Column("a", STRING)]], [("g@1:", 0)]).command([{"a": "x"}])
    assert command is not None
    with pytest.raises(IndexError):
        command[3]
    with pytest.raises(IndexError):
        command.count(1)
