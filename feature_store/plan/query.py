"""Query groups: a SELECT over whole sources, lifted over the grid of feature timestamps.

The user's query speaks of one instant, `as_of`, and of the rows before it. Every source is given to it joined with the
grid (one copy of a row per instant that comes after it), and `as_of` is added to every join, GROUP BY, PARTITION BY and
select list. So one statement computes all instants of a backfill, and each instant is still computed by itself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import sqlglot
from sqlglot import expressions as exp
from sqlglot.optimizer.scope import Scope, traverse_scope

from feature_store.errors import choices
from feature_store.plan.clock import AS_OF, clock_read
from feature_store.plan.problems import RefusedError


class QueryError(RefusedError):
    """A query that cannot be lifted; the message says why and the remedy what to write."""


_REFUSED: dict[type[exp.Expr], str] = {
    exp.Limit: "use row_number() OVER (PARTITION BY … ORDER BY …) and a condition on it",
    exp.Offset: "use row_number() OVER (PARTITION BY … ORDER BY …) and a condition on it",
    exp.Order: "the order of a table's rows has no meaning: leave it out",
    **dict.fromkeys((exp.Rand, exp.Randn, exp.Randstr, exp.Shuffle, exp.Uniform, exp.Uuid),
                    "a feature must be the same each time it is computed: leave it out"),
    exp.Lateral: "join sources by their columns",
    exp.Subquery: "name the subquery in a WITH clause and select from it",
    exp.SetOperation: "join the sources, or make two groups",
    exp.Star: "name the columns",
}  # fmt: skip


def lift_query(text: str, sources: set[str]) -> exp.Select:
    """The query with `as_of` carried through every SELECT; its result has `as_of` as one more column.

    Raises:
        QueryError: if it is not one SELECT over the given sources, or uses what cannot be lifted.
    """
    try:
        statements = [s for s in sqlglot.parse(text, read="spark") if s is not None]
    except sqlglot.ParseError as error:
        detail = error.errors[0]["description"] if error.errors else str(error)
        raise QueryError("syntax", f"the query is not SQL: {detail}", "correct the syntax") from None
    if len(statements) != 1 or not isinstance(statements[0], exp.Select):
        raise QueryError("query", "the query is not one SELECT statement", "write SELECT …, or WITH … SELECT …")
    query = statements[0]
    _check_operations(query)
    _check_tables(query, sources)
    for select in list(query.find_all(exp.Select)):
        _lift_select(select)
    return query


def unknown_columns(lifted: exp.Select, schemas: Mapping[str, Collection[str]]) -> Iterator[tuple[str, frozenset[str]]]:
    """Each column that a lifted query names and that is not there, with those that are.

    Args:
        schemas: the columns of each source.
    """
    for scope in traverse_scope(lifted):
        tables = {alias.lower(): _columns_of(source, schemas) for alias, (_, source) in scope.selected_sources.items()}
        everywhere = frozenset[str]().union(*tables.values())
        for column in scope.columns:
            known, name = tables.get(column.table.lower()), column.name
            if known is None:  # no table, or the field of a struct; Spark lets expressions use the outputs before them
                known, name = everywhere.union(_outputs(scope)), column.table or name
            if name.lower() not in {other.lower() for other in known}:
                yield column.sql(dialect="spark"), (known & everywhere) - {AS_OF}


def _outputs(scope: Scope) -> list[str]:
    return scope.expression.named_selects if isinstance(scope.expression, exp.Select) else []


def _columns_of(source: exp.Expression | Scope, schemas: Mapping[str, Collection[str]]) -> frozenset[str]:
    if isinstance(source, Scope):
        return frozenset(_outputs(source))
    return frozenset([*schemas.get(source.name, ()), AS_OF])


def _check_operations(query: exp.Select) -> None:
    for node in query.walk():
        remedy = _REFUSED.get(type(node))
        inside_window = isinstance(node, exp.Order) and isinstance(node.parent, exp.Window)
        counted = isinstance(node, exp.Star) and isinstance(node.parent, exp.Count)
        if remedy is not None and not inside_window and not counted:
            message = f"the query uses {node.key.upper()} ({node.sql(dialect='duckdb')})"
            raise QueryError("unsupported-operation", message, remedy)
        clock = clock_read(node) if not isinstance(node, exp.Column) else ""
        if clock:
            message = f"the query reads the clock of the machine with {clock}"
            raise QueryError("clock", message, f"use {AS_OF}, the instant the features describe")


def _check_tables(query: exp.Select, sources: set[str]) -> None:
    known = sources | {cte.alias for cte in query.ctes}
    for table in query.find_all(exp.Table):
        if table.name not in known:
            remedy = f"list it in sources=; {choices(table.name, known, 'given')}"
            raise QueryError("query", f"there is no source {table.name!r}", remedy)


def _lift_select(select: exp.Select) -> None:
    """Adds `as_of` to one SELECT: to its joins, its groups, its windows and its columns."""
    from_ = select.find(exp.From)
    if from_ is None:
        raise QueryError("query", "a SELECT of the query reads no source", "add FROM with one of the sources")
    first = from_.this.alias_or_name
    for join in select.args.get("joins") or []:
        if join.args.get("side") in ("RIGHT", "FULL") or join.args.get("kind") in ("CROSS", "SEMI", "ANTI"):
            raise QueryError("unsupported-operation", f"the query uses a {join.sql()}", "use JOIN or LEFT JOIN with ON")
        if join.args.get("on") is None:
            raise QueryError("query", f"{join.sql()!r} has no ON", "write JOIN … ON a.x = b.x")
        same_instant = exp.EQ(this=_as_of(first), expression=_as_of(join.this.alias_or_name))
        join.set("on", exp.and_(join.args["on"], same_instant))
    aggregated = any(isinstance(node, exp.AggFunc) and not _in_window(node) for node in _own_nodes(select))
    if select.args.get("group") or aggregated:
        select.group_by(_as_of(first), copy=False)
    for node in _own_nodes(select):
        if isinstance(node, exp.Window):
            node.set("partition_by", [*node.args.get("partition_by", []), _as_of(first)])
        elif isinstance(node, exp.Column) and node.name == AS_OF and not node.table:
            node.set("table", exp.to_identifier(first))
    select.select(exp.alias_(_as_of(first), AS_OF), copy=False)


def _as_of(table: str) -> exp.Column:
    return exp.column(AS_OF, table=table)


def _own_nodes(select: exp.Select) -> list[exp.Expr]:
    """The nodes of one SELECT without those of the SELECTs inside it."""
    return [
        node
        for node in select.walk(prune=lambda n: n is not select and isinstance(n, exp.CTE))
        if not isinstance(node, exp.CTE)
    ]


def _in_window(node: exp.Expr) -> bool:
    parent = node.parent
    return isinstance(parent, exp.Window | exp.Filter) and (
        isinstance(parent, exp.Window) or isinstance(parent.parent, exp.Window)
    )
