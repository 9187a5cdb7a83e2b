"""Commands of the native core for the nodes of a cluster against plain Python: who is asked what, what goes where."""

from __future__ import annotations

import random
from array import array
from collections.abc import Sequence
from typing import Any

import hiredis
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from feature_store.dtypes import INT, STRING
from feature_store.online.native.core import NativeCommand, NativeCore
from feature_store.online.read.connection import NodeError
from feature_store.online.read.decoding import UNREACHABLE
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
        assert core.put_replies(found, replies, order) == refused
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
        core.put_replies([None] * len(command), [None] * (count + 1), order)
    with pytest.raises(IndexError):
        core.put_replies([], [b"x"] * count, array("I", [1, 9] * count).tobytes())
    with pytest.raises(TypeError):
        core.put_replies((), [], order)  # type: ignore[arg-type]
    assert core.put_replies([7] * len(command), [5] * count, order) == [*range(count)]


@given(st.lists(st.text(alphabet="{}a%é", max_size=6)), st.integers(0, 2**32))
def test_any_keys_are_in_the_slots_that_redis_says(core: NativeCore, keys: list[str], seed: int) -> None:
    owners = array("H", [random.Random(seed + i).randrange(5) for i in range(16)]) * (SLOTS // 16)
    parts = core.keys_by_node(keys, owners.tobytes())
    assert parts is not None
    seen: list[bytes] = []
    for node, packed, _, _ in parts[0]:
        for _, *of_command in commands_in(packed):
            assert {owners[key_slot(key)] for key in of_command} == {node}
            assert len({key_slot(key) for key in of_command}) == 1
            seen += of_command
    assert sorted(seen) == sorted(key.encode() for key in keys)


@pytest.mark.parametrize("keys", [["\ud800"], [b"a"], [None]])
def test_keys_that_are_no_texts_are_left_to_python(core: NativeCore, keys: list[Any]) -> None:
    assert core.keys_by_node(keys, bytes(2 * SLOTS)) is None


PARTS = st.none() | st.binary(max_size=300) | st.just("text") | st.just(5)
VECTORS = st.lists(
    st.none()
    | st.just(UNREACHABLE)
    | st.binary(max_size=5)
    | st.lists(PARTS, max_size=5).map(msgspec.msgpack.encode)
    | st.lists(st.none() | st.binary(max_size=20), min_size=2, max_size=4).map(msgspec.msgpack.encode)
    | st.lists(st.none() | st.binary(max_size=20), min_size=3, max_size=3).map(
        lambda parts: msgspec.msgpack.encode([b"token", *parts])
    ),
    max_size=6,
)


@given(VECTORS, st.none() | st.sampled_from([b"token", b"another", b""]))
def test_vectors_are_taken_apart_as_python_does(core: NativeCore, vectors: list[Any], token: bytes | None) -> None:
    columns: list[list[Any]] = [[], [], []]
    others = []
    unreadable = False
    for place, vector in enumerate(vectors):
        parts: Any = [vector] * 3
        if isinstance(vector, bytes):
            try:
                parts = msgspec.msgpack.decode(vector, type=list[bytes | None])
            except msgspec.MsgspecError:
                unreadable = True
                break
            if token is None and len(parts) != 3:
                unreadable = True
                break
        if token is not None and vector is not UNREACHABLE:
            if isinstance(vector, bytes) and len(parts) == 4 and parts[0] == token:
                parts = parts[1:]
            else:
                parts = [None] * 3
                others.append(place)
        for column, part in zip(columns, parts, strict=True):
            column.append(part)
    assert core.split_vectors(vectors, 3, token) == (None if unreadable else (columns, others))
