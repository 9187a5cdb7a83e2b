"""The expression language of definitions: parsed once, typed, and the same on every engine.

SQL syntax, read by sqlglot. What an expression may say (everything else is refused with the list of what there is):

- columns; literals: numbers, 'text', TRUE, FALSE, NULL, TIMESTAMP '2026-01-31T00:00:00Z' (the offset is needed)
- AND, OR, NOT, =, <>, <, <=, >, >=, BETWEEN, IN (literals), IS [NOT] NULL, CASE WHEN
- +, -, *, / (always FLOAT), % (INT); a division by zero is NULL; INT overflow is an error of the run
- TIMESTAMP - TIMESTAMP: the INT of microseconds between them
- coalesce, nullif, abs, lower, upper, length, trim, || (text); an operation on NULL is NULL, comparisons included
- hour_of_day(instant): 0 to 23; iso_weekday(instant): 1 (Monday) to 7; both in UTC. days_between(from, to): a FLOAT
- hash_bucket(text, n): the CRC-32 of the text's UTF-8 bytes modulo the literal n: an INT
- ordinal(value, 'a', 'b', …): the place of a value among some literals, from 1; 0 for any other one
- bucketize(number, 1, 5, …): how many of some ascending literals are not greater than the number
- dot(a, b), norm(a), cosine(a, b): FLOATs of EMBEDDINGs of one size; the cosine with a vector of zeros is NULL
- FLOAT results that are not finite are NULL when they are compared, aggregated or stored
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

import sqlglot
from sqlglot import expressions as exp

from feature_store.dtypes import BOOL, FLOAT, INT, STRING, TIMESTAMP, DType
from feature_store.duration import DAY
from feature_store.plan.expression_nodes import NULL, Expression, column, finite


class ExpressionError(ValueError):
    """An expression that the language does not have; the message says what and the remedy what to write."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


def parse_expression(text: str, schema: Mapping[str, DType]) -> Expression:
    """The typed form of a SQL expression over the columns of `schema`.

    Raises:
        ExpressionError: if it cannot be parsed, names an unknown column, uses an operation the language does not have
            or applies one to the wrong types.
    """
    try:
        tree = sqlglot.parse_one(text, read="duckdb")
    except sqlglot.ParseError as error:
        detail = error.errors[0]["description"] if error.errors else str(error)
        raise ExpressionError(f"{text!r} is not a SQL expression: {detail}", "correct the syntax") from None
    assert isinstance(tree, exp.Expression)
    return _Typer(text, schema).visit(tree)


def parse_condition(text: str, schema: Mapping[str, DType]) -> Expression:
    """Like `parse_expression`, for a condition.

    Raises:
        ExpressionError: also if it is not BOOL.
    """
    condition = parse_expression(text, schema)
    if condition.dtype not in (BOOL, NULL):
        raise ExpressionError(f"{text!r} is {condition.dtype}, not a condition", "compare it with something")
    return condition


_COMPARISONS: dict[type[exp.Expression], str] = {
    exp.EQ: "eq",
    exp.NEQ: "ne",
    exp.LT: "lt",
    exp.LTE: "le",
    exp.GT: "gt",
    exp.GTE: "ge",
}
_ARITHMETIC: dict[type[exp.Expression], str] = {exp.Add: "add", exp.Sub: "sub", exp.Mul: "mul"}
_LOGIC: dict[type[exp.Expression], str] = {exp.And: "and", exp.Or: "or"}
_TEXT: dict[type[exp.Expression], tuple[str, DType]] = {
    exp.Lower: ("lower", STRING),
    exp.Upper: ("upper", STRING),
    exp.Trim: ("trim", STRING),
    exp.Length: ("length", INT),
}


class _Typer:
    """Turns a sqlglot tree into typed nodes; each `visit_…` method types one kind of node."""

    def __init__(self, text: str, schema: Mapping[str, DType]) -> None:
        self.text = text
        self.schema = schema

    def visit(self, node: exp.Expression) -> Expression:
        kind = type(node)
        if kind in _COMPARISONS:
            return self._compare(_COMPARISONS[kind], self.visit(node.this), self.visit(node.expression))
        if kind in _ARITHMETIC:
            return self._arithmetic(_ARITHMETIC[kind], self.visit(node.this), self.visit(node.expression))
        if kind in _LOGIC:
            return Expression(_LOGIC[kind], BOOL, (self._bool(node.this), self._bool(node.expression)))
        if kind in _TEXT:
            op, dtype = _TEXT[kind]
            if op == "trim" and node.expression is not None:
                raise self._refuse("trim takes one argument", "trim(text) removes blanks on both sides")
            return Expression(op, dtype, (self._of(node.this, STRING),))
        visit = _VISITORS.get(kind)
        if visit is None:
            raise self._unknown(node)
        return visit(self, node)

    def _unknown(self, node: exp.Expression) -> ExpressionError:
        return self._refuse(
            f"{node.sql(dialect='duckdb')!r} uses {type(node).__name__}, which the language does not have",
            "use columns, literals, AND/OR/NOT, comparisons, BETWEEN, IN, IS NULL, CASE, + - * / %, ||, "
            f"coalesce, nullif, abs, lower, upper, length, trim, {', '.join(sorted(FUNCTIONS))}",
        )

    def _refuse(self, message: str, remedy: str) -> ExpressionError:
        return ExpressionError(f"in {self.text!r}: {message}", remedy)

    def visit_column(self, node: exp.Expression) -> Expression:
        name = node.name
        if name not in self.schema:
            known = ", ".join(sorted(self.schema))
            raise self._refuse(f"there is no column {name!r}", f"columns are: {known}")
        return column(name, self.schema[name])

    def visit_literal(self, node: exp.Expression) -> Expression:
        if node.is_string:
            return Expression("literal", STRING, value=node.name)
        if "." in node.name or "e" in node.name.lower():
            return Expression("literal", FLOAT, value=float(node.name))
        value = int(node.name)
        if not INT.accepts(value):
            raise self._refuse(f"{value} does not fit 64 bits", "write it as a FLOAT, with a decimal point")
        return Expression("literal", INT, value=value)

    def visit_boolean(self, node: exp.Expression) -> Expression:
        return Expression("literal", BOOL, value=bool(node.this))

    def visit_null(self, _: exp.Expression) -> Expression:
        return Expression("literal", NULL)

    def visit_paren(self, node: exp.Expression) -> Expression:
        return self.visit(node.this)

    def visit_cast(self, node: exp.Expression) -> Expression:
        wanted = node.args["to"].this.name
        if not (isinstance(node.this, exp.Literal) and node.this.is_string and wanted.startswith("TIMESTAMP")):
            raise self._refuse("there are no casts", "only the literal TIMESTAMP '2026-01-31T00:00:00Z' is read")
        try:
            instant = datetime.fromisoformat(node.this.name)
        except ValueError:
            raise self._refuse(f"{node.this.name!r} is not an ISO timestamp", "write 2026-01-31T00:00:00Z") from None
        if instant.tzinfo is None:
            raise self._refuse(f"the timestamp {node.this.name!r} has no time zone", "add an offset, such as Z")
        return Expression("literal", TIMESTAMP, value=instant)

    def visit_not(self, node: exp.Expression) -> Expression:
        return Expression("not", BOOL, (self._bool(node.this),))

    def visit_neg(self, node: exp.Expression) -> Expression:
        operand = self._number(node.this)
        if operand.op == "literal" and isinstance(operand.value, int | float):
            return Expression("literal", operand.dtype, value=-operand.value)
        return Expression("neg", operand.dtype, (operand,))

    def visit_abs(self, node: exp.Expression) -> Expression:
        operand = self._number(node.this)
        return Expression("abs", operand.dtype, (operand,))

    def visit_div(self, node: exp.Expression) -> Expression:
        return Expression("div", FLOAT, (_float(self._number(node.this)), _float(self._number(node.expression))))

    def visit_mod(self, node: exp.Expression) -> Expression:
        return Expression("mod", INT, (self._of(node.this, INT), self._of(node.expression, INT)))

    def visit_is(self, node: exp.Expression) -> Expression:
        if not isinstance(node.expression, exp.Null):
            raise self._refuse("IS takes NULL only", "write = TRUE or IS NULL")
        return Expression("is_null", BOOL, (self.visit(node.this),))

    def visit_between(self, node: exp.Expression) -> Expression:
        subject = self.visit(node.this)
        low = self._compare("ge", subject, self.visit(node.args["low"]))
        return Expression("and", BOOL, (low, self._compare("le", subject, self.visit(node.args["high"]))))

    def visit_in(self, node: exp.Expression) -> Expression:
        if not node.expressions:
            raise self._refuse("IN takes a list of literals", "write x IN (1, 2)")
        subject = self.visit(node.this)
        found = self._compare("eq", subject, self.visit(node.expressions[0]))
        for choice in node.expressions[1:]:
            found = Expression("or", BOOL, (found, self._compare("eq", subject, self.visit(choice))))
        return found

    def visit_case(self, node: exp.Expression) -> Expression:
        if node.this is not None:
            raise self._refuse("CASE takes conditions", "write CASE WHEN x = 1 THEN … END")
        conditions = [self._bool(branch.this) for branch in node.args["ifs"]]
        values = [self.visit(branch.args["true"]) for branch in node.args["ifs"]]
        default = node.args.get("default")
        values.append(self.visit(default) if default is not None else Expression("literal", NULL))
        values = self._same_type(values)
        pairs = [arg for pair in zip(conditions, values, strict=False) for arg in pair]
        return Expression("case", values[0].dtype, (*pairs, values[-1]))

    def visit_coalesce(self, node: exp.Expression) -> Expression:
        values = self._same_type([self.visit(arg) for arg in (node.this, *node.expressions)])
        return Expression("coalesce", values[0].dtype, tuple(values))

    def visit_nullif(self, node: exp.Expression) -> Expression:
        value, other = self._same_type([self.visit(node.this), self.visit(node.expression)])
        return Expression("nullif", value.dtype, (_comparable(value), _comparable(other)))

    def visit_concat(self, node: exp.Expression) -> Expression:
        return Expression("concat", STRING, (self._of(node.this, STRING), self._of(node.expression, STRING)))

    def visit_named(self, node: exp.Expression) -> Expression:
        """A function of our own, which sqlglot does not know."""
        function = FUNCTIONS.get(node.name.lower())
        if function is None:
            raise self._unknown(node)
        count = len(node.expressions)
        if count not in function.arguments:
            raise self._refuse(f"{node.name} does not take {count} arguments", f"write {function.usage}")
        return function.apply(self, *node.expressions)

    def hash_bucket(self, text: exp.Expression, buckets: exp.Expression) -> Expression:
        number = self.visit(buckets)
        if number.op != "literal" or not isinstance(number.value, int) or isinstance(number.value, bool):
            raise self._refuse("the number of buckets is not an INT literal", "write hash_bucket(text, 1000)")
        if number.value < 1:
            raise self._refuse(f"{number.value} is not a number of buckets", "use 1 or more")
        return Expression("hash_bucket", INT, (self._of(text, STRING), number))

    def hour_of_day(self, instant: exp.Expression) -> Expression:
        return Expression("hour_of_day", INT, (self._of(instant, TIMESTAMP),))

    def iso_weekday(self, instant: exp.Expression) -> Expression:
        return Expression("iso_weekday", INT, (self._of(instant, TIMESTAMP),))

    def days_between(self, start: exp.Expression, end: exp.Expression) -> Expression:
        micros = Expression("micros_between", INT, (self._of(end, TIMESTAMP), self._of(start, TIMESTAMP)))
        return Expression("div", FLOAT, (_float(micros), Expression("literal", FLOAT, value=float(DAY))))

    def ordinal(self, subject: exp.Expression, *choices: exp.Expression) -> Expression:
        value, known = self.visit(subject), [self._literal(choice) for choice in choices]
        if len(set(known)) < len(known):
            raise self._refuse("ordinal has a value twice", "give each value once")
        cases = [(self._compare("eq", value, choice), place) for place, choice in enumerate(known, 1)]
        return _numbered(value, cases, 0)

    def bucketize(self, subject: exp.Expression, *bounds: exp.Expression) -> Expression:
        number, limits = _comparable(self._number(subject)), [self._literal(bound) for bound in bounds]
        values = [limit.value for limit in limits if isinstance(limit.value, int | float)]
        if len(values) < len(limits) or any(a >= b for a, b in pairwise(values)):
            raise self._refuse("the bounds of bucketize do not ascend", "write bucketize(x, 1, 5, 10)")
        cases = [(self._compare("lt", number, limit), place) for place, limit in enumerate(limits)]
        return _numbered(number, cases, len(limits))

    def dot(self, left: exp.Expression, right: exp.Expression) -> Expression:
        a, b = self._vector(left), self._vector(right)
        if a.dtype != b.dtype:
            raise self._refuse(f"{a.dtype} and {b.dtype} do not go together", "use EMBEDDINGs of one size")
        return Expression("dot", FLOAT, (a, b))

    def norm(self, vector: exp.Expression) -> Expression:
        return Expression("sqrt", FLOAT, (self.dot(vector, vector),))

    def cosine(self, left: exp.Expression, right: exp.Expression) -> Expression:
        lengths = Expression("mul", FLOAT, (self.norm(left), self.norm(right)))
        return Expression("div", FLOAT, (self.dot(left, right), lengths))

    def _literal(self, node: exp.Expression) -> Expression:
        value = self.visit(node)
        if value.op != "literal" or value.dtype == NULL:
            raise self._refuse(f"{node.sql()!r} is not a literal", "write the value itself")
        return value

    def _vector(self, node: exp.Expression) -> Expression:
        vector = self.visit(node)
        if vector.dtype.kind != "EMBEDDING":
            raise self._refuse(f"{node.sql()!r} is {vector.dtype}, a vector is needed", "use an EMBEDDING")
        return vector

    def _of(self, node: exp.Expression, dtype: DType) -> Expression:
        operand = self.visit(node)
        if operand.dtype == NULL:
            return Expression("literal", dtype)
        if operand.dtype != dtype:
            raise self._refuse(f"{node.sql()!r} is {operand.dtype}, {dtype} is needed", f"use a column of type {dtype}")
        return operand

    def _bool(self, node: exp.Expression) -> Expression:
        return self._of(node, BOOL)

    def _number(self, node: exp.Expression) -> Expression:
        operand = self.visit(node)
        if not operand.dtype.is_numeric:
            raise self._refuse(f"{node.sql()!r} is {operand.dtype}, a number is needed", "use an INT or FLOAT column")
        return operand

    def _arithmetic(self, op: str, left: Expression, right: Expression) -> Expression:
        left, right = self._same_type([left, right])
        if op == "sub" and left.dtype == TIMESTAMP:
            return Expression("micros_between", INT, (left, right))
        if not left.dtype.is_numeric:
            raise self._refuse(f"{op} needs numbers, not {left.dtype}", "use INT or FLOAT columns")
        return Expression(op, left.dtype, (left, right))

    def _compare(self, op: str, left: Expression, right: Expression) -> Expression:
        left, right = self._same_type([left, right])
        return Expression(op, BOOL, (_comparable(left), _comparable(right)))

    def _same_type(self, values: list[Expression]) -> list[Expression]:
        kinds = {value.dtype for value in values} - {NULL}
        if kinds == {INT, FLOAT}:
            return [_float(value) for value in values]
        if len(kinds) > 1:
            names = " and ".join(sorted(str(kind) for kind in kinds))
            raise self._refuse(f"{names} do not go together", "make both sides the same type")
        dtype = kinds.pop() if kinds else NULL
        return [Expression("literal", dtype) if value.dtype == NULL else value for value in values]


_VISITORS: dict[type[exp.Expression], Callable[[_Typer, exp.Expression], Expression]] = {
    exp.Column: _Typer.visit_column,
    exp.Literal: _Typer.visit_literal,
    exp.Boolean: _Typer.visit_boolean,
    exp.Null: _Typer.visit_null,
    exp.Paren: _Typer.visit_paren,
    exp.Cast: _Typer.visit_cast,
    exp.Not: _Typer.visit_not,
    exp.Neg: _Typer.visit_neg,
    exp.Abs: _Typer.visit_abs,
    exp.Div: _Typer.visit_div,
    exp.Mod: _Typer.visit_mod,
    exp.Is: _Typer.visit_is,
    exp.Between: _Typer.visit_between,
    exp.In: _Typer.visit_in,
    exp.Case: _Typer.visit_case,
    exp.Coalesce: _Typer.visit_coalesce,
    exp.Nullif: _Typer.visit_nullif,
    exp.DPipe: _Typer.visit_concat,
    exp.Anonymous: _Typer.visit_named,
}


@dataclass(frozen=True)
class Function:
    """A function of our own: how it is written, the numbers of arguments it takes, and what types it."""

    usage: str
    arguments: range
    apply: Callable[..., Expression]


_ONE, _TWO, _SEVERAL = range(1, 2), range(2, 3), range(2, 1000)
FUNCTIONS = {
    "hash_bucket": Function("hash_bucket(text, 1000)", _TWO, _Typer.hash_bucket),
    "hour_of_day": Function("hour_of_day(instant)", _ONE, _Typer.hour_of_day),
    "iso_weekday": Function("iso_weekday(instant)", _ONE, _Typer.iso_weekday),
    "days_between": Function("days_between(from, to)", _TWO, _Typer.days_between),
    "ordinal": Function("ordinal(value, 'a', 'b')", _SEVERAL, _Typer.ordinal),
    "bucketize": Function("bucketize(number, 1, 5, 10)", _SEVERAL, _Typer.bucketize),
    "dot": Function("dot(a, b)", _TWO, _Typer.dot),
    "norm": Function("norm(a)", _ONE, _Typer.norm),
    "cosine": Function("cosine(a, b)", _TWO, _Typer.cosine),
}


def _numbered(value: Expression, cases: list[tuple[Expression, int]], default: int) -> Expression:
    """The number of the first case that holds; NULL of NULL."""
    of_null = (Expression("is_null", BOOL, (value,)), Expression("literal", INT))
    numbers = [arg for condition, number in cases for arg in (condition, Expression("literal", INT, value=number))]
    return Expression("case", INT, (*of_null, *numbers, Expression("literal", INT, value=default)))


def _float(value: Expression) -> Expression:
    if value.dtype == NULL:
        return Expression("literal", FLOAT)
    if value.dtype == FLOAT:
        return value
    if value.op == "literal" and isinstance(value.value, int):
        return Expression("literal", FLOAT, value=float(value.value))
    return Expression("to_float", FLOAT, (value,))


def _comparable(value: Expression) -> Expression:
    """Engines order NaN differently, so a computed FLOAT is compared only when finite."""
    return value if value.op in ("column", "literal", "to_float", "finite") else finite(value)
