"""Lifting a query over the grid of instants."""

from __future__ import annotations

import pytest

from feature_store.plan.query import QueryError, lift_query

SOURCES = {"products", "prices"}


def lifted(text: str) -> str:
    return lift_query(text, SOURCES).sql(dialect="spark")


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


def test_an_aggregate_without_groups_is_grouped_by_the_instant() -> None:
    assert "GROUP BY products.as_of" in lifted("SELECT count(*) AS n FROM products")


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
        ("SELECT p.x FROM products p JOIN prices q USING (x)", "no ON"),
        ("DELETE FROM products", "not one SELECT"),
        ("SELECT FROM WHERE", "not SQL"),
        ("SELECT 1 AS one", "reads no source"),
    ],
)
def test_what_cannot_be_lifted_is_refused(text: str, message: str) -> None:
    with pytest.raises(QueryError) as caught:
        lift_query(text, SOURCES)
    assert message in str(caught.value)
    assert caught.value.remedy
