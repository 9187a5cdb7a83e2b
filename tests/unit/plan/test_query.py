"""Lifting a query over the grid of instants."""

from __future__ import annotations

import pytest

from feature_store.plan.query import lift_query, parse_query
from feature_store.plan.query_language import QueryError

SOURCES = {"products", "prices"}


def lifted(text: str) -> str:
    return lift_query(parse_query(text, SOURCES)).sql(dialect="spark")


def test_windows_are_partitioned_by_the_instant() -> None:
    sql = lifted("SELECT product_id, rank() OVER (PARTITION BY category ORDER BY price) AS r FROM products")
    assert "PARTITION BY category, products.as_of ORDER BY price" in sql
    assert sql.endswith("products.as_of AS as_of FROM products")


def test_joins_groups_and_ctes_carry_the_instant() -> None:
    sql = lifted(
        "WITH dear AS (SELECT category, max(price) AS top FROM products GROUP BY category) "
        "SELECT p.product_id, d.top FROM products p LEFT JOIN dear d ON d.category = p.category"
    )
    assert "GROUP BY category, products.as_of" in sql
    assert "ON d.category = p.category AND p.as_of = d.as_of" in sql


def test_an_aggregate_without_groups_has_a_row_at_every_instant() -> None:
    sql = lifted("SELECT count(*) AS n FROM products WHERE price > 1")
    assert "FROM grid LEFT JOIN products ON products.as_of = grid.as_of AND price > 1 GROUP BY grid.as_of" in sql


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SELECT product_id FROM products LIMIT 3", "LIMIT"),
        ("SELECT product_id FROM products ORDER BY price", "ORDER"),
        ("SELECT * FROM products", "STAR"),
        ("SELECT current_timestamp() AS now FROM products", "reads the clock of the machine with CURRENT_TIMESTAMP"),
        ("SELECT unix_timestamp() AS now FROM products", "reads the clock of the machine with CURRENT_TIMESTAMP"),
        ("SELECT product_id, now() AS now FROM products", "reads the clock of the machine with NOW()"),
        ("SELECT product_id, uuid() AS u FROM products", "UUID"),
        ("SELECT product_id, randn() AS r FROM products", "RANDN"),
        ("SELECT product_id, rand() AS r FROM products", "RAND"),
        ("SELECT product_id FROM (SELECT product_id FROM products) p", "SUBQUERY"),
        ("SELECT a.x FROM products a UNION SELECT b.x FROM prices b", "not one SELECT"),
        ("SELECT product_id FROM users", "no source 'users'"),
        ("SELECT p.x FROM products p CROSS JOIN prices q", "CROSS"),
        ("SELECT p.x FROM products p JOIN prices q USING (x)", "USING"),
        ("DELETE FROM products", "not one SELECT"),
        (
            "SELECT p.x FROM products p NATURAL JOIN prices q",
            "line 1, column 41: the query uses a NATURAL or ASOF JOIN",
        ),
        ("SELECT p.x FROM products p LEFT SEMI JOIN prices q ON p.x = q.x", "SEMI"),
        ("SELECT p.x FROM products p RIGHT JOIN prices q ON p.x = q.x", "RIGHT"),
        ("SELECT p.x FROM products p JOIN products p ON TRUE", "joins two tables as 'p'"),
        ("SELECT p.x FROM other.products p", "line 1, column 17: the query uses a namespace (other)"),
        ("SELECT id FROM range(10)", "line 1, column 16: the query calls RANGE(10)"),
        ("SELECT x FROM products VERSION AS OF 3", "VERSION"),
        ("SELECT x FROM products TABLESAMPLE (10 PERCENT)", "TABLESAMPLE"),
        ("SELECT x FROM products PIVOT (sum(y) FOR z IN (1, 2))", "PIVOT"),
        ("SELECT x FROM products LATERAL VIEW explode(y) t AS z", "LATERAL"),
        ("SELECT x FROM products SORT BY x", "SORT"),
        ("SELECT /*+ BROADCAST(products) */ x FROM products", "HINT"),
        (
            "SELECT x FROM products WHERE EXISTS (SELECT 1 AS y FROM prices)",
            "column 45: the query calls EXISTS",
        ),
        ("SELECT x FROM products WHERE x IN (SELECT y FROM prices)", "IN (SELECT …)"),
        ("SELECT x FROM products\nWHERE x = ANY (SELECT y FROM prices)", "line 2, column 23: the query uses ANY"),
        ("SELECT x FROM products WHERE x > (SELECT max(y) FROM prices)", "SUBQUERY"),
        ("SELECT sum(x) FILTER (WHERE x > (SELECT 1 FROM prices)) AS y FROM products", "SUBQUERY"),
        ("SELECT x, count(*) AS n FROM products GROUP BY ALL", "GROUP BY ALL"),
        ("SELECT x, count(*) AS n FROM products GROUP BY 1", "GROUP BY 1"),
        ("SELECT x, count(*) AS n FROM products GROUP BY x WITH ROLLUP", "ROLLUP"),
        ("SELECT x, count(*) AS n FROM products GROUP BY x, y GROUPING SETS ((x), (y))", "GROUPING_SETS"),
        ("SELECT row_number() OVER w AS n FROM products WINDOW w AS (ORDER BY x)", "WINDOW … AS"),
        ("SELECT rank() AS n FROM products", "RANK"),
        ("SELECT sum(x) FILTER (WHERE x > 1) OVER () AS n FROM products", "FILTER"),
        ("SELECT count(DISTINCT x) OVER () AS n FROM products", "DISTINCT"),
        ("SELECT DISTINCT x FROM products QUALIFY row_number() OVER (ORDER BY x) = 1", "QUALIFY BESIDE DISTINCT"),
        ("SELECT round(x, 2) AS y FROM products", "DIGITS OF ROUND"),
        ("SELECT CAST(x AS DECIMAL(9, 2)) AS y FROM products", "THE TYPE DECIMAL"),
        ("SELECT curdate() AS y FROM products", "reads the clock"),
        ("SELECT monotonically_increasing_id() AS y FROM products", "MONOTONICALLY_INCREASING_ID"),
        ("SELECT current_user() AS y FROM products", "CURRENT_USER"),
        ("SELECT random() AS y FROM products", "RAND"),
        ("SELECT to_unix_timestamp(x) AS y FROM products", "line 1, column 8: the query calls UNIX_TIMESTAMP"),
        ("SELECT collect_list(x) AS y FROM products", "COLLECT_LIST"),
        ("SELECT max_by(x, y) AS z FROM products", "MAX_BY"),
        ("SELECT first(x) AS y FROM products", "FIRST"),
        ("SELECT my_function(x) AS y FROM products", "MY_FUNCTION"),
        ("WITH p(x) AS (SELECT y FROM products) SELECT x FROM p", "COLUMNS"),
        ("WITH RECURSIVE p AS (SELECT y FROM products) SELECT y FROM p", "RECURSIVE"),
        ("WITH prices AS (SELECT y FROM products) SELECT y FROM prices", "gives the name 'prices' again"),
        ("WITH grid AS (SELECT y FROM products) SELECT y FROM grid", "gives the name 'grid' again"),
        ("WITH a AS (SELECT y FROM b), b AS (SELECT y FROM prices) SELECT y FROM a", "no source 'b'"),
        ("SELECT x AS y, z AS Y FROM products", "has two columns 'y'"),
        ("SELECT x AS as_of FROM products", "names a column 'as_of'"),
        ("SELECT p.as_of AS y FROM products p", "AS_OF OF ONE TABLE"),
        ("SELECT FROM WHERE", "not SQL"),
        ("SELECT 1 AS one", "reads no source"),
    ],
)
def test_what_cannot_be_lifted_is_refused(text: str, message: str) -> None:
    with pytest.raises(QueryError) as caught:
        parse_query(text, SOURCES)
    assert message in str(caught.value)
    assert caught.value.remedy
