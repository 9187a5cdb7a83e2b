"""Values that a server remembers for some seconds, in front of what asks Redis for them.

What is remembered are values as they are stored, or that there is none: rows expire, and layouts are understood, at the
time of each request. That nobody could be asked is never remembered; what is remembered is given meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from itertools import repeat

from feature_store.online.generations import Generations
from feature_store.online.read.decoding import UNREACHABLE, StoredValue

CACHE_ENTRIES = 10_000
"""Values that a server remembers."""
Ask = Callable[[Sequence[str]], Awaitable[Sequence[StoredValue]]]
"""Gives the values under some keys, as `GetValues` wants them."""
_Entry = tuple[float, StoredValue]
"""When a value was asked for, and the value."""
_Flight = asyncio.Future[tuple[Sequence[str], Sequence[StoredValue]] | None]
"""Keys that somebody is asking for, and their values; None if that has failed."""
_VALUES = {bytes, type(None)}
"""The types of what may be remembered."""


class ValueCache:
    """Values by key; used in one event loop.

    Args:
        entries: how many values are remembered at most.
        clock: seconds, which only grow.

    Attributes:
        hits, misses: keys of groups that may be remembered, by whether they were.
    """

    def __init__(self, entries: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.hits = self.misses = 0
        self._clock = clock
        self._known = Generations[str, _Entry](entries)
        self._flights: dict[str, _Flight] = {}

    def __len__(self) -> int:
        return len(self._known)

    @property
    def summary(self) -> dict[str, float | None]:
        """How many values are remembered, and the share of hits so far; None before the first read."""
        asked = self.hits + self.misses
        return {"values": len(self), "hit_rate": self.hits / asked if asked else None}

    async def values(self, keys: Sequence[str], seconds: Sequence[float], ask: Ask) -> Sequence[StoredValue]:
        """The values under some keys. Of a key that several reads miss at once Redis is asked once.

        Args:
            seconds: for each key how old its value may be; 0: it is asked for each time.
            ask: gives the values of keys that are not remembered.

        Raises:
            NodeBusyError: as `ask`.
        """
        found, missing = self._remembered(keys, seconds)
        while missing:
            missing = await self._fill(found, missing, keys, seconds, ask)
        return found

    def _remembered(self, keys: Sequence[str], seconds: Sequence[float]) -> tuple[list[StoredValue], list[int]]:
        """What is remembered, and the places of what is not."""
        now, young, old = self._clock(), self._known.young, self._known.old
        found: list[StoredValue] = [None] * len(keys)
        missing: list[int] = []
        again: dict[str, _Entry] = {}
        passed = 0
        for i, key in enumerate(keys):
            if not (age := seconds[i]):
                passed += 1
                missing.append(i)
                continue
            entry = young.get(key)
            if entry is None and (entry := old.get(key)) is not None:
                again[key] = entry
            if entry is not None and now - entry[0] < age:
                found[i] = entry[1]
            else:
                missing.append(i)
        if again:
            self._known.keep(again)
        self.misses += len(missing) - passed
        self.hits += len(keys) - len(missing)
        return found, missing

    async def _fill(
        self,
        found: list[StoredValue],
        missing: Sequence[int],
        keys: Sequence[str],
        seconds: Sequence[float],
        ask: Ask,
    ) -> list[int]:
        """Asks for what nobody asks for yet, and takes the rest from those who do; gives the places that still miss."""
        flight: _Flight = asyncio.get_running_loop().create_future()
        flights, own = self._flights, list[int]()
        others: dict[_Flight, list[int]] = {}
        for i in missing:
            other = flights.setdefault(keys[i], flight) if seconds[i] else flight
            if other is flight:
                own.append(i)
            else:
                others.setdefault(other, []).append(i)
        if own:
            values = await self._ask(flight, [keys[i] for i in own], [seconds[i] for i in own], ask)
            for i, value in zip(own, values, strict=True):
                found[i] = value
        failed: list[int] = []
        for other, places in others.items():
            answer = await asyncio.shield(other)  # it is not ended when one of those who wait is
            if answer is None:
                failed += places
                continue
            answers = dict(zip(*answer, strict=True))
            for i in places:
                found[i] = answers[keys[i]]
        return failed

    async def _ask(
        self, flight: _Flight, keys: Sequence[str], seconds: Sequence[float], ask: Ask
    ) -> Sequence[StoredValue]:
        """Asks for values, tells those who wait for them, and remembers them."""
        now, answer = self._clock(), None
        try:
            values = await ask(keys)
            answer = (keys, values)
        finally:
            for key in keys:
                self._flights.pop(key, None)
            flight.set_result(answer)
        entries = dict(zip(keys, zip(repeat(now), values), strict=True))
        if not (all(seconds) and {*map(type, values)} <= _VALUES):
            entries = {
                key: entries[key]
                for key, age, value in zip(keys, seconds, values, strict=True)
                if age and value is not UNREACHABLE
            }
        self._known.keep(entries)
        return values
