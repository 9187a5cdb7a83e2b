"""Query groups: a SELECT over whole sources, lifted over the grid of feature timestamps.

The user's query speaks of one instant, `as_of`, and of the rows before it. Every source is given to it joined with the
grid (one copy of a row per instant that comes after it), and `as_of` is added to every join, GROUP BY, PARTITION BY and
select list. So one statement computes all instants of a backfill, and each instant is still computed by itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping

import sqlglot
from sqlglot import expressions as exp
from sqlglot.optimizer.scope import Scope, traverse_scope

from feature_store.errors import choices
from feature_store.plan.clock import AS_OF
from feature_store.plan.naming import TAKEN_SOURCES
from feature_store.plan.query_language import QueryError, check_constructs

GRID = "grid"
"""The table of all instants of a span, with the column `as_of`; a lifted query may read it."""


def parse_query(text: str, sources: Collection[str]) -> exp.Select:
    """The query of a group, every part of it allowed.

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
    check_constructs(query, text)
    _check_names(query, frozenset(sources))
    return query


def lift_query(query: exp.Select) -> exp.Select:
    """The query for all instants at once: its result has `as_of` as one more column.

    It reads the sources joined with the grid and, for aggregates of a whole table, the grid itself.
    """
    lifted = query.copy()
    for select in list(lifted.find_all(exp.Select)):
        _lift_select(select)
    return lifted


def unknown_columns(query: exp.Select, schemas: Mapping[str, Collection[str]]) -> Iterator[tuple[str, frozenset[str]]]:
    """Each column that a query names and that is not there, with those that are.

    Args:
        schemas: the columns of each source.
    """
    for scope in traverse_scope(query):
        tables = {alias.lower(): _columns_of(source, schemas) for alias, (_, source) in scope.selected_sources.items()}
        everywhere = frozenset[str]().union(*tables.values())
        for column in scope.columns:
            known, name = tables.get(column.table.lower()), column.name
            if known is None:  # no table, or the field of a struct; Spark lets expressions use the outputs before them
                known, name = everywhere.union(_outputs(scope), [AS_OF]), column.table or name
            if name.lower() not in {other.lower() for other in known}:
                yield column.sql(dialect="spark"), known & everywhere


def _outputs(scope: Scope) -> list[str]:
    return scope.expression.named_selects if isinstance(scope.expression, exp.Select) else []


def _columns_of(source: exp.Expression | Scope, schemas: Mapping[str, Collection[str]]) -> frozenset[str]:
    return frozenset(_outputs(source) if isinstance(source, Scope) else schemas.get(source.name, ()))


def _check_names(query: exp.Select, sources: frozenset[str]) -> None:
    """Refuses tables that are not there, names that are given twice, joins that cannot be lifted."""
    known = set(sources)
    for cte in query.ctes:
        if cte.alias in known | TAKEN_SOURCES:
            raise QueryError("query", f"the WITH clause gives the name {cte.alias!r} again", "choose another name")
        _check_select(cte.this, known)
        known.add(cte.alias)
    _check_select(query, known)


def _check_select(select: exp.Select, known: Collection[str]) -> None:
    if select.args.get("from_") is None:
        raise QueryError("query", "a SELECT of the query reads no source", "add FROM with one of the sources")
    joins: list[exp.Join] = select.args.get("joins") or []
    tables: list[exp.Table] = [select.args["from_"].this, *(join.this for join in joins)]
    for table in tables:
        if table.name not in known:
            remedy = f"list it in sources=; {choices(table.name, known, 'given')}"
            raise QueryError("query", f"there is no source {table.name!r}", remedy)
    _check_unique([table.alias_or_name for table in tables], "joins two tables as")
    _check_unique([name for name in select.named_selects if name], "has two columns")
    if AS_OF in map(str.lower, select.named_selects):
        raise QueryError("query", f"a SELECT of the query names a column {AS_OF!r}", "give the column another name")
    for join in joins:
        if join.args.get("side") not in ("", None, "LEFT") or join.args.get("kind") not in ("", None, "INNER", "OUTER"):
            raise QueryError("unsupported-operation", f"the query uses a {join.sql()}", "use JOIN or LEFT JOIN with ON")
        if join.args.get("on") is None:
            raise QueryError("query", f"{join.sql()!r} has no ON", "write JOIN … ON a.x = b.x")


def _check_unique(names: list[str], what: str) -> None:
    for name, count in Counter(map(str.lower, names)).items():
        if count > 1:
            raise QueryError("query", f"a SELECT of the query {what} {name!r}", "give each its own name with AS")


def _lift_select(select: exp.Select) -> None:
    """Adds `as_of` to one SELECT: to its joins, its groups, its windows and its columns."""
    first: str = select.args["from_"].this.alias_or_name
    for join in select.args.get("joins") or []:
        same_instant = exp.EQ(this=_as_of(first), expression=_as_of(join.this.alias_or_name))
        join.set("on", exp.and_(join.args["on"], same_instant))
    nodes = _own_nodes(select)
    grouped = select.args.get("group") is not None
    aggregates = [node for node in nodes if isinstance(node, exp.AggFunc) and not _over(node)]
    of_whole_table = not grouped and bool(aggregates or select.args.get("having"))
    instant = GRID if of_whole_table else first
    for node in nodes:
        if isinstance(node, exp.Window):
            node.set("partition_by", [*node.args.get("partition_by", []), _as_of(instant)])
        elif isinstance(node, exp.Column) and node.name.lower() == AS_OF and not node.table:
            inside = node.find_ancestor(exp.Join, exp.Where, exp.Select)  # where the grid is not in sight
            node.set("table", exp.to_identifier(instant if isinstance(inside, exp.Select) else first))
    if of_whole_table:
        _start_from_grid(select, first, aggregates)
    if grouped or of_whole_table:
        select.group_by(_as_of(instant), copy=False)
    select.select(exp.alias_(_as_of(instant), AS_OF), copy=False)


def _start_from_grid(select: exp.Select, first: str, aggregates: list[exp.AggFunc]) -> None:
    """Gives an aggregate of a whole table its row at instants of which no row is left, too: the aggregate of nothing.

    The tables and their condition go to the right side of a LEFT JOIN with the grid, and aggregates leave out the row
    of an instant that has no partner.
    """
    table, joins, where = select.args["from_"].this, select.args.pop("joins", None), select.args.pop("where", None)
    condition = exp.EQ(this=_as_of(first), expression=_as_of(GRID))
    rows: exp.Expr = table.copy()
    if joins:
        rows.set("joins", joins)
        rows = exp.Subquery(this=rows)
    on = exp.and_(condition, where.this) if where is not None else condition
    table.replace(exp.to_table(GRID))
    select.set("joins", [exp.Join(this=rows, side="LEFT", on=on)])
    for aggregate in aggregates:
        there = exp.Not(this=exp.Is(this=_as_of(first), expression=exp.Null()))
        if isinstance(aggregate.parent, exp.Filter):
            filtered = aggregate.parent.expression
            filtered.set("this", exp.and_(filtered.this, there))
        else:
            aggregate.replace(exp.Filter(this=aggregate.copy(), expression=exp.Where(this=there)))


def _as_of(table: str) -> exp.Column:
    return exp.column(AS_OF, table=table)


def _own_nodes(select: exp.Select) -> list[exp.Expr]:
    """The nodes of one SELECT without those of the SELECTs inside it."""
    return [
        node
        for node in select.walk(prune=lambda n: n is not select and isinstance(n, exp.CTE))
        if not isinstance(node, exp.CTE)
    ]


def _over(node: exp.Expr) -> bool:
    """Whether a function is computed over a window, and not of a group."""
    return isinstance(node.parent, exp.Window) and node.parent.this is node
