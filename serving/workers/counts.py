"""What one worker has counted, as data for the others, and the counts of several workers as those of one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import add
from typing import TypeVar

import msgspec

from feature_store.online.vectors import Status
from serving.metrics import Counted, Latencies

_GAUGES: Mapping[str, Callable[[float, float], float]] = {
    "feature_store_redis_up": min,  # one process that cannot ask Redis is worth an alert
    "feature_store_workers": add,
}
"""How gauges of several processes become one; of others the largest counts."""
K = TypeVar("K")
V = TypeVar("V")


class Counts(msgspec.Struct, frozen=True):
    """The counts of `ServingMetrics`, under its names; `now` are its gauges."""

    seconds: dict[tuple[str, str], Latencies] = {}
    requests: dict[tuple[str, int], int] = {}
    values: dict[tuple[str, Status], int] = {}
    behind: dict[str, float] = {}
    now: tuple[tuple[str, str, float], ...] = ()

    @classmethod
    def of(cls, counted: Counted) -> Counts:
        """The counts of the moment; they share memory with those that go on."""
        alive = ("feature_store_workers", "Processes of the server that are up", 1.0)
        return cls(
            dict(counted.seconds),
            dict(counted.requests),
            dict(counted.values),
            dict(counted.behind),
            (*counted.gauges(), alive),
        )

    def gauges(self) -> Iterator[tuple[str, str, float]]:
        """Names, descriptions and values of what is true at the moment."""
        yield from self.now

    def of_the_past(self) -> Counts:
        """What stays true of a process that has ended."""
        return Counts(self.seconds, self.requests, self.values)


def total(parts: Iterable[Counts]) -> Counts:
    """The counts of several processes, or of one after another, as those of one."""
    result = Counts()
    gauges: dict[str, tuple[str, str, float]] = {}
    for part in parts:
        _join(result.seconds, part.seconds, _sum)
        _join(result.requests, part.requests, add)
        _join(result.values, part.values, add)
        _join(result.behind, part.behind, max)
        for name, description, value in part.now:
            before = gauges.get(name)
            joined = value if before is None else _GAUGES.get(name, max)(before[2], value)
            gauges[name] = (name, description, joined)
    return msgspec.structs.replace(result, now=tuple(gauges.values()))


def _join(into: dict[K, V], part: Mapping[K, V], join: Callable[[V, V], V]) -> None:
    for key, value in part.items():
        into[key] = join(into[key], value) if key in into else value


def _sum(one: Latencies, other: Latencies) -> Latencies:
    return Latencies([*map(add, one.counts, other.counts)], one.total + other.total)
