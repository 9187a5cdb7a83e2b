"""What is measured of a contender in one round. Feast's own Python imports this, too: only the standard library."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import quantiles

_RESULT = re.compile(r"^RESULT" + r" (\d+)" * 7 + r"$", re.MULTILINE)


@dataclass(frozen=True)
class Measurement:
    """One round.

    Attributes:
        rate: requests, or calls, per second.
        cpu: microseconds of the contender's CPU for each.
        latencies: milliseconds: p50, p95, p99 and p99.9; None where the program does not tell.
    """

    rate: float
    cpu: float
    latencies: tuple[float | None, ...]


@dataclass(frozen=True)
class Counts:
    """What a program that asks has counted; latencies in milliseconds."""

    requests: int
    seconds: float
    latencies: tuple[float, ...]

    def measurement(self, cpu_seconds: float) -> Measurement:
        """With the CPU that all requests together took."""
        return Measurement(self.requests / self.seconds, cpu_seconds / self.requests * 1e6, self.latencies)


def read_counts(text: str) -> Counts:
    """The counts in a line `RESULT requests duration p50 p95 p99 p99.9 errors`, all times in microseconds.

    Raises:
        ValueError: with the text, if there is no such line, or a request failed.
    """
    found = _RESULT.search(text)
    if found is None or found[7] != "0":
        raise ValueError(text.strip())
    requests, duration, *latencies = map(int, found.groups()[:6])
    return Counts(requests, duration / 1e6, tuple(latency / 1e3 for latency in latencies))


def measure_calls(call: Callable[[], object], seconds: float) -> Measurement:
    """One call after another in this process, for so many seconds but ten times at least."""
    call()
    walls: list[float] = []
    cpu, began = time.process_time(), time.perf_counter()
    now = began
    while now < began + seconds or len(walls) < 10:
        call()
        later = time.perf_counter()
        walls.append(later - now)
        now = later
    taken = time.process_time() - cpu
    cuts = quantiles(walls, n=1000, method="inclusive")
    latencies = tuple(cuts[per_mille - 1] * 1e3 for per_mille in (500, 950, 990, 999))
    return Measurement(len(walls) / (now - began), taken / len(walls) * 1e6, latencies)
