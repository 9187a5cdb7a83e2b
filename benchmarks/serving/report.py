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

    The columns: calls per second of the quietest round, the spread of all rounds, CPU of a call, latencies; how many
    times as many calls as Feast, how many times less CPU, and which share of the floor's calls.
    """
    yield title
    yield _HEAD
    for load, contenders in loads.items():
        yield load
        chosen = {name: quietest(rounds) for name, rounds in contenders.items()}
        feast, floor = chosen.get(FEAST), chosen.get(FLOOR)
        for name, found in chosen.items():
            rates = [each.rate for each in contenders[name]]
            latencies = " ".join("       -" if each is None else f"{each:8.2f}" for each in found.latencies)
            yield (
                f"  {name:22} {found.rate:9,.0f} {min(rates):9,.0f} {max(rates):9,.0f} {found.cpu:9,.1f} {latencies}"
                f" {_times(found, feast, lambda of: of.rate):>8}"
                f" {_times(feast, found, lambda of: of.cpu):>6}"
                f" {_share(found, floor):>6}"
            ).rstrip()


def _times(one: Measurement | None, other: Measurement | None, of: Callable[[Measurement], float]) -> str:
    if one is None or other is None or one is other:
        return ""
    return f"{of(one) / of(other):.1f}"


def _share(found: Measurement, floor: Measurement | None) -> str:
    return "" if floor is None or found is floor else f"{found.rate / floor.rate:.0%}"
