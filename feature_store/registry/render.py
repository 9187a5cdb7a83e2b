"""A plan for people: a diff that reads well at 100 columns, in colour or without."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from itertools import groupby

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from feature_store.plan.duplicates import Duplicate
from feature_store.plan.nodes import GroupPlan
from feature_store.registry.changes import Change, Detail, Impact, RegistryPlan

_STYLES = {"+": "green", "~": "yellow", "!": "bold red"}
_LINE_STYLES = {"-": "red", "+": "green", " ": "dim"}
_HEADINGS = {"entity": "Entities", "feature group": "Feature groups", "feature view": "Feature views"}
_NAMED = 10  # so many of what a change touches are named, the others counted
_BESIDE = 60  # characters of two values that still read well side by side


def render_plan(plan: RegistryPlan) -> RenderableType:
    """A plan as a diff: + created, ~ changed safely, ! breaking; the counts in the last line."""
    parts: list[RenderableType] = []
    for subject, changes in groupby(plan.changes, key=lambda change: change.subject):
        parts += [Text(_HEADINGS[subject], style="bold"), *_change_lines(list(changes)), Text()]
    if plan.outdated:
        parts += [
            Text("Still read, though deprecated", style="bold"),
            *(Padding(Text(line, style=_STYLES["~"]), (0, 0, 0, 4)) for line in plan.outdated),
            Text(),
        ]
    if plan.no_longer_defined:
        ids = Text(", ".join(plan.no_longer_defined))
        parts += [
            Text("Recorded, no longer defined, left as they are", style="bold"),
            Padding(ids, (0, 0, 0, 4)),
            Text(),
        ]
    return Group(*parts, Text(str(plan), style="bold"))


def render_duplicates(duplicates: Sequence[Duplicate]) -> RenderableType:
    """Notes on features that are computed twice."""
    notes = [Padding(Text(f"note: {duplicate}", style="yellow"), (0, 0, 0, 2)) for duplicate in duplicates]
    return Group(Text("\nComputed twice", style="bold"), *notes)


def render_sharing(sets: Sequence[Sequence[GroupPlan]]) -> RenderableType:
    """Which groups are computed from the same tiles."""
    lines = [Padding(Text(", ".join(plan.group.id for plan in plans), style="dim"), (0, 0, 0, 4)) for plans in sets]
    return Group(Text("\nComputed from the same tiles, once for all that are in a run", style="bold"), *lines)


def _change_lines(changes: list[Change]) -> Iterator[RenderableType]:
    created = [change for change in changes if change.action == "create" and not change.breaking]
    if created:
        table = _indented(2, columns=3)
        for change in created:
            table.add_row(_sign("+"), Text(f"{change.id} ", style=_STYLES["+"]), Text(change.summary))
        yield table
    for change in changes:
        if change not in created:
            sign = "!" if change.breaking else "~"
            yield Text.assemble("  ", _sign(sign), " ", (change.id, _STYLES[sign]))
            yield _details(change)


def _details(change: Change) -> RenderableType:
    table = _indented(6, columns=2)
    for detail in change.details:
        sign = "!" if detail.breaking else "+" if detail.old is None else "~"
        table.add_row(_sign(sign), _difference(detail))
    if change.impact:
        table.add_row("", Text(f"touches {_touched(change.impact)}"))
    if change.breaking:
        table.add_row("", Text(f"-> {change.remedy}", style="italic"))
    return table


def _touched(impact: Impact) -> str:
    """What is downstream, in a line or two: "views ranking@1, search@1; model ranker"."""
    parts = []
    for kind, names in impact.to_json().items():
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        parts.append(f"{kind if len(names) > 1 else kind[:-1]} {', '.join(names[:_NAMED])}{more}")
    return "; ".join(parts)


def _difference(detail: Detail) -> Text:
    """What differs, and why that is safe or not; long values line by line."""
    reason = (f"({detail.reason})", "red" if detail.breaking else "dim")
    if detail.old is None or detail.new is None or len(detail.old) + len(detail.new) <= _BESIDE:
        return Text.assemble(str(detail), " ", reason)
    lines = difflib.ndiff(detail.old.splitlines(), detail.new.splitlines())
    shown = [(f"\n  {line}", _LINE_STYLES[line[0]]) for line in lines if line[0] in _LINE_STYLES]
    return Text.assemble(detail.what, " ", reason, *shown)


def _indented(indent: int, columns: int) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(width=indent + 1, justify="right", no_wrap=True)
    for _ in range(columns - 2):
        table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    return table


def _sign(sign: str) -> Text:
    return Text(sign, style=_STYLES[sign])
