"""How the SQL of all engines is laid out."""

from __future__ import annotations

from collections.abc import Iterable

CommonTable = tuple[str, str]
"""A step of a statement: the name of a common table expression and its SELECT."""


def listed(items: Iterable[str], indent: int = 2) -> str:
    """Items with commas, a line each."""
    return (",\n" + " " * indent).join(items)


def all_of(conditions: Iterable[str]) -> str:
    """Conditions that have to hold together, a line each."""
    return "\n  AND ".join(conditions)


def indented(text: str) -> str:
    """A text two columns further to the right."""
    return "\n".join(f"  {line}" for line in text.splitlines())


def nested(statement: str) -> str:
    """A statement to select from."""
    return f"(\n{indented(statement)}\n)"
