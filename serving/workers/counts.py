"""What one worker has counted, as data for the others, and the counts of several workers as those of one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import add
from typing import Any, cast

import msgspec
from prometheus_client import generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

_GAUGES: Mapping[str, Callable[[float, float], float]] = {
    "feature_store_redis_up": min,  # one process that cannot ask Redis is worth an alert
    "feature_store_workers": add,
    "feature_store_cache_size": add,
    "feature_store_functions_stuck": add,
}
"""How gauges of several processes become one; of others the largest counts."""
_GAUGE = "gauge"
Labels = tuple[tuple[str, str], ...]


class Family(msgspec.Struct, frozen=True, array_like=True):
    """A metric, with its samples by name and labels."""

    name: str
    description: str
    kind: str
    samples: dict[tuple[str, Labels], float]


Counts = Sequence[Family]
"""What a process has counted, and what is true of it at the moment (gauges)."""


def counts_of(metrics: Iterable[Metric]) -> list[Family]:
    """The counts of the moment, and that the process is up."""
    found = [
        Family(
            each.name,
            each.documentation,
            each.type,
            {(sample.name, tuple(sample.labels.items())): sample.value for sample in each.samples},
        )
        for each in metrics
    ]
    name = "feature_store_workers"
    return [*found, Family(name, "Processes of the server that are up", _GAUGE, {(name, ()): 1.0})]


def of_the_past(counts: Counts) -> list[Family]:
    """What stays true of a process that has ended."""
    return [family for family in counts if family.kind != _GAUGE]


def total(parts: Iterable[Counts]) -> list[Family]:
    """The counts of several processes, or of one after another, as those of one."""
    found: dict[str, Family] = {}
    for part in parts:
        for family in part:
            before = found.setdefault(family.name, msgspec.structs.replace(family, samples={})).samples
            join = _GAUGES.get(family.name, max) if family.kind == _GAUGE else add
            for sample, value in family.samples.items():
                before[sample] = join(before[sample], value) if sample in before else value
    return [*found.values()]


def text_of(counts: Counts) -> bytes:
    """Counts as Prometheus reads them."""
    return generate_latest(cast("Any", _Families(counts)))  # it only collects


class _Families(Collector):
    def __init__(self, counts: Counts) -> None:
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        for family in self._counts:
            metric = Metric(family.name, family.description, family.kind)
            for (name, labels), value in family.samples.items():
                metric.add_sample(name, dict(labels), value)
            yield metric
