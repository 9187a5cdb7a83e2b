"""Vectors of pre-joined views on a real Valkey: they say what the groups say, whatever happens, at any instant."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from feature_store.dtypes import from_micros
from feature_store.duration import DAY, MINUTE
from feature_store.errors import StackError
from feature_store.online.calls import Call, call
from feature_store.online.connection import connect
from feature_store.online.keys import VECTOR_SETS_KEY
from feature_store.online.native.core import NativeCore
from feature_store.online.reader import OnlineReader
from feature_store.online.vector_sets import LEFT_FOR, keep_sets, vector_sets
from tests.integration.counting_reader import CountingReader, NativeReader
from tests.integration.own_valkey import running_valkey
from tests.integration.vector_cases import (
    CHANGES,
    DROPS,
    GROUPS,
    KEEPS,
    PLAIN,
    ROWS,
    SETS,
    USER_TAGS,
    VIEW,
    DeathError,
    Interrupted,
    Life,
    check_vectors,
    instants,
)

READ: Counter[str] = Counter()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    with running_valkey(tmp_path_factory.mktemp("vectors")) as server, connect(server.url) as redis:
        yield redis


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(CHANGES | KEEPS | DROPS | st.just(("flush",)) | CHANGES, max_size=14))
def test_vectors_say_what_the_groups_say_whatever_happened(
    store: Redis, core: NativeCore, steps: list[tuple[Any, ...]]
) -> None:
    store.flushdb()
    native = NativeReader(store, core)
    life, plain, joined = Life(store), OnlineReader(store), CountingReader(store)
    for step in [*steps, ("keep", False, [], None)]:
        life.happens(step)
        READ["complete sets"] += check_vectors(store)
        same(plain, joined, instants(store, life.now)[:3])
        same(plain, native, [life.now])
    assert check_vectors(store) == len(SETS)
    same(plain, joined, instants(store, life.now))
    asked = joined.asked[-1]
    assert not [key for key in asked if key.startswith(("u1@", "u2@", "u3@", "i1@", "i2@"))]
    assert len(asked) <= 2 + 1 + 3 + 2 + 6


def same(plain: OnlineReader, joined: OnlineReader, at: list[int]) -> None:
    for instant in map(from_micros, at):
        one, other = plain.read(PLAIN, ROWS, instant), joined.read(VIEW, ROWS, instant)
        assert other.to_dicts() == one.to_dicts()
        assert other.statuses == one.statuses
        assert other.feature_timestamps == one.feature_timestamps
        assert other.stale == one.stale


def row(place: int, hour: int, created: int = 0, text: str = "x") -> tuple[Any, ...]:
    return ("write", place, [(0, hour, created, text)])


FILL = ("keep", False, [], None)


def test_a_filling_that_was_overtaken_by_a_drop_completes_nothing(store: Redis) -> None:
    store.flushdb()
    life = Life(store)
    life.happens(row(0, -3))
    commands = 0

    def interrupt() -> None:
        nonlocal commands
        commands += 1
        if commands == 4:  # after the first set was registered and its vectors were made
            life.happens(("drop", True, [], None))
            life.happens(row(0, -1))  # no vector is kept now
            keys = [VECTOR_SETS_KEY, SETS[0].last_updated_key]
            call(store, Call("register", keys, [SETS[0].name, "another", SETS[0].ids]))

    keep_sets(Interrupted(store, [interrupt] * 5, None), SETS[:1], [])
    assert commands == 5
    assert store.get(SETS[0].last_updated_key) is None
    same(OnlineReader(store), OnlineReader(store), [life.now])
    life.happens(FILL)
    assert check_vectors(store) == len(SETS)


def test_a_lost_registration_is_found_before_anything_is_filled(store: Redis) -> None:
    store.flushdb()
    life, plain, joined = Life(store), OnlineReader(store), OnlineReader(store)
    for step in (row(0, -3), FILL):
        life.happens(step)
        same(plain, joined, [life.now])
    store.delete(VECTOR_SETS_KEY)
    life.happens(row(0, -1))
    with suppress(DeathError):
        keep_sets(Interrupted(store, [], 2), SETS, [])  # it looks and registers the first set, and dies
    assert store.hkeys(VECTOR_SETS_KEY) == [SETS[0].name.encode()]
    same(plain, joined, [life.now])


def test_what_was_deleted_while_no_vectors_were_kept_is_in_none(store: Redis) -> None:
    store.flushdb()
    life = Life(store)
    for step in (row(0, -3), FILL):
        life.happens(step)
    vector = f"{SETS[0].prefix}{{a}}"
    was = store.get(vector)
    with suppress(DeathError):
        keep_sets(Interrupted(store, [], 2), (), [GROUPS[0].id])  # it looks and drops the first set, and dies
    life.happens(row(0, -2))
    assert store.get(vector) == was
    life.happens(("drop", True, [], None))
    assert store.hgetall(VECTOR_SETS_KEY) == {}
    assert 0 < store.pttl(vector) <= LEFT_FOR // 1000
    life.happens(("settle", 0, [(0, None, [], True)]))
    assert not store.exists(f"{GROUPS[0].id}:{{a}}")
    life.happens(FILL)
    assert not store.exists(vector)
    assert check_vectors(store) == len(SETS)


def test_a_deleted_row_takes_its_vector_along(store: Redis) -> None:
    store.flushdb()
    life = Life(store)
    for step in (FILL, row(0, -3)):
        life.happens(step)
    assert store.exists(f"{SETS[0].prefix}{{a}}")
    life.happens(("settle", 0, [(0, None, [], True)]))
    assert not store.exists(f"{SETS[0].prefix}{{a}}")


def test_a_view_of_other_groups_takes_no_vectors_of_its_former_ones(store: Redis) -> None:
    store.flushdb()
    life = Life(store)
    for step in (row(0, -3), row(1, -1), row(2, -2), FILL):
        life.happens(step)
    fewer = replace(VIEW, groups=VIEW.groups[:2])
    reader = CountingReader(store)
    for _ in range(2):
        vectors = reader.read(fewer, ROWS, from_micros(life.now))
        assert vectors.to_dicts() == OnlineReader(store).read(replace(fewer, prejoin=False), ROWS).to_dicts()
    keep_sets(store, vector_sets([fewer]), [group.id for group in GROUPS])
    life.happens(row(2, -1))  # of a group that is no part of the vectors any more
    assert reader.read(fewer, ROWS, from_micros(life.now)).to_dicts() == vectors.to_dicts()
    assert reader.read(fewer, ROWS, from_micros(life.now)).to_dicts() == vectors.to_dicts()
    assert [key for key in reader.asked[-1] if ":{" in key][:3] == [f"ranking@1:user_id:{tag}" for tag in USER_TAGS]


@pytest.mark.parametrize("text", ["", "x"])
def test_a_part_whose_value_redis_has_deleted_is_not_found(store: Redis, text: str) -> None:
    """The vector lives on for another group's row; what is left of the deleted one follows from its timestamps."""
    store.flushdb()
    life = Life(store)
    hour = -1 if text else -4  # past its ttl of three hours it is stored without its features
    for step in (FILL, row(0, -3, created=1), row(1, hour)):
        life.happens(step)
    key, group = f"{GROUPS[1].id}:{{a}}", GROUPS[1]
    deleted_at = cast(int, store.pexpiretime(key)) * 1000
    store.delete(key)
    joined = CountingReader(store)
    joined.read(VIEW, ROWS)
    for later in (1, MINUTE, DAY):
        vectors = joined.read(VIEW, ROWS[:1], from_micros(deleted_at + later))
        assert vectors.statuses[0][group.id] == "NOT_FOUND"
        assert vectors.statuses[0][GROUPS[0].id] == "PRESENT"
    assert f"{GROUPS[1].id}:{{a}}" not in joined.asked[-1]


@pytest.mark.parametrize("bad", [b"\x90", b"\x91\xc0", b"\x92\xc4\x0eu1@1 u2@1 u3@1\xc0"])
def test_a_summary_of_something_else_is_none(store: Redis, bad: bytes) -> None:
    store.flushdb()
    life, reader = Life(store), CountingReader(store)
    for step in (row(0, -3), FILL):
        life.happens(step)
        same(OnlineReader(store), reader, [life.now])
    store.set(SETS[0].last_updated_key, bad)
    for _ in range(2):
        same(OnlineReader(store), reader, [life.now])
    assert "u1@1:{a}" in reader.asked[-1]
    store.set(SETS[0].last_updated_key, b"?")
    with pytest.raises(StackError, match="cannot be read") as error:
        reader.read(VIEW, ROWS)
    assert SETS[0].last_updated_key in error.value.where


@pytest.mark.parametrize("bad", [b"x", b"", b"\x92\xc0\xc0", b"\x93\xc0\xc0\xa1x", b"\x93\xc0\xc0\xc0\xc0"])
@pytest.mark.parametrize("rows", [ROWS[:1], ROWS])
def test_a_vector_that_cannot_be_read_is_named(store: Redis, bad: bytes, rows: list[dict[str, Any]]) -> None:
    store.flushdb()
    life, reader = Life(store), OnlineReader(store)
    life.happens(FILL)
    reader.read(VIEW, rows)
    store.set(f"{SETS[0].prefix}{{a}}", bad)
    with pytest.raises(StackError, match="vector cannot be read") as error:
        reader.read(VIEW, rows)
    assert f"{SETS[0].prefix}{{a}}" in error.value.where
    keep_sets(store, SETS, [], again=True)
    same(OnlineReader(store), reader, [life.now])
