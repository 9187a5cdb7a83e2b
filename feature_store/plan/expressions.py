"""The expression language of definitions: parsed once, typed, and the same on every engine.

SQL syntax, read by sqlglot. What an expression may say (everything else is refused with the list of what there is):

- columns; literals: numbers, 'text', TRUE, FALSE, NULL, TIMESTAMP '2026-01-31T00:00:00Z' (the offset is needed)
- AND, OR, NOT, =, <>, <, <=, >, >=, BETWEEN, IN (literals), IS [NOT] NULL, CASE WHEN
- +, -, *, / (always FLOAT), % (INT); a division by zero is NULL; INT overflow is an error of the run
- TIMESTAMP - TIMESTAMP: the INT of microseconds between them
- coalesce, nullif, abs, lower, upper, length, trim, || (text); an operation on NULL is NULL, comparisons included
- hash_bucket(text, n): the CRC-32 of the text's UTF-8 bytes modulo the literal n: an INT
- FLOAT results that are not finite are NULL when they are compared, aggregated or stored
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

import sqlglot
from sqlglot import expressions as exp

from feature_store.dtypes import BOOL, FLOAT, INT, STRING, TIMESTAMP, DType, Value

NULL = DType("NULL")
"""Type of a bare NULL, which takes the type of its surroundings."""


@dataclass(frozen=True)
class Expression:
    """A typed node: a column ("column"), a literal ("literal") or an operation on other nodes."""

    op: str
    dtype: DType
    args: tuple[Expression, ...] = ()
    value: Value = None

    def __str__(self) -> str:
        """A canonical form that does not depend on how the expression was spelt."""
        if self.op == "column":
            return str(self.value)
        if self.op == "literal":
            return f"{self.dtype}:{self.value!r}"
        return f"{self.op}({', '.join(map(str, self.args))})"

    @property
    def columns(self) -> frozenset[str]:
        """Names of the columns that are read."""
        if self.op == "column":
            return frozenset([str(self.value)])
        return frozenset(name for arg in self.args for name in arg.columns)


class ExpressionError(ValueError):
    """An expression that the language does not have; the message says what and the remedy what to write."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


def column(name: str, dtype: DType) -> Expression:
    """A reference to a column."""
    return Expression("column", dtype, value=name)


def finite(expression: Expression) -> Expression:
    """The expression with NaN and infinities of a FLOAT turned to NULL."""
    return Expression("finite", FLOAT, (expression,)) if expression.dtype == FLOAT else expression


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
            "coalesce, nullif, abs, lower, upper, length, trim, hash_bucket",
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
        """A function that sqlglot does not know."""
        if node.name.lower() != "hash_bucket":
            raise self._unknown(node)
        if len(node.expressions) != 2:
            raise self._refuse("hash_bucket takes a text and a number of buckets", "write hash_bucket(text, 1000)")
        text, buckets = self._of(node.expressions[0], STRING), self.visit(node.expressions[1])
        if buckets.op != "literal" or not isinstance(buckets.value, int) or isinstance(buckets.value, bool):
            raise self._refuse("the number of buckets is not an INT literal", "write hash_bucket(text, 1000)")
        if buckets.value < 1:
            raise self._refuse(f"{buckets.value} is not a number of buckets", "use 1 or more")
        return Expression("hash_bucket", INT, (text, buckets))

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
