"""The expression language of definitions: parsed once, typed, and the same on every engine.

SQL syntax, read by sqlglot. What an expression may say (everything else is refused with the list of what there is):

- columns; literals: numbers, 'text', TRUE, FALSE, NULL, TIMESTAMP '2026-01-31T00:00:00Z' (the offset is needed)
- AND, OR, NOT, =, <>, <, <=, >, >=, BETWEEN, IN (literals), IS [NOT] NULL, CASE WHEN
- +, -, *, / (always FLOAT), % (INT); a division by zero is NULL; an INT that does not fit 64 bits: see `overflow`
- TIMESTAMP - TIMESTAMP: the INT of microseconds between them
- coalesce, nullif, abs, lower, upper, length, trim, || (text); an operation on NULL is NULL, comparisons included
- the functions of our own in `expression_functions`: times, encodings, vectors
- FLOAT results that are not finite are NULL when they are compared, aggregated or stored
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

import sqlglot
from sqlglot import expressions as exp

from feature_store.dtypes import BOOL, FLOAT, INT, STRING, TIMESTAMP, DType
from feature_store.errors import choices
from feature_store.plan.clock import REQUEST_TIME, clock_read
from feature_store.plan.expression_functions import FUNCTIONS
from feature_store.plan.expression_nodes import NULL, Expression, as_float, column, comparable
from feature_store.plan.problems import RefusedError


class ExpressionError(RefusedError):
    """An expression that the language does not have; the message says what and the remedy what to write."""


def parse_expression(text: str, schema: Mapping[str, DType]) -> Expression:
    """The typed form of a SQL expression over the columns of `schema`.

    Raises:
        ExpressionError: if it cannot be parsed, names an unknown column, uses an operation the language does not have
            or applies one to the wrong types.
    """
    return Typer(text, schema).visit(_parsed(text))


def parse_condition(text: str, schema: Mapping[str, DType]) -> Expression:
    """Like `parse_expression`, for a condition.

    Raises:
        ExpressionError: also if it is not BOOL.
    """
    condition = parse_expression(text, schema)
    if condition.dtype not in (BOOL, NULL):
        message = f"{text!r} is {condition.dtype}, not a condition"
        raise ExpressionError("expression-type", message, "compare it with something")
    return condition


def columns_in(text: str) -> frozenset[str]:
    """Names of the columns that an expression mentions, whether there are such columns or not."""
    try:
        return frozenset(node.name for node in _parsed(text).find_all(exp.Column))
    except ExpressionError:
        return frozenset()


def _parsed(text: str) -> exp.Expression:
    try:
        tree = sqlglot.parse_one(text, read="duckdb")
    except sqlglot.ParseError as error:
        detail = error.errors[0]["description"] if error.errors else str(error)
        remedy = 'correct the syntax; a column whose name is a word of SQL stands in double quotes: "order"'
        raise ExpressionError("syntax", f"{text!r} is not a SQL expression: {detail}", remedy) from None
    assert isinstance(tree, exp.Expression)
    return tree


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


class Typer:
    """Turns a sqlglot tree into typed nodes; each `visit_…` method types one kind of node."""

    def __init__(self, text: str, schema: Mapping[str, DType]) -> None:
        self.text = text
        self.schema = schema

    def visit(self, node: exp.Expression) -> Expression:
        kind = type(node)
        if kind in _COMPARISONS:
            return self.compare(_COMPARISONS[kind], self.visit(node.this), self.visit(node.expression))
        if kind in _ARITHMETIC:
            return self._arithmetic(_ARITHMETIC[kind], self.visit(node.this), self.visit(node.expression))
        if kind in _LOGIC:
            return Expression(_LOGIC[kind], BOOL, (self._bool(node.this), self._bool(node.expression)))
        if kind in _TEXT:
            op, dtype = _TEXT[kind]
            if op == "trim" and node.expression is not None:
                raise self.refuse(
                    "unsupported-operation", "trim takes one argument", "trim(text) removes blanks on both sides"
                )
            return Expression(op, dtype, (self.of(node.this, STRING),))
        visit = _VISITORS.get(kind)
        if visit is None:
            raise self._unknown(node)
        return visit(self, node)

    def _unknown(self, node: exp.Expression) -> ExpressionError:
        if clock := clock_read(node):
            return self._clock(clock)
        return self.refuse(
            "unsupported-operation",
            f"{node.sql(dialect='duckdb')!r} uses {type(node).__name__}, which the language does not have",
            "use columns, literals, AND/OR/NOT, comparisons, BETWEEN, IN, IS NULL, CASE, + - * / %, ||, "
            f"coalesce, nullif, abs, lower, upper, length, trim, {', '.join(sorted(FUNCTIONS))}",
        )

    def _clock(self, word: str) -> ExpressionError:
        remedy = (
            f"use {REQUEST_TIME}, the instant of the request or of the label"
            if REQUEST_TIME in self.schema
            else f"make it an on-demand feature of a view, over a stored timestamp and {REQUEST_TIME}; "
            "or a group with query=, which writes a row for every instant, as_of"
        )
        return self.refuse("clock", f"{word} reads the clock, so the value would change without an event", remedy)

    def refuse(self, code: str, message: str, remedy: str) -> ExpressionError:
        return ExpressionError(code, f"in {self.text!r}: {message}", remedy)

    def visit_column(self, node: exp.Expression) -> Expression:
        name = node.name
        if name not in self.schema:
            if clock := clock_read(node):
                raise self._clock(clock)
            raise self.refuse("unknown-column", f"there is no column {name!r}", choices(name, self.schema))
        return column(name, self.schema[name])

    def visit_literal(self, node: exp.Expression) -> Expression:
        if node.is_string:
            return Expression("literal", STRING, value=node.name)
        if "." in node.name or "e" in node.name.lower():
            return Expression("literal", FLOAT, value=float(node.name))
        value = int(node.name)
        if not INT.accepts(value):
            raise self.refuse("literal", f"{value} does not fit 64 bits", "write it as a FLOAT, with a decimal point")
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
            raise self.refuse(
                "unsupported-operation",
                "there are no casts",
                "only the literal TIMESTAMP '2026-01-31T00:00:00Z' is read",
            )
        try:
            instant = datetime.fromisoformat(node.this.name)
        except ValueError:
            raise self.refuse(
                "literal", f"{node.this.name!r} is not an ISO timestamp", "write 2026-01-31T00:00:00Z"
            ) from None
        if instant.tzinfo is None:
            raise self.refuse(
                "literal", f"the timestamp {node.this.name!r} has no time zone", "add an offset, such as Z"
            )
        return Expression("literal", TIMESTAMP, value=instant)

    def visit_not(self, node: exp.Expression) -> Expression:
        return Expression("not", BOOL, (self._bool(node.this),))

    def visit_neg(self, node: exp.Expression) -> Expression:
        operand = self.number(node.this)
        if operand.op == "literal" and isinstance(operand.value, int | float):
            return Expression("literal", operand.dtype, value=-operand.value)
        return Expression("neg", operand.dtype, (operand,))

    def visit_abs(self, node: exp.Expression) -> Expression:
        operand = self.number(node.this)
        return Expression("abs", operand.dtype, (operand,))

    def visit_div(self, node: exp.Expression) -> Expression:
        return Expression("div", FLOAT, (as_float(self.number(node.this)), as_float(self.number(node.expression))))

    def visit_mod(self, node: exp.Expression) -> Expression:
        return Expression("mod", INT, (self.of(node.this, INT), self.of(node.expression, INT)))

    def visit_is(self, node: exp.Expression) -> Expression:
        if not isinstance(node.expression, exp.Null):
            raise self.refuse("unsupported-operation", "IS takes NULL only", "write = TRUE or IS NULL")
        return Expression("is_null", BOOL, (self.visit(node.this),))

    def visit_between(self, node: exp.Expression) -> Expression:
        subject = self.visit(node.this)
        low = self.compare("ge", subject, self.visit(node.args["low"]))
        return Expression("and", BOOL, (low, self.compare("le", subject, self.visit(node.args["high"]))))

    def visit_in(self, node: exp.Expression) -> Expression:
        if not node.expressions:
            raise self.refuse("unsupported-operation", "IN takes a list of literals", "write x IN (1, 2)")
        subject = self.visit(node.this)
        found = self.compare("eq", subject, self.visit(node.expressions[0]))
        for choice in node.expressions[1:]:
            found = Expression("or", BOOL, (found, self.compare("eq", subject, self.visit(choice))))
        return found

    def visit_case(self, node: exp.Expression) -> Expression:
        if node.this is not None:
            raise self.refuse("unsupported-operation", "CASE takes conditions", "write CASE WHEN x = 1 THEN … END")
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
        value, other = self._scalars(self.visit(node.this), self.visit(node.expression))
        return Expression("nullif", value.dtype, (comparable(value), comparable(other)))

    def visit_concat(self, node: exp.Expression) -> Expression:
        return Expression("concat", STRING, (self.of(node.this, STRING), self.of(node.expression, STRING)))

    def visit_named(self, node: exp.Expression) -> Expression:
        """A function of our own, which sqlglot does not know."""
        function = FUNCTIONS.get(node.name.lower())
        if function is None:
            raise self._unknown(node)
        count = len(node.expressions)
        if count not in function.arguments:
            message = f"{node.name} does not take {count} argument{'' if count == 1 else 's'}"
            raise self.refuse("unsupported-operation", message, f"write {function.usage}")
        return function.typed(self, *node.expressions)

    def of(self, node: exp.Expression, dtype: DType) -> Expression:
        operand = self.visit(node)
        if operand.dtype == NULL:
            return Expression("literal", dtype)
        if operand.dtype != dtype:
            raise self.refuse(
                "expression-type",
                f"{node.sql()!r} is {operand.dtype}, {dtype} is needed",
                f"use a column of type {dtype}",
            )
        return operand

    def _bool(self, node: exp.Expression) -> Expression:
        return self.of(node, BOOL)

    def number(self, node: exp.Expression) -> Expression:
        operand = self.visit(node)
        if not operand.dtype.is_numeric:
            raise self.refuse(
                "expression-type",
                f"{node.sql()!r} is {operand.dtype}, a number is needed",
                "use an INT or FLOAT column",
            )
        return operand

    def _arithmetic(self, op: str, left: Expression, right: Expression) -> Expression:
        left, right = self._same_type([left, right])
        if op == "sub" and left.dtype == TIMESTAMP:
            return Expression("micros_between", INT, (left, right))
        if not left.dtype.is_numeric:
            raise self.refuse("expression-type", f"{op} needs numbers, not {left.dtype}", "use INT or FLOAT columns")
        return Expression(op, left.dtype, (left, right))

    def compare(self, op: str, left: Expression, right: Expression) -> Expression:
        left, right = self._scalars(left, right)
        return Expression(op, BOOL, (comparable(left), comparable(right)))

    def _scalars(self, left: Expression, right: Expression) -> list[Expression]:
        """Two values that can be compared; engines decide differently when two lists are equal."""
        values = self._same_type([left, right])
        if values[0].dtype.kind in ("LIST", "EMBEDDING"):
            raise self.refuse("unsupported-operation", "lists are compared", "compare scalars")
        return values

    def _same_type(self, values: list[Expression]) -> list[Expression]:
        kinds = {value.dtype for value in values} - {NULL}
        if kinds == {INT, FLOAT}:
            return [as_float(value) for value in values]
        if len(kinds) > 1:
            names = " and ".join(sorted(str(kind) for kind in kinds))
            raise self.refuse("expression-type", f"{names} do not go together", "make both sides the same type")
        dtype = kinds.pop() if kinds else NULL
        return [Expression("literal", dtype) if value.dtype == NULL else value for value in values]


_VISITORS: dict[type[exp.Expression], Callable[[Typer, exp.Expression], Expression]] = {
    exp.Column: Typer.visit_column,
    exp.Literal: Typer.visit_literal,
    exp.Boolean: Typer.visit_boolean,
    exp.Null: Typer.visit_null,
    exp.Paren: Typer.visit_paren,
    exp.Cast: Typer.visit_cast,
    exp.Not: Typer.visit_not,
    exp.Neg: Typer.visit_neg,
    exp.Abs: Typer.visit_abs,
    exp.Div: Typer.visit_div,
    exp.Mod: Typer.visit_mod,
    exp.Is: Typer.visit_is,
    exp.Between: Typer.visit_between,
    exp.In: Typer.visit_in,
    exp.Case: Typer.visit_case,
    exp.Coalesce: Typer.visit_coalesce,
    exp.Nullif: Typer.visit_nullif,
    exp.DPipe: Typer.visit_concat,
    exp.Anonymous: Typer.visit_named,
}
