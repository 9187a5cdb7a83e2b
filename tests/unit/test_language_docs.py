"""docs/language.md names every construct there is, and no other."""

from __future__ import annotations

import re
from typing import get_args

from feature_store.dsl.aggregation import Function, agg
from feature_store.plan.expression_functions import FUNCTIONS
from feature_store.plan.query_language import AGGREGATES, RANKINGS, SCALARS
from feature_store.settings import REPOSITORY

_SECTIONS = (REPOSITORY / "docs" / "language.md").read_text(encoding="utf-8").split("\n## ")[1:]
SECTIONS = {section.partition("\n")[0]: section for section in _SECTIONS}


def first_cells(section: str) -> list[str]:
    """The first cell of each row of the table."""
    rows = [line for line in SECTIONS[section].splitlines() if line.startswith("| ")]
    return [row.split(" | ")[0].removeprefix("| ") for row in rows[1:]]


def test_every_aggregation_is_there() -> None:
    named = [name for cell in first_cells("Aggregations") for name in re.findall(r"`(\w+)`", cell)]
    assert sorted(named) == sorted(get_args(Function))
    assert sorted(named) == sorted(name for name in vars(agg) if not name.startswith("_"))


def test_every_function_is_there() -> None:
    calls = {usage for cell in first_cells("Expressions") for usage in re.findall(r"`(\w+\(.*?\))`", cell)}
    assert calls == {function.usage for function in FUNCTIONS.values()}


def test_every_function_of_queries_is_there() -> None:
    functions = SECTIONS["Queries"].partition("| functions |")[2]
    named = re.findall(r"`(\w+)`", functions)
    assert sorted(named) == sorted([*AGGREGATES, *RANKINGS, *SCALARS])
