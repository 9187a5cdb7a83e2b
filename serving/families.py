"""What the parts of a server count, as data that processes give each other, and as Prometheus reads it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate
from operator import add
from typing import Literal, Protocol, TypeVar

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""The bounds of histograms."""
Labels = tuple[str, ...]
Kind = Literal["counter", "histogram", "total", "largest", "smallest"]
_JOINS: Mapping[Kind, Callable[[float, float], float]] = {"largest": max, "smallest": min}
V = TypeVar("V")


class Latencies(msgspec.Struct):
    """How many times were up to each of `SECONDS`, and longer than all of them; their sum."""

    counts: list[int] = msgspec.field(default_factory=lambda: [0] * (len(SECONDS) + 1))
    total: float = 0.0

    def note(self, seconds: float) -> None:
        """Counts a time."""
        self.counts[bisect_left(SECONDS, seconds)] += 1
        self.total += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """How many were up to each bound, as Prometheus counts: what is below a bound is below all larger ones."""
        bounds = [*map(str, SECONDS), "+Inf"]
        return [*zip(bounds, map(float, accumulate(self.counts)), strict=True)]

    def __add__(self, other: Latencies) -> Latencies:
        return Latencies([*map(add, self.counts, other.counts)], self.total + other.total)


class Family(msgspec.Struct, frozen=True):
    """A metric with its values, by those of its labels.

    Attributes:
        kind: "total", "largest" and "smallest" are gauges: what is so at the moment; of several processes all together
            count, or the largest, or the smallest.
        numbers: of a counter or gauge.
        latencies: of a histogram.
    """

    name: str
    description: str
    kind: Kind
    labels: Labels = ()
    numbers: dict[Labels, float] = {}
    latencies: dict[Labels, Latencies] = {}

    def joined(self, other: Family) -> Family:
        """The values of this process, or time, and of another one."""
        numbers = _joined(self.numbers, other.numbers, _JOINS.get(self.kind, add))
        return msgspec.structs.replace(
            self, numbers=numbers, latencies=_joined(self.latencies, other.latencies, Latencies.__add__)
        )

    def metric(self) -> Metric:
        """The metric as prometheus_client writes it."""
        if self.kind == "histogram":
            histogram = HistogramMetricFamily(self.name, self.description, labels=self.labels)
            for labels, latencies in self.latencies.items():
                histogram.add_metric(labels, latencies.buckets(), latencies.total)
            return histogram
        kind = CounterMetricFamily if self.kind == "counter" else GaugeMetricFamily
        found = kind(self.name, self.description, labels=self.labels)
        for labels, number in self.numbers.items():
            found.add_metric(labels, number)
        return found


class Counting(Protocol):
    """A part of a server that counts."""

    def families(self) -> Iterable[Family]:
        """What it has counted; the dicts are the reader's own."""


def of_the_past(families: Iterable[Family]) -> tuple[Family, ...]:
    """What stays true of a process that has ended."""
    return tuple(family for family in families if family.kind in ("counter", "histogram"))


def together(parts: Iterable[Iterable[Family]]) -> tuple[Family, ...]:
    """The metrics of several processes, or of one after another, as those of one."""
    found: dict[str, Family] = {}
    for family in (family for part in parts for family in part):
        known = found.get(family.name)
        found[family.name] = family if known is None else known.joined(family)
    return tuple(found.values())


def text_of(families: Iterable[Family]) -> bytes:
    """Metrics as Prometheus reads them."""
    return generate_latest(_Metrics([*families]))


class _Metrics(CollectorRegistry):
    def __init__(self, families: Iterable[Family]) -> None:
        super().__init__()
        self._families = families

    def collect(self) -> Iterator[Metric]:
        return (family.metric() for family in self._families)


def _joined(one: Mapping[Labels, V], other: Mapping[Labels, V], join: Callable[[V, V], V]) -> dict[Labels, V]:
    return {**one, **{labels: join(one[labels], value) if labels in one else value for labels, value in other.items()}}
