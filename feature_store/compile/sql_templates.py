"""Operations that the SQL of all engines writes alike; each engine adds its own."""

from __future__ import annotations

from collections.abc import Callable

Template = Callable[..., str]
"""From the texts of an operation's arguments to its own."""


def infix(operator: str) -> Template:
    """The operator between two operands, in parentheses."""
    return lambda left, right: f"({left} {operator} {right})"


def function(name: str) -> Template:
    """The call of a function."""
    return lambda *args: f"{name}({', '.join(args)})"


def _case(*args: str) -> str:
    branches = " ".join(f"WHEN {args[i]} THEN {args[i + 1]}" for i in range(0, len(args) - 1, 2))
    return f"CASE {branches} ELSE {args[-1]} END"


def _overflows(value: str, *operands: str) -> str:
    """Exact operations give NULL where their result does not fit."""
    return f"({' AND '.join([*(f'{operand} IS NOT NULL' for operand in operands), f'{value} IS NULL'])})"


STANDARD: dict[str, Template] = {
    "and": infix("AND"),
    "or": infix("OR"),
    "not": lambda x: f"(NOT {x})",
    "eq": infix("="),
    "ne": infix("<>"),
    "lt": infix("<"),
    "le": infix("<="),
    "gt": infix(">"),
    "ge": infix(">="),
    "add": infix("+"),
    "sub": infix("-"),
    "mul": infix("*"),
    "neg": lambda x: f"(- {x})",
    "is_null": lambda x: f"({x} IS NULL)",
    "case": _case,
    "overflows": _overflows,
    "coalesce": function("coalesce"),
    "nullif": function("nullif"),
    "abs": function("abs"),
    "lower": function("lower"),
    "upper": function("upper"),
    "concat": infix("||"),
    "to_float": lambda x: f"CAST({x} AS DOUBLE)",
}
