"""Groups that are computed from the same tiles, where one run computes them."""

from __future__ import annotations

from collections.abc import Iterable

from feature_store.plan.event_inputs import event_inputs
from feature_store.plan.expression_nodes import Expression
from feature_store.plan.nodes import GroupPlan, WindowedRows


def sharing_groups(plans: Iterable[GroupPlan]) -> tuple[tuple[GroupPlan, ...], ...]:
    """The sets of two or more groups whose events fall into the same tiles, in order of their ids.

    They aggregate the rows of one source that pass the same `where`, by the same keys and slide, and leave out the same
    rows where something overflows; their computed columns do not contradict each other, and their partitions are the
    same, so that one run computes them.
    """
    sets: dict[object, list[list[GroupPlan]]] = {}
    for plan in sorted(plans, key=lambda plan: (plan.group.name, plan.group.version)):
        rows = plan.rows
        if isinstance(rows, WindowedRows) and plan.stream is None:
            alike = sets.setdefault(_tiling(plan, rows), [])
            fitting = next((members for members in alike if _agree([*members, plan])), None)
            if fitting is None:
                alike.append([plan])
            else:
                fitting.append(plan)
    return tuple(tuple(members) for alike in sets.values() for members in alike if len(members) > 1)


def computed_for(plans: Iterable[GroupPlan]) -> tuple[tuple[str, Expression], ...]:
    """The computed columns of all groups of a set, each once."""
    computed = (column for plan in plans if isinstance(plan.rows, WindowedRows) for column in plan.rows.computed)
    return tuple(dict.fromkeys(computed))


def _tiling(plan: GroupPlan, rows: WindowedRows) -> object:
    """What the events of a tile depend on, and which run makes it."""
    group = plan.group
    keys = tuple((key.name, key.dtype) for key in plan.schema.keys)
    overflow = event_inputs(rows).overflow  # such an event counts in no feature of its group
    return rows.source, keys, plan.slide, rows.where, overflow, group.refresh, group.start


def _agree(plans: Iterable[GroupPlan]) -> bool:
    names = [name for name, _ in computed_for(plans)]
    return len(names) == len(set(names))
