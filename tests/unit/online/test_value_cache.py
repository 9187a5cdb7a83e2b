"""Values that are remembered: none older than it may be, none of nobody, no more than there may be, each asked once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_store.online.read.cache import ValueCache
from feature_store.online.read.decoding import UNREACHABLE, StoredValue
from feature_store.online.read.node import NodeBusyError

KEYS = [f"g@1:{{u{i}}}" for i in range(12)]
AGES = [[0.0, 1.0, 5.0][i % 3] for i in range(12)]
"""For each key how old its value may be."""


class Store:
    """What is asked, at a time of its own; it knows what was under each key when."""

    def __init__(self) -> None:
        self.now = 0.0
        self.is_down = False
        self.history: list[tuple[float, dict[str, int]]] = [(0.0, {})]
        self.asked: list[str] = []

    def write(self, key: str) -> None:
        self.history.append((self.now, {**self.history[-1][1], key: len(self.history)}))

    def since(self, key: str, seconds: float) -> set[bytes | None]:
        """Everything that was under a key within so many seconds."""
        ends = [at for at, _ in self.history[1:]] + [self.now]
        states = [self.history[-1][1]]
        if seconds:
            states += [state for end, (_, state) in zip(ends, self.history, strict=True) if end >= self.now - seconds]
        return {b"%d" % state[key] if key in state else None for state in states}

    async def ask(self, keys: Sequence[str]) -> Sequence[StoredValue]:
        self.asked += keys
        await asyncio.sleep(0)
        state = self.history[-1][1]
        if self.is_down:
            return [UNREACHABLE] * len(keys)
        return [b"%d" % state[key] if key in state else None for key in keys]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("read"), st.lists(st.integers(0, 11), max_size=12, unique=True)),
        st.tuples(st.just("write"), st.integers(0, 11)),
        st.tuples(st.just("wait"), st.sampled_from([0.25, 1.0, 4.0, 5.0])),
        st.tuples(st.just("switch"), st.booleans()),
    ),
    max_size=60,
)


@given(STEPS, st.integers(2, 14))
def test_a_value_was_in_the_store_within_the_time_it_may_be_old(
    steps: list[tuple[str, int | float | list[int]]], entries: int
) -> None:
    store = Store()
    cache = ValueCache(entries, lambda: store.now)

    async def play() -> None:
        for step in steps:
            match step:
                case "wait", float() as seconds:
                    store.now += seconds
                case "write", int() as number:
                    store.write(KEYS[number])
                case "switch", bool() as is_down:
                    store.is_down = is_down
                case "read", list() as numbers:
                    keys, ages = [KEYS[i] for i in numbers], [AGES[i] for i in numbers]
                    store.asked = []
                    found = await cache.values(keys, ages, store.ask)
                    for key, age, value in zip(keys, ages, found, strict=True):
                        if value is UNREACHABLE:
                            assert store.is_down
                            assert key in store.asked
                        else:
                            assert value in store.since(key, age)
                            assert not store.is_down or key not in store.asked
                    assert len(store.asked) == len(set(store.asked))
            assert len(cache) <= entries

    asyncio.run(play())


def test_what_is_read_again_is_not_asked_for_again_and_counted() -> None:
    store = Store()
    store.write(KEYS[2])
    cache = ValueCache(10, lambda: store.now)

    async def play() -> None:
        for _ in range(3):
            assert [*await cache.values(KEYS[:6], AGES[:6], store.ask)] == [None, None, b"1", None, None, None]
        assert store.asked == [*KEYS[:6], KEYS[0], KEYS[3], KEYS[0], KEYS[3]]
        assert (cache.hits, cache.misses) == (8, 4)
        store.now = 1.0
        await cache.values(KEYS[:6], AGES[:6], store.ask)
        assert store.asked[10:] == [KEYS[0], KEYS[1], KEYS[3], KEYS[4]]

    asyncio.run(play())


def test_what_is_read_often_outlives_what_is_read_once() -> None:
    store = Store()
    cache = ValueCache(10, lambda: store.now)

    async def play() -> None:
        for i in range(100):
            await cache.values(["often", f"once {i}"], [5.0, 5.0], store.ask)
        assert store.asked.count("often") == 1

    asyncio.run(play())


def test_a_group_that_may_be_remembered_for_less_is_so_at_once() -> None:
    store = Store()
    cache = ValueCache(10, lambda: store.now)

    async def play() -> None:
        await cache.values(["k"], [60.0], store.ask)
        store.write("k")
        store.now = 2.0
        assert [*await cache.values(["k"], [60.0], store.ask)] == [None]
        assert [*await cache.values(["k"], [1.0], store.ask)] == [b"1"]

    asyncio.run(play())


def test_many_who_miss_a_key_at_once_ask_for_it_once() -> None:
    store = Store()
    cache = ValueCache(100, lambda: store.now)

    async def play() -> None:
        reads = (cache.values(KEYS[i : i + 4], [5.0] * 4, store.ask) for i in range(8) for _ in range(10))
        await asyncio.gather(*reads)
        assert sorted(store.asked) == sorted(KEYS[:11])

    asyncio.run(play())


@pytest.mark.parametrize("end", ["cancelled", "busy"])
def test_those_who_wait_for_a_read_that_ends_ask_themselves(end: str) -> None:
    store = Store()
    store.write("k")
    cache = ValueCache(100, lambda: store.now)

    async def play() -> None:
        asks = 0
        blocked = asyncio.Event()

        async def ask(keys: Sequence[str]) -> Sequence[StoredValue]:
            nonlocal asks
            asks += 1
            if asks == 1:
                await blocked.wait()
                raise NodeBusyError("too many wait")
            return await store.ask(keys)

        first, *others = [asyncio.create_task(cache.values(["k"], [5.0], ask)) for _ in range(5)]  # type: ignore[arg-type]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert asks == 1
        others[0].cancel()  # who only waits ends alone
        if end == "cancelled":
            first.cancel()
        else:
            blocked.set()
        with pytest.raises((asyncio.CancelledError, NodeBusyError)):
            await first
        assert [[*await other] for other in others[1:]] == [[b"1"]] * 3
        assert asks == 2
        assert others[0].cancelled()

    asyncio.run(play())
