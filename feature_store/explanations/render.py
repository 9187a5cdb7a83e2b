"""Explanations for people, at 80 columns and less, in colour or without."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from feature_store.explanations.catalogue import AREAS
from feature_store.explanations.explanation import Explanation


def render_areas() -> RenderableType:
    """All codes with their titles, area by area."""
    parts: list[RenderableType] = []
    for area, explanations in AREAS.items():
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 2))
        table.add_column(no_wrap=True, min_width=24, style="cyan")
        table.add_column(overflow="fold")
        for explanation in explanations:
            table.add_row(explanation.code, explanation.title)
        parts += [Text(area, style="bold"), table, Text()]
    return Group(*parts, Text("./fs errors CODE explains one"))


def render_explanation(explanation: Explanation) -> RenderableType:
    """One code: what is wrong, why, an example, and what to do."""
    return Group(*_parts(explanation))


def _parts(explanation: Explanation) -> Iterator[RenderableType]:
    yield Text.assemble((explanation.code, "bold cyan"), ": ", (explanation.title, "bold"))
    yield Text()
    yield Text(explanation.cause)
    if explanation.example:
        yield Text()
        yield Text("For example, reported at the line with # <-:")
        code = Syntax(explanation.example, "python", theme="ansi_dark", background_color="default")
        yield Padding(code, (1, 0, 0, 4))
    yield Text()
    yield Text.assemble(("Remedy: ", "bold"), explanation.remedy)
