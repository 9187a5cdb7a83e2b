"""Tables: each contender's quietest round, beside Feast and the floor."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from benchmarks.serving.measurement import Measurement

Rounds = Mapping[str, Mapping[str, Sequence[Measurement]]]
"""Of each load, of each contender: what was measured, round by round."""
FEAST, FLOOR = "Feast", "C client"
_HEAD = (
    f"{'':24} {'calls/s':>9} {'from':>9} {'to':>9} {'CPU us':>9} {'p50 ms':>8} {'p95 ms':>8} {'p99 ms':>8} {'p99.9':>8}"
    f" {'x Feast':>8} {'CPU x':>6} {'floor':>6}"
)


def quietest(rounds: Sequence[Measurement]) -> Measurement:
    """The round with the least CPU for a call: the others were disturbed."""
    return min(rounds, key=lambda found: found.cpu)


def table(title: str, loads: Rounds) -> Iterator[str]:
    """The lines of a table.

    The columns: calls per second of the quietest round, and of the worst and the best one; the quietest round's CPU and
    latencies; how many times as many calls as Feast, which share of the floor's, both at their best; and how many times
    less CPU than Feast, both at their quietest.
    """
    yield title
    yield _HEAD
    for load, contenders in loads.items():
        yield load
        for name, rounds in contenders.items():
            found, rates = quietest(rounds), [each.rate for each in rounds]
            latencies = " ".join("       -" if each is None else f"{each:8.2f}" for each in found.latencies)
            yield (
                f"  {name:22} {found.rate:9,.0f} {min(rates):9,.0f} {max(rates):9,.0f} {found.cpu:9,.1f} {latencies}"
                f" {_beside(contenders, name, FEAST, _rates, '.1f'):>8}"
                f" {_beside(contenders, name, FEAST, _savings, '.1f'):>6}"
                f" {_beside(contenders, name, FLOOR, _rates, '.0%'):>6}"
            ).rstrip()


def _beside(
    contenders: Mapping[str, Sequence[Measurement]],
    name: str,
    other: str,
    ratio: Callable[[Sequence[Measurement], Sequence[Measurement]], float],
    form: str,
) -> str:
    """A ratio to another contender; nothing where that is not there, or the same."""
    if other not in contenders or name == other:
        return ""
    return format(ratio(contenders[name], contenders[other]), form)


def _rates(one: Sequence[Measurement], other: Sequence[Measurement]) -> float:
    return max(each.rate for each in one) / max(each.rate for each in other)


def _savings(one: Sequence[Measurement], other: Sequence[Measurement]) -> float:
    return quietest(other).cpu / quietest(one).cpu
