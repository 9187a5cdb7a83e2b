"""Expressions that read each other in a circle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter

from feature_store.plan.expressions import columns_in


def cycles_of(expressions: Mapping[str, str]) -> Iterator[tuple[str, ...]]:
    """The circles among named expressions: each name reads the next one, and the last the first; none is in two."""
    reads = {name: columns_in(text) & expressions.keys() for name, text in expressions.items()}
    while cycle := _cycle(reads):
        yield cycle
        reads = {name: others.difference(cycle) for name, others in reads.items() if name not in cycle}


def _cycle(reads: Mapping[str, frozenset[str]]) -> tuple[str, ...]:
    try:
        TopologicalSorter(reads).prepare()
    except CycleError as error:
        return tuple(reversed(error.args[1][1:]))
    return ()
