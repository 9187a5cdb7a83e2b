"""Rows that a client remembers for some seconds, in front of its calls.

A row is remembered as a server has answered it: per group the values, the status, the feature_timestamp. How old it may
be is said by the client and by all groups of its view (`cache=`): the least counts. When it expires is known from the
answer: the group's ttl, and the server's time, which is never taken to be less than it is. Rows that are EXPIRED or
UNAVAILABLE are not remembered, nor are views with request values or on-demand features.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from feature_store.online.generations import Generations
from feature_store.online.vectors import OnlineVectors
from feature_store.remote.calls import Exchange, OnlineCalls, Outcome, Pause, ReadKind, Steps
from feature_store.remote.rows import Row, Target, rows_of, together

CACHE_ENTRIES = 10_000
"""Rows that a client remembers unless it is told otherwise."""
_MOST_TARGETS = 1_000
"""Names with choices of features, whose rows are remembered."""
Flight = Future[Mapping[Any, Row] | None]
"""Rows that a call asks for, by their keys, once it has them; None if it has failed."""


class CacheStatistics(NamedTuple):
    """What a client's cache has done so far.

    Attributes:
        hits, misses: rows of views that may be remembered, by whether they were.
        entries: rows that are remembered.
    """

    hits: int
    misses: int
    entries: int

    @property
    def hit_rate(self) -> float | None:
        """The share of hits; None before the first row."""
        asked = self.hits + self.misses
        return self.hits / asked if asked else None


@dataclass(frozen=True)
class Wait:
    """Asks to wait until another call has its answer, for so many seconds at most."""

    flight: Flight
    seconds: float


CachedSteps = Generator[Exchange | Pause | Wait, Outcome, OnlineVectors]


@dataclass
class _State:
    """What a process remembers; a fork begins anew, as a thread that it does not have may hold the lock."""

    process: int
    known: Generations[Any, Row]
    lock: threading.Lock = field(default_factory=threading.Lock)
    flights: dict[Any, Flight] = field(default_factory=dict)
    targets: dict[Any, Target] = field(default_factory=dict)
    hits: int = 0
    misses: int = 0


class CachedCalls:
    """The calls of one client with a memory; used from any thread and from an event loop, also after a fork.

    Args:
        seconds: how old rows may be.
        entries: how many are remembered at most.
    """

    def __init__(self, calls: OnlineCalls, seconds: float, entries: int) -> None:
        self.calls = calls
        self._seconds = seconds
        self._entries = entries
        self._state = self._new_state()

    @property
    def statistics(self) -> CacheStatistics:
        """What the cache of this process has done so far."""
        state = self._state
        return CacheStatistics(state.hits, state.misses, len(state.known))

    def online(
        self,
        name: str,
        rows: Sequence[Mapping[str, Any]],
        kind: ReadKind,
        request: Mapping[str, Any] | None,
        features: Sequence[str] | None,
        deadline: float | None,
    ) -> CachedSteps:
        """Reads vectors, as `OnlineCalls.online`; of rows that are remembered nobody is asked."""
        if self._state.process != os.getpid():
            self._state = self._new_state()
        limit = self.calls.deadline if deadline is None else deadline
        call = _Call(self._state, self.calls, name, kind, features, limit, self._seconds)
        try:
            hash(call.place)
        except TypeError:  # a server says what is wrong with it
            return (yield from self.calls.online(name, rows, kind, request, features, deadline))
        target = self._state.targets.get(call.place)
        keys = target.keys(rows) if target is not None and target.seconds and not request else None
        if target is None or keys is None:
            return (yield from call.fresh(rows, request))
        return (yield from call.remembered(target, rows, keys))

    def _new_state(self) -> _State:
        return _State(os.getpid(), Generations(self._entries))


class _Call:
    """One call."""

    def __init__(
        self,
        state: _State,
        calls: OnlineCalls,
        name: str,
        kind: ReadKind,
        features: Sequence[str] | None,
        limit: float,
        seconds: float,
    ) -> None:
        self.place = (kind, name, None if features is None else tuple(features))
        self._state = state
        self._calls = calls
        self._name, self._kind, self._features = name, kind, features
        self._limit = limit
        self._ends = time.monotonic() + limit
        self._seconds = seconds

    def fresh(
        self, rows: Sequence[Mapping[str, Any]], request: Mapping[str, Any] | None = None
    ) -> Steps[OnlineVectors]:
        """Asks for all rows, and remembers them if that is possible."""
        vectors, _, read = yield from self._asked(rows, request)
        with self._state.lock:
            self._state.misses += len(read)
        return vectors

    def remembered(self, target: Target, rows: Sequence[Mapping[str, Any]], keys: Sequence[Any]) -> CachedSteps:
        """Puts what is remembered, what others are asking for, and what is asked for together."""
        found: dict[Any, Row] = {}
        is_first = True
        while True:
            now = time.monotonic()
            missing = {key: i for i, key in enumerate(keys) if key not in found or found[key].expires_at <= now}
            if not missing:
                return together(target, rows, [found[key] for key in keys], now)
            flight: Flight = Future()
            own, others = self._looked_up(target, missing, found, flight, now, count=is_first)
            is_first = False
            if own:
                asked = rows if len(own) == len(missing) and not found else [rows[missing[key]] for key in own]
                vectors, answered, read = yield from self._led(flight, own, asked)
                if asked is rows:
                    return vectors
                if answered is not target:  # the view or the caller's rights have changed: nothing else fits
                    return (yield from self.fresh(rows))
                found.update(read)
            for other in others:
                left = self._ends - time.monotonic()
                yield Wait(other, max(left, 0.0))
                if not other.done():
                    raise self._calls.late(self._limit, "another call for the same rows has no answer yet")
                found.update({key: row for key, row in (other.result() or {}).items() if key in missing})

    def _looked_up(
        self,
        target: Target,
        missing: Mapping[Any, int],
        found: dict[Any, Row],
        flight: Flight,
        now: float,
        *,
        count: bool,
    ) -> tuple[list[Any], list[Flight]]:
        """Takes what is remembered; gives the keys that are to be asked for, and those who ask for others already."""
        state, again, own = self._state, dict[Any, Row](), list[Any]()
        others: dict[Flight, None] = {}
        with state.lock:
            young, old = state.known.young, state.known.old
            for key in missing:
                row = young.get(key)
                if row is None and (row := old.get(key)) is not None:
                    again[key] = row
                if row is not None and now - row.answer.asked_at < target.seconds and now < row.expires_at:
                    found[key] = row
                    continue
                found.pop(key, None)
                other = state.flights.setdefault(key, flight)
                if other is flight:
                    own.append(key)
                else:
                    others[other] = None
            if again:
                state.known.keep(again)
            if count:
                state.hits += len(found)
                state.misses += len(missing) - len(found)
        return own, [*others]

    def _led(
        self, flight: Flight, keys: Sequence[Any], rows: Sequence[Mapping[str, Any]]
    ) -> Generator[Exchange | Pause, Outcome, tuple[OnlineVectors, Target, dict[Any, Row]]]:
        """Asks for rows for which others wait."""
        read: dict[Any, Row] | None = None
        try:
            vectors, target, read = yield from self._asked(rows, None)
        finally:
            with self._state.lock:
                for key in keys:
                    self._state.flights.pop(key, None)
            flight.set_result(read)
        return vectors, target, read

    def _asked(
        self, rows: Sequence[Mapping[str, Any]], request: Mapping[str, Any] | None
    ) -> Generator[Exchange | Pause, Outcome, tuple[OnlineVectors, Target, dict[Any, Row]]]:
        """An answer, its target, and its rows by their keys if they may be remembered."""
        began = time.monotonic()
        vectors = yield from self._calls.online(
            self._name, rows, self._kind, request, self._features, self._limit, self._ends
        )
        state = self._state
        target = state.targets.get(self.place)
        if target is None or not target.has(vectors):
            target = Target.of(vectors, self._seconds)
            if self.place in state.targets or len(state.targets) < _MOST_TARGETS:
                state.targets[self.place] = target
        keys = target.keys(rows) if target.seconds and not request else None
        read = {} if keys is None else dict(zip(keys, rows_of(vectors, began), strict=True))
        kept = {key: row for key, row in read.items() if row.may_be_kept}
        with state.lock:
            state.known.keep(kept)
        return vectors, target, read
