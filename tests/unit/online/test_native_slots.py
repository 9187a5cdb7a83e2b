"""Commands of the native core for the nodes of a cluster against plain Python: who is asked what, what goes where."""

from __future__ import annotations

import random
from array import array
from collections.abc import Sequence
from typing import Any

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from feature_store.dtypes import INT, STRING
from feature_store.online.native.core import NativeCommand, NativeCore
from feature_store.online.read.connection import NodeError
from feature_store.online.read.native_round import NativeRound
from feature_store.online.read.topology import SLOTS
from feature_store.plan.schema import Column

FIRST = ("g0@1:last_updated", "é@2:last_updated")
SETS = [[Column("a", STRING)], [Column("a", STRING), Column("b", INT)]]
GROUPS = [("g0@1:", 0), ("é@2:", 1), ("g3@1:", 0)]
ROWS = st.lists(
    st.fixed_dictionaries({"a": st.none() | st.text(max_size=6), "b": st.none() | st.integers(-3, 3)}), max_size=40
)
NOBODY = 0xFFFF


def command_for(core: NativeCore, rows: Sequence[dict[str, Any]]) -> NativeCommand:
    command = NativeRound(core, FIRST, SETS, GROUPS).command(rows)
    assert command is not None
    return command


def commands_in(packed: bytes) -> list[list[bytes]]:
    """Commands as Redis would read them."""
    reader = hiredis.Reader()
    reader.feed(packed)
    found = []
    while (command := reader.gets()) is not False:
        found.append(command)
    return found


@given(ROWS, st.integers(0, 2**32), st.integers(1, 4))
def test_every_key_is_asked_of_its_node_and_its_reply_goes_to_its_place(
    core: NativeCore, rows: list[dict[str, Any]], seed: int, nodes: int
) -> None:
    chance = random.Random(seed)
    owners = array("H", [chance.choice([*range(nodes), NOBODY]) for _ in range(16)]) * (SLOTS // 16)
    command = command_for(core, rows)
    keys = [key.encode() for key in command]
    parts = command.by_node(owners.tobytes())
    assert parts is not None
    asked, is_whole = parts
    found: list[Any] = ["unknown"] * len(keys)
    expected: list[Any] = [key if owners[key_slot(key)] != NOBODY else "unknown" for key in keys]
    assert is_whole == ("unknown" not in expected)
    seen = []
    for node, packed, count, order in asked:
        commands = commands_in(packed)
        assert len(commands) == count
        replies: list[Any] = []
        refused = []
        numbers = iter(array("I", order))
        for number, (name, *of_command) in enumerate(commands):
            places = [next(numbers) for _ in range(next(numbers))]
            assert [keys[place] for place in places] == of_command
            assert {owners[key_slot(key)] for key in of_command} == {node}
            assert len({key_slot(key) for key in of_command}) == 1
            assert name == (b"GET" if len(of_command) == 1 else b"MGET")
            seen += of_command
            if chance.random() < 0.2:
                refused.append(number)
                replies.append(NodeError("MOVED 1 :7000"))
                for place in places:
                    expected[place] = "unknown"
            else:
                missing = chance.random() < 0.2
                for place in places:
                    expected[place] = None if missing else keys[place]
                values = [None if missing else key for key in of_command]
                replies.append(values[0] if len(values) == 1 else values)
        assert [*numbers] == []
        assert command.put(found, replies, order) == refused
    assert found == expected
    assert len({key_slot(key) for key in seen}) == sum(count for _, _, count, _ in asked)


def test_replies_that_do_not_fit_are_errors(core: NativeCore) -> None:
    command = command_for(core, [{"a": "x", "b": 1}])
    parts = command.by_node(bytes(2 * SLOTS))
    assert parts is not None
    (((_, _, count, order),), is_whole) = parts
    assert is_whole
    with pytest.raises(ValueError, match="slots"):
        command.by_node(b"")
    with pytest.raises(ValueError, match="places"):
        command.put([None] * len(command), [None] * (count + 1), order)
    with pytest.raises(IndexError):
        command.put([], [b"x"] * count, array("I", [1, 9] * count).tobytes())
    with pytest.raises(TypeError):
        command.put((), [], order)  # type: ignore[arg-type]
    assert command.put([7] * len(command), [5] * count, order) == [*range(count)]


def test_keys_with_braces_before_those_of_entities_are_left_to_python(core: NativeCore) -> None:
    command = NativeRound(core, ["{a}:b"], [[Column("a", STRING)]], [("g@1:", 0)]).command([{"a": "x"}])
    assert command is not None
    assert command.by_node(bytes(2 * SLOTS)) is None
