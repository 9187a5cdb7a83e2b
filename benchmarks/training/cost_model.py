"""What a join costs: a model fitted to measured runs, and what it says of larger ones and of more nodes.

Processor seconds = fixed + per label + per label and group + per row of groups that is read. Every term is work that is
done once for each of them, so the model says that a join is linear; how far it is off on a run that it was not fitted
to shows whether that is true.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from statistics import median

import numpy as np

from benchmarks.training.made import Size

NETWORK = 1.25e9
"""Bytes that a node gets in a second: 10 Gbit/s."""

START = 5.0
"""Seconds until the tasks of a cluster have begun, and until the last has been noticed."""

_TERMS = ("fixed", "per label", "per label and group", "per row")


@dataclass(frozen=True)
class Point:
    """A measured run of ours."""

    size: Size
    seconds: float
    cpu: float


@dataclass(frozen=True)
class CostModel:
    """Attributes:
    costs: processor seconds of each term.
    efficiency: the share of the cores' time that the measured runs used.
    """

    costs: tuple[float, ...]
    efficiency: float

    @classmethod
    def fitted(cls, points: Sequence[Point], cores: int) -> CostModel:
        """The model that is off least, relatively; a term that would be negative is left out."""
        terms = np.array([_amounts(point.size) for point in points])
        measured = np.array([point.cpu for point in points])
        kept = list(range(terms.shape[1]))
        while True:
            scaled = terms[:, kept] / measured[:, None]
            found = np.linalg.lstsq(scaled / np.abs(scaled).max(axis=0), np.ones(len(points)), rcond=None)[0]
            if (found >= 0).all() or len(kept) == 1:
                break
            kept.pop(int(found.argmin()))
        costs = np.zeros(terms.shape[1])
        costs[kept] = found / np.abs(scaled).max(axis=0)
        busy = median(point.cpu / (point.seconds * cores) for point in points)
        return cls(tuple(map(float, costs)), min(busy, 1.0))

    def cpu(self, size: Size) -> float:
        """Processor seconds."""
        return float(np.dot(self.costs, _amounts(size)))

    def seconds(self, size: Size, nodes: int, cores: int, *, hot_is_split: bool = True) -> float:
        """Seconds on so many nodes with so many cores each.

        Args:
            hot_is_split: whether the labels of the entity with most of them are joined by several tasks.
        """
        fixed = self.costs[0]
        work = (self.cpu(size) - fixed) / self.efficiency
        if nodes == 1:
            return fixed + work / cores
        shuffled = size.labels * (_LABEL_BYTES + 8 * size.features * size.groups) / (nodes * NETWORK)
        longest = 0.0 if hot_is_split else size.hot * work
        return START + fixed + shuffled + max(work / (nodes * cores), longest)

    def __str__(self) -> str:
        said = (f"{cost * 1e6:,.3f} us {term}" for cost, term in zip(self.costs[1:], _TERMS[1:], strict=True))
        return f"CPU = {self.costs[0]:.2f} s + {' + '.join(said)}; {self.efficiency:.0%} of the cores are used"


_LABEL_BYTES = 50


def _amounts(size: Size) -> tuple[float, ...]:
    return 1.0, float(size.labels), float(size.labels * size.groups), float(size.rows * size.groups)


def slope(points: Sequence[Point]) -> float:
    """How processor seconds grow with N + M, as the exponent between runs: 1 is linear.

    What is used even for nothing is in all of them, so small runs make it less than 1.
    """
    x = [log(point.size.work) for point in points]
    y = [log(point.cpu) for point in points]
    return float(np.polyfit(x, y, 1)[0])
