"""The functions of the expression language that SQL does not have.

- hour_of_day(instant): 0 to 23; iso_weekday(instant): 1 (Monday) to 7; both in UTC. days_between(from, to): a FLOAT
- hash_bucket(text, n): the CRC-32 of the text's UTF-8 bytes modulo the literal n: an INT
- ordinal(value, 'a', 'b', …): the place of a value among some literals, from 1; 0 for any other one
- bucketize(number, 1, 5, …): how many of some ascending literals are not greater than the number
- dot(a, b), norm(a), cosine(a, b): FLOATs of EMBEDDINGs of one size; the cosine with a vector of zeros is NULL
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from sqlglot import expressions as exp

from feature_store.dtypes import BOOL, FLOAT, INT, STRING, TIMESTAMP
from feature_store.duration import DAY
from feature_store.plan.expression_nodes import NULL, Expression, as_float, comparable

if TYPE_CHECKING:
    from feature_store.plan.expressions import Typer


def _hash_bucket(typer: Typer, text: exp.Expression, buckets: exp.Expression) -> Expression:
    number = typer.visit(buckets)
    if number.op != "literal" or not isinstance(number.value, int) or isinstance(number.value, bool):
        raise typer.refuse("literal", "the number of buckets is not an INT literal", "write hash_bucket(text, 1000)")
    if number.value < 1:
        raise typer.refuse("literal", f"{number.value} is not a number of buckets", "use 1 or more")
    return Expression("hash_bucket", INT, (typer.of(text, STRING), number))


def _of_instant(op: str) -> Callable[[Typer, exp.Expression], Expression]:
    return lambda typer, instant: Expression(op, INT, (typer.of(instant, TIMESTAMP),))


def _days_between(typer: Typer, start: exp.Expression, end: exp.Expression) -> Expression:
    micros = Expression("micros_between", INT, (typer.of(end, TIMESTAMP), typer.of(start, TIMESTAMP)))
    return Expression("div", FLOAT, (as_float(micros), Expression("literal", FLOAT, value=float(DAY))))


def _ordinal(typer: Typer, subject: exp.Expression, *choices: exp.Expression) -> Expression:
    value, known = typer.visit(subject), [_literal(typer, choice) for choice in choices]
    if len(set(known)) < len(known):
        raise typer.refuse("literal", "ordinal has a value twice", "give each value once")
    cases = [(typer.compare("eq", value, choice), place) for place, choice in enumerate(known, 1)]
    return _numbered(value, cases, 0)


def _bucketize(typer: Typer, subject: exp.Expression, *bounds: exp.Expression) -> Expression:
    number, limits = comparable(typer.number(subject)), [_literal(typer, bound) for bound in bounds]
    values = [limit.value for limit in limits if isinstance(limit.value, int | float)]
    if len(values) < len(limits) or any(a >= b for a, b in pairwise(values)):
        raise typer.refuse("literal", "the bounds of bucketize do not ascend", "write bucketize(x, 1, 5, 10)")
    cases = [(typer.compare("lt", number, limit), place) for place, limit in enumerate(limits)]
    return _numbered(number, cases, len(limits))


def _dot(typer: Typer, left: exp.Expression, right: exp.Expression) -> Expression:
    a, b = _vector(typer, left), _vector(typer, right)
    if a.dtype != b.dtype:
        message = f"{a.dtype} and {b.dtype} do not go together"
        raise typer.refuse("expression-type", message, "use EMBEDDINGs of one size")
    return Expression("dot", FLOAT, (a, b))


def _norm(typer: Typer, vector: exp.Expression) -> Expression:
    return Expression("sqrt", FLOAT, (_dot(typer, vector, vector),))


def _cosine(typer: Typer, left: exp.Expression, right: exp.Expression) -> Expression:
    lengths = Expression("mul", FLOAT, (_norm(typer, left), _norm(typer, right)))
    return Expression("div", FLOAT, (_dot(typer, left, right), lengths))


def _literal(typer: Typer, node: exp.Expression) -> Expression:
    value = typer.visit(node)
    if value.op != "literal" or value.dtype == NULL:
        raise typer.refuse("literal", f"{node.sql()!r} is not a literal", "write the value itself")
    return value


def _vector(typer: Typer, node: exp.Expression) -> Expression:
    vector = typer.visit(node)
    if vector.dtype.kind != "EMBEDDING":
        message = f"{node.sql()!r} is {vector.dtype}, a vector is needed"
        raise typer.refuse("expression-type", message, "use an EMBEDDING")
    return vector


def _numbered(value: Expression, cases: list[tuple[Expression, int]], default: int) -> Expression:
    """The number of the first case that holds; NULL of NULL."""
    of_null = (Expression("is_null", BOOL, (value,)), Expression("literal", INT))
    numbers = [arg for condition, number in cases for arg in (condition, Expression("literal", INT, value=number))]
    return Expression("case", INT, (*of_null, *numbers, Expression("literal", INT, value=default)))


@dataclass(frozen=True)
class Function:
    """How a function is written, the numbers of arguments it takes, and what types it."""

    usage: str
    arguments: range
    typed: Callable[..., Expression]


_ONE, _TWO, _SEVERAL = range(1, 2), range(2, 3), range(2, 1000)
FUNCTIONS = {
    "hash_bucket": Function("hash_bucket(text, 1000)", _TWO, _hash_bucket),
    "hour_of_day": Function("hour_of_day(instant)", _ONE, _of_instant("hour_of_day")),
    "iso_weekday": Function("iso_weekday(instant)", _ONE, _of_instant("iso_weekday")),
    "days_between": Function("days_between(from, to)", _TWO, _days_between),
    "ordinal": Function("ordinal(value, 'a', 'b')", _SEVERAL, _ordinal),
    "bucketize": Function("bucketize(number, 1, 5, 10)", _SEVERAL, _bucketize),
    "dot": Function("dot(a, b)", _TWO, _dot),
    "norm": Function("norm(a)", _ONE, _norm),
    "cosine": Function("cosine(a, b)", _TWO, _cosine),
}
