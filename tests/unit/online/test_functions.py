"""Functions of on-demand features that take too long: they fail alone, at once the next time, and come back."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import polars as pl
import pytest

from feature_store.compile.function_calls import FunctionCall, FunctionFailure
from feature_store.online.read import functions
from feature_store.online.read.functions import FunctionThreads
from tests.conftest import PATIENCE_SECONDS

FRAME = pl.DataFrame({"value": [1]})


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Holds functions until it is set."""
    event = threading.Event()
    yield event
    event.set()


def call(feature: str, run: Callable[[], Any] = lambda: FRAME) -> FunctionCall:
    return FunctionCall("ranking@1", feature, f"shop:{feature}", run)


def held_by(gate: threading.Event) -> Callable[[], pl.DataFrame]:
    def run() -> pl.DataFrame:
        assert gate.wait(PATIENCE_SECONDS)
        return FRAME

    return run


def told(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(story())


def why(outcome: Any) -> str:
    assert isinstance(outcome, FunctionFailure)
    return outcome.why


def test_outcomes_are_in_the_order_of_the_calls() -> None:
    def fail() -> pl.DataFrame:
        raise ValueError("no such thing")

    async def story() -> None:
        threads = FunctionThreads(PATIENCE_SECONDS)
        assert await threads.run([]) == []
        first, failed, last = await threads.run([call("a"), call("b", fail), call("c")])
        assert first is last is FRAME
        assert why(failed) == "its function shop:b fails on these values: ValueError: no such thing"
        assert not threads.late
        assert not threads.refused

    told(story)


def test_a_slow_function_fails_alone_then_at_once_and_comes_back(gate: threading.Event) -> None:
    async def story() -> None:
        threads = FunctionThreads(0.05)
        quick, slow = await threads.run([call("quick"), call("slow", held_by(gate))])
        assert quick is FRAME
        assert why(slow) == "its function shop:slow took longer than 50 ms"
        while not threads.stuck:  # its thread may have begun later than it was called
            await asyncio.sleep(0.001)
        assert threads.stuck == 1
        before = threading.active_count()
        for _ in range(20):
            (again,) = await threads.run([call("slow")])
            assert "is left alone for a while" in why(again)
        assert threading.active_count() == before, "no more threads for a function that is stuck"
        assert (threads.late, threads.refused) == ({("ranking@1", "slow"): 1}, {("ranking@1", "slow"): 20})
        gate.set()
        while (await threads.run([call("slow")]))[0] is not FRAME:
            await asyncio.sleep(0.001)
        assert threads.stuck == 0

    told(story)


def test_a_function_that_is_late_again_and_again_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when it has returned, until a pause has passed; one that is late once is not."""
    monkeypatch.setattr(functions, "PAUSE_SECONDS", 0.2)

    async def story() -> None:
        threads = FunctionThreads(0.05)

        async def late() -> None:
            gate = threading.Event()
            (outcome,) = await threads.run([call("slow", held_by(gate))])
            assert why(outcome) == "its function shop:slow took longer than 50 ms"
            gate.set()
            while threads.stuck:
                await asyncio.sleep(0.001)

        await late()
        (outcome,) = await threads.run([call("slow")])
        assert outcome is FRAME or "is left alone" not in why(outcome)
        while (await threads.run([call("slow")]))[0] is not FRAME:
            await asyncio.sleep(0.001)
        for _ in range(functions.MOST_LATE):
            await late()
        refused = 0
        while (outcome := (await threads.run([call("slow")]))[0]) is not FRAME:
            refused += "is left alone for a while" in why(outcome)
            await asyncio.sleep(0.001)
        assert refused

    told(story)


def test_calls_that_wait_for_a_slow_one_are_not_begun(gate: threading.Event) -> None:
    ran = []

    def note() -> pl.DataFrame:
        ran.append(1)
        return FRAME

    async def story() -> None:
        threads = FunctionThreads(0.1)
        calls = [threads.run([call("slow", held_by(gate))]), *(threads.run([call("slow", note)]) for _ in range(5))]
        (first,), *others = await asyncio.gather(*calls)
        assert "took longer than 100 ms" in why(first)
        assert {why(outcome) for (outcome,) in others} == {
            "its function shop:slow was not begun within 100 ms: too many requests call it"
        }
        gate.set()
        while (await threads.run([call("slow")]))[0] is not FRAME:
            await asyncio.sleep(0.001)
        assert not ran

    told(story)


def test_a_caller_who_goes_away_leaves_no_call_behind(gate: threading.Event) -> None:
    ran = []

    def note() -> pl.DataFrame:
        ran.append(1)
        return FRAME

    async def story() -> None:
        threads = FunctionThreads(PATIENCE_SECONDS)
        first = asyncio.create_task(threads.run([call("slow", held_by(gate))]))
        waiting = asyncio.create_task(threads.run([call("slow", note)]))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        gate.set()
        assert (await first)[0] is FRAME
        assert (await threads.run([call("slow")]))[0] is FRAME
        assert not ran

    told(story)
