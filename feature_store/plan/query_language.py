"""The SQL that a query group may use: an allow-list of syntax nodes and of functions.

What is not listed is refused, so a construct that a later sqlglot learns to parse is refused, too. A construct is
listed when the lifted query is known to give, at every instant, what the query gives of that instant's rows alone.
"""

from __future__ import annotations

from typing import NoReturn

from sqlglot import expressions as exp

from feature_store.plan.clock import AS_OF, clock_read
from feature_store.plan.problems import RefusedError


class QueryError(RefusedError):
    """A query that cannot be lifted; the message says why and the remedy what to write."""


_OPERATORS = (
    exp.Add, exp.Sub, exp.Mul, exp.Div, exp.Mod, exp.Neg, exp.Paren, exp.DPipe, exp.Not, exp.And, exp.Or, exp.EQ,
    exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE, exp.NullSafeEQ, exp.Is, exp.Like, exp.Null, exp.Boolean, exp.Literal,
)  # fmt: skip
CONSTRUCTS: dict[type[exp.Expr], frozenset[str]] = {
    exp.Select: frozenset(
        ["with_", "distinct", "expressions", "from_", "joins", "where", "group", "having", "qualify"]
    ),
    exp.With: frozenset(["expressions"]),
    exp.CTE: frozenset(["this", "alias"]),
    exp.From: frozenset(["this"]),
    exp.Table: frozenset(["this", "alias"]),
    exp.TableAlias: frozenset(["this"]),
    exp.Join: frozenset(["this", "side", "kind", "on"]),
    exp.Where: frozenset(["this"]),
    exp.Group: frozenset(["expressions"]),
    exp.Having: frozenset(["this"]),
    exp.Qualify: frozenset(["this"]),
    exp.Distinct: frozenset(["expressions"]),
    exp.Alias: frozenset(["this", "alias"]),
    exp.Column: frozenset(["this", "table"]),
    exp.Identifier: frozenset(["this", "quoted"]),
    exp.Star: frozenset(),
    exp.In: frozenset(["this", "expressions"]),
    exp.Between: frozenset(["this", "low", "high"]),
    exp.Case: frozenset(["this", "ifs", "default"]),
    exp.Cast: frozenset(["this", "to"]),
    exp.TryCast: frozenset(["this", "to", "safe", "requires_string"]),
    exp.DataType: frozenset(["this"]),
    exp.Interval: frozenset(["this", "unit"]),
    exp.Var: frozenset(["this"]),
    exp.Lambda: frozenset(["this", "expressions"]),
    exp.PropertyEQ: frozenset(["this", "expression"]),
    exp.Filter: frozenset(["this", "expression"]),
    exp.Window: frozenset(["this", "partition_by", "order", "spec", "over"]),
    exp.WindowSpec: frozenset(["kind", "start", "start_side", "end", "end_side"]),
    exp.Order: frozenset(["expressions"]),
    exp.Ordered: frozenset(["this", "desc", "nulls_first"]),
    **dict.fromkeys(_OPERATORS, frozenset(["this", "expression", "is_string", "typed", "safe"])),
}
"""Each syntax node that a query may have, and which of its parts may be there."""

AGGREGATES: dict[str, type[exp.Expr]] = {
    "avg": exp.Avg, "bool_and": exp.LogicalAnd, "bool_or": exp.LogicalOr, "count": exp.Count,
    "max": exp.Max, "median": exp.Median, "min": exp.Min, "stddev": exp.Stddev, "stddev_samp": exp.StddevSamp,
    "sum": exp.Sum, "variance": exp.Variance,
}  # fmt: skip
RANKINGS: dict[str, type[exp.Expr]] = {
    "cume_dist": exp.CumeDist, "dense_rank": exp.DenseRank, "first_value": exp.FirstValue, "lag": exp.Lag,
    "last_value": exp.LastValue, "lead": exp.Lead, "ntile": exp.Ntile, "percent_rank": exp.PercentRank,
    "rank": exp.Rank, "row_number": exp.RowNumber,
}  # fmt: skip
SCALARS: dict[str, type[exp.Expr]] = {
    "abs": exp.Abs, "array": exp.Array, "ceil": exp.Ceil, "coalesce": exp.Coalesce, "concat": exp.Concat,
    "date_add": exp.TsOrDsAdd, "date_trunc": exp.TimestampTrunc, "datediff": exp.DateDiff, "day": exp.Day,
    "exp": exp.Exp, "filter": exp.ArrayFilter, "floor": exp.Floor, "greatest": exp.Greatest, "hour": exp.Hour,
    "if": exp.If, "least": exp.Least, "length": exp.Length, "ln": exp.Ln, "lower": exp.Lower, "minute": exp.Minute,
    "month": exp.Month, "named_struct": exp.Struct, "nullif": exp.Nullif, "power": exp.Pow, "replace": exp.Replace,
    "round": exp.Round, "second": exp.Second, "sign": exp.Sign, "size": exp.ArraySize, "sqrt": exp.Sqrt,
    "startswith": exp.StartsWith, "substring": exp.Substring, "trim": exp.Trim, "unix_micros": exp.UnixMicros,
    "unix_seconds": exp.UnixSeconds, "upper": exp.Upper, "year": exp.Year,
}  # fmt: skip
FUNCTIONS = frozenset([*AGGREGATES.values(), *RANKINGS.values(), *SCALARS.values(), exp.TsOrDsToDate])
"""The functions that a query may call; sqlglot puts TsOrDsToDate around the arguments of others."""

_TYPES = frozenset([exp.DType.BIGINT, exp.DType.BOOLEAN, exp.DType.DATE, exp.DType.DOUBLE, exp.DType.INT,
                    exp.DType.TEXT, exp.DType.TIMESTAMPTZ])  # fmt: skip

_RANKED = "use row_number() OVER (PARTITION BY … ORDER BY …) and a condition on it"
_CAST = "cast to BIGINT, BOOLEAN, DATE, DOUBLE, INT, STRING or TIMESTAMP"
_CHANCE = "a feature must be the same each time it is computed: leave it out"
_UNORDERED = f"its result depends on the order in which rows happen to be read: {_RANKED}"
_JOINED = "join a SELECT of the WITH clause, with JOIN or LEFT JOIN"
_REMEDIES: dict[str, str] = {
    **dict.fromkeys(["limit", "offset", "fetch"], _RANKED),
    **dict.fromkeys(["order", "sort", "cluster", "distribute"],
                    "the order of a table's rows has no meaning: leave it out"),
    **dict.fromkeys(["rand", "random", "randn", "randstr", "shuffle", "uniform", "uuid", "sample", "tablesample",
                     "monotonically_increasing_id", "current_user"], _CHANCE),
    **dict.fromkeys(["first", "last", "anyvalue", "arrayagg", "arrayuniqueagg", "argmax", "argmin"], _UNORDERED),
    **dict.fromkeys(["exists", "query", "any", "all", "subquery"], _JOINED),
    **dict.fromkeys(["windows", "window"], "write the whole window into OVER (…)"),
    **dict.fromkeys(["lateral", "laterals"], "join sources by their columns"),
    **dict.fromkeys(["union", "intersect", "except"], "join the sources, or make two groups"),
    **dict.fromkeys(["rollup", "cube", "grouping_sets"], "make a group for each set of columns"),
    "dayofweek": "count the days since a known Monday: datediff(as_of, DATE '2024-01-01') % 7",
    "unixmillis": "use unix_micros",
    "countif": "use count(*) FILTER (WHERE …)",
    "star": "name the columns",
    "group": "name each column that is grouped by",
    "method": "use JOIN or LEFT JOIN with ON",
    "using": "write JOIN … ON a.x = b.x",
    "db": "name a source of the group, which says where its rows are",
}  # fmt: skip
_SHOWN = {"all": "GROUP BY ALL", "db": "a namespace", "method": "a NATURAL or ASOF JOIN", "query": "IN (SELECT …)",
          "sample": "TABLESAMPLE", "windows": "WINDOW … AS"}  # fmt: skip
_OTHERWISE = "use what docs/language.md lists under Queries, or compute the column before it gets into the source"


def check_constructs(query: exp.Expr, text: str) -> None:
    """Refuses what a query may not have; `text` is the query as it was written.

    Raises:
        QueryError: at the first part that is not allowed, with its line and column.
    """
    for node in query.walk():
        clock = clock_read(node) if not isinstance(node, exp.Column) else ""
        if clock:
            message = f"{_place(node, text)}the query reads the clock of the machine with {clock}"
            raise QueryError("clock", message, f"use {AS_OF}, the instant the features describe")
    for node in query.walk():
        _check_setting(node, text)
        _check_node(node, text)


def _check_node(node: exp.Expr, text: str) -> None:
    allowed = CONSTRUCTS.get(type(node))
    if allowed is None and type(node) not in FUNCTIONS:
        _forbid(node, node.name.lower() if isinstance(node, exp.Anonymous) else node.key, text)
    for name, part in node.args.items():
        if allowed is not None and part and name not in allowed:
            found = part[0] if isinstance(part, list) else part
            _forbid(found if isinstance(found, exp.Expr) else node, name, text)


def _check_setting(node: exp.Expr, text: str) -> None:
    """Refuses a construct that is allowed elsewhere, or with other arguments."""
    parent, window = node.parent, node.find_ancestor(exp.Window)
    if isinstance(node, exp.Star) and not isinstance(parent, exp.Count):
        _forbid(parent if isinstance(parent, exp.Column) else node, "star", text)
    if isinstance(node, exp.Order) and not isinstance(parent, exp.Window):
        _forbid(node, "order", text)
    if isinstance(node, exp.Group) and any(isinstance(part, exp.Literal) for part in node.expressions):
        _forbid(node, "group", text)
    if type(node) in RANKINGS.values() and not isinstance(parent, exp.Window):
        _forbid(node, node.key, text, f"write {node.key}(…) OVER (PARTITION BY … ORDER BY …)")
    if isinstance(node, exp.Distinct | exp.Filter) and window is not None and window.this.find(type(node)) is node:
        _forbid(window, node.key, text, "compute it of a SELECT of the WITH clause, or without OVER")
    if isinstance(node, exp.Round) and node.args.get("decimals"):
        _forbid(node.args["decimals"], "digits of round", text, "multiply before and divide after it")
    if isinstance(node, exp.DataType) and node.this not in _TYPES:
        _forbid(
            node, f"the type {node.this.value}", text, "cast to BIGINT, BOOLEAN, DATE, DOUBLE, INT, STRING, TIMESTAMP"
        )
    if isinstance(node, exp.Select) and node.args.get("distinct") and node.args.get("qualify"):
        _forbid(node.args["qualify"], "qualify beside distinct", text, "name the SELECT DISTINCT in a WITH clause")
    if isinstance(node, exp.Column) and node.name.lower() == AS_OF and node.table:
        _forbid(node, f"{AS_OF} of one table", text, f"write {AS_OF} alone: it is the same everywhere")


def _forbid(node: exp.Expr, name: str, text: str, remedy: str = "") -> NoReturn:
    shown = " ".join(node.sql(dialect="spark").split())
    used = f"calls {shown}" if isinstance(node, exp.Func) else f"uses {_SHOWN.get(name, name.upper())} ({shown})"
    message = f"{_place(node, text)}the query {used}"
    raise QueryError("unsupported-operation", message, remedy or _REMEDIES.get(name, _OTHERWISE))


def _place(node: exp.Expr, text: str) -> str:
    """The line and column where a part begins, as "line 2, column 8: "; "" if sqlglot does not know."""
    start = min((found.meta["start"] for found in node.walk() if "start" in found.meta), default=None)
    if start is None:
        return ""
    before = text[:start]
    return f"line {before.count(chr(10)) + 1}, column {start - before.rfind(chr(10))}: "
