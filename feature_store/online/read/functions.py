"""Functions of on-demand features within a limit of time, off the event loop: a slow one costs its own feature only.

A thread cannot be ended from outside. So each function has one thread, made when it is first called, and a function
that is running beyond the limit takes no more calls: they fail at once until it has returned. One that is late several
times in a row is left alone for a pause: waiting for it again and again would make every request slow.
There are never more threads than functions that views are served with, whatever the functions do.

A function that computes in Python shares the interpreter with the event loop: the loop goes on, after at most one
`sys.getswitchinterval()` each time it has waited. Polars' own operations leave the interpreter free.

A request takes some 120 us of CPU more for its first function so, and 100 us for each other one (Polars once more for
each, and two changes of the thread); views without functions nothing.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from queue import SimpleQueue

from feature_store.compile.function_calls import FunctionCall, FunctionFailure, Outcome, outcome_of

LIMIT_SECONDS = 0.05
PAUSE_SECONDS = 1.0
"""How long a function that is late again and again is left alone."""
MOST_LATE = 3
"""Calls in a row, before that."""

_log = logging.getLogger(__name__)


class FunctionThreads:
    """Runs calls of functions for one event loop.

    Args:
        limit: the seconds that a call may take, and wait for others of the same function.

    Attributes:
        late: how many calls took longer, by view and feature.
        refused: how many were not begun, because an earlier one had taken longer or too many came before.
    """

    def __init__(self, limit: float = LIMIT_SECONDS) -> None:
        self._limit = limit
        self._threads: dict[tuple[str, str, str], _FunctionThread] = {}
        self.late: Counter[tuple[str, str]] = Counter()
        self.refused: Counter[tuple[str, str]] = Counter()

    @property
    def stuck(self) -> int:
        """How many functions are running beyond the limit."""
        now = time.monotonic()
        return sum(thread.is_late(now, self._limit) for thread in self._threads.values())

    async def run(self, calls: Sequence[FunctionCall]) -> list[Outcome]:
        """The outcomes of calls; all of them are there when the limit has passed."""
        begun = [self._begin(call) for call in calls]
        waited_for = [each for each in begun if isinstance(each, asyncio.Future)]
        try:
            if waited_for:
                await asyncio.wait(waited_for, timeout=self._limit)
        except asyncio.CancelledError:
            for each in waited_for:
                each.cancel()  # what has not been begun yet never is
            raise
        return [
            each if isinstance(each, FunctionFailure) else self._outcome(call, each)
            for call, each in zip(calls, begun, strict=True)
        ]

    def _begin(self, call: FunctionCall) -> asyncio.Future[Outcome] | FunctionFailure:
        name = call.view, call.feature, call.function
        thread = self._threads.get(name)
        if thread is None:
            thread = self._threads[name] = _FunctionThread(f"{call.view} {call.feature}")
        if thread.refuses(time.monotonic(), self._limit):
            self.refused[call.view, call.feature] += 1
            return self._failure(call, f"took longer than {self._milliseconds} before, and is left alone for a while")
        return thread.submit(call, asyncio.get_running_loop())

    def _outcome(self, call: FunctionCall, answer: asyncio.Future[Outcome]) -> Outcome:
        thread = self._threads[call.view, call.feature, call.function]
        if answer.done():
            thread.note_in_time()
            return answer.result()
        answer.cancel()  # one that waits for others is not begun any more
        if thread.current is not answer:
            self.refused[call.view, call.feature] += 1
            return self._failure(call, f"was not begun within {self._milliseconds}: too many requests call it")
        thread.note_late(time.monotonic())
        self.late[call.view, call.feature] += 1
        _log.warning("%s of %s: %s is running for longer than %s", call.feature, call.view, call.function,
                     self._milliseconds)  # fmt: skip
        return self._failure(call, f"took longer than {self._milliseconds}")

    @property
    def _milliseconds(self) -> str:
        return f"{self._limit * 1_000:g} ms"

    def _failure(self, call: FunctionCall, what: str) -> FunctionFailure:
        return FunctionFailure(f"its function {call.function} {what}")


class _FunctionThread:
    """The thread of one function.

    Attributes:
        current: what is waited for while a call is running.
    """

    def __init__(self, name: str) -> None:
        self._calls: SimpleQueue[tuple[FunctionCall, asyncio.Future[Outcome], asyncio.AbstractEventLoop]]
        self._calls = SimpleQueue()
        self.current: asyncio.Future[Outcome] | None = None
        self._began = 0.0
        self._rests_until = 0.0
        self._late = 0
        """In a row."""
        threading.Thread(target=self._work, name=name, daemon=True).start()  # it must not hold up the process's end

    def submit(self, call: FunctionCall, loop: asyncio.AbstractEventLoop) -> asyncio.Future[Outcome]:
        """Has a call run after those before it."""
        answer: asyncio.Future[Outcome] = loop.create_future()
        self._calls.put((call, answer, loop))
        return answer

    def is_late(self, now: float, limit: float) -> bool:
        """Whether a call is running for longer than it may."""
        return self.current is not None and now - self._began > limit

    def note_late(self, now: float) -> None:
        """Takes a call into account that nobody waits for any longer."""
        self._late += 1
        if self._late >= MOST_LATE:
            self._rests_until = now + PAUSE_SECONDS

    def note_in_time(self) -> None:
        """Takes a call into account that was waited for."""
        self._late = 0

    def refuses(self, now: float, limit: float) -> bool:
        """Whether no calls are taken: one is running too long, or too many did before."""
        return self.is_late(now, limit) or now < self._rests_until

    def _work(self) -> None:
        while True:
            call, answer, loop = self._calls.get()
            if answer.cancelled():
                continue
            self._began, self.current = time.monotonic(), answer
            outcome = outcome_of(call)
            self.current = None
            with suppress(RuntimeError):  # the loop has ended, and nobody waits
                loop.call_soon_threadsafe(_answer, answer, outcome)
            del call, answer, outcome  # not kept until the next call


def _answer(answer: asyncio.Future[Outcome], outcome: Outcome) -> None:
    if not answer.done():
        answer.set_result(outcome)
