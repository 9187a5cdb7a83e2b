"""Queries over whole sources: Spark, all instants at once, against the reference, each instant by itself."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_store import EMBEDDING, FLOAT, INT, STRING, TIMESTAMP, BatchSource, Entity, Feature, FeatureGroup
from feature_store.compile.reference import run_reference
from feature_store.compile.span import Span
from feature_store.compile.spark import compile_spark
from feature_store.dtypes import DType, from_micros
from feature_store.duration import DAY, HOUR
from feature_store.offline import queried
from feature_store.plan.build import build_plan
from tests.integration.compared import assert_same_rows
from tests.integration.engine_cases import SCHEMA, START, USER, USER_WORD
from tests.integration.in_spark import IN_SPARK, in_spark, show, stored_by
from tests.unit.compile.query_cases import OF_EACH_USER, all_groups, group_of_users, rows_of_every_kind
from tests.unit.compile.query_cases import SPAN as QUERY_SPAN

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

PRODUCTS = {"product_id": STRING, "category": STRING, "price": FLOAT, "listed_at": TIMESTAMP}
CATEGORIES = {"name": STRING, "boost": INT, "since": TIMESTAMP}
QUERIES: list[tuple[str, DType]] = [
    ("SELECT product_id, percent_rank() OVER (PARTITION BY category ORDER BY price) AS item_x FROM products", FLOAT),
    (
        "SELECT product_id, CAST(floor((unix_seconds(as_of) - unix_seconds(listed_at)) / 86400) AS BIGINT) AS item_x "
        "FROM products WHERE price > 1",
        INT,
    ),
    (
        "WITH best AS (SELECT category, max(price) AS top FROM products GROUP BY category HAVING count(*) > 1) "
        "SELECT p.product_id, p.price / b.top AS item_x FROM products p LEFT JOIN best b "
        "ON b.category = p.category",
        FLOAT,
    ),
    (
        "SELECT p.product_id, sum(c.boost) AS item_x FROM products p JOIN categories c ON c.name = p.category "
        "GROUP BY p.product_id",
        INT,
    ),
    (
        "WITH all_of AS (SELECT count(*) AS n FROM products) SELECT p.product_id, a.n AS item_x FROM products p "
        "JOIN all_of a ON a.n > 1",
        INT,
    ),
]


@settings(IN_SPARK, max_examples=10)
@given(data=st.data(), query=st.sampled_from(QUERIES))
def test_queries_at_every_instant(quick: SparkSession, data: st.DataObject, query: tuple[str, DType]) -> None:
    instants = st.integers(START - 40 * HOUR, START + 5 * HOUR).map(from_micros)
    category = st.sampled_from(["a", "b", "c", None])
    products = [
        {"product_id": f"p{i}", "category": kind, "price": price, "listed_at": at}
        for i, (kind, price, at) in enumerate(
            data.draw(st.lists(st.tuples(category, st.sampled_from([1.0, 2.0, 2.0, 3.5]), instants), max_size=12))
        )
    ]
    categories = [{"name": name, "boost": i, "since": data.draw(instants)} for i, name in enumerate(["a", "b"])]
    text, dtype = query
    group = FeatureGroup(
        "item_random", entity=Entity("item", join_key="product_id"), owner="team:test", refresh="hourly", query=text,
        sources=[BatchSource("products", table="raw.products", event_timestamp="listed_at", schema=PRODUCTS),
                 BatchSource("categories", table="raw.categories", event_timestamp="since", schema=CATEGORIES)],
        features=[Feature("item_x", dtype=dtype)],
    )  # fmt: skip
    plan, span = build_plan(group), Span(START - 2 * HOUR, START + 3 * HOUR)
    rows = {"products": products, "categories": categories}
    assert_same_rows(in_spark(quick, plan, rows, span), run_reference(plan, rows, span), plan.keys)


@pytest.mark.parametrize("most", [1, 12, 60])
def test_a_span_in_parts_gives_the_rows_of_one_statement(
    quick: SparkSession, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    """Also where a part has one instant only; no statement makes more copies than it may, or than it must."""
    monkeypatch.setattr(queried, "MOST_COPIES", most)
    rows, plan = rows_of_every_kind(), build_plan(group_of_users(OF_EACH_USER[9]))
    show(quick, plan, rows)
    count = sum(map(len, rows.values()))
    parts = list(queried.parts_of(QUERY_SPAN, plan.slide, count))
    assert len(parts) == {1: 5, 12: 5, 60: 3}[most]
    for part in parts:
        copies = compile_spark(plan, part).rpartition("\nSELECT ")[0] + (
            "\nSELECT (SELECT count(*) FROM orders) + (SELECT count(*) FROM users)"
        )
        assert quick.sql(copies).collect()[0][0] <= max(most, count)
    with queried.queried_rows(quick, plan, QUERY_SPAN, count) as queried_rows:
        found = queried_rows.toArrow().to_pylist()
        assert stored_by(quick) == len(parts)
    assert stored_by(quick) == 0
    assert_same_rows(found, run_reference(plan, rows, QUERY_SPAN), plan.keys)


def test_every_construct_and_function(quick: SparkSession) -> None:
    rows = rows_of_every_kind()
    for group in all_groups():
        plan = build_plan(group)
        found = in_spark(quick, plan, rows, QUERY_SPAN)
        assert_same_rows(found, run_reference(plan, rows, QUERY_SPAN), plan.keys)


def test_a_query_with_a_composite_key(quick: SparkSession) -> None:
    group = FeatureGroup(
        "user_words", entity=USER_WORD, owner="team:test",
        query="SELECT user_id, word, sum(n) AS user_x FROM events GROUP BY user_id, word",
        sources=[BatchSource("events", table="raw.events", event_timestamp="ts", schema=SCHEMA)],
        features=[Feature("user_x", dtype=INT)],
    )  # fmt: skip
    plan, span = build_plan(group), Span(START, START + 3 * DAY)
    given = [("u", "a", 1), ("u", "b", 2), ("v", "a", 4), (None, "a", 8), ("u", None, 16), ("u", "a", 32)]
    rows = [
        {"user_id": user, "word": word, "n": n, "ts": from_micros(START + i * DAY // 2)}
        for i, (user, word, n) in enumerate(given)
    ]
    found = in_spark(quick, plan, {"events": rows}, span)
    assert_same_rows(found, run_reference(plan, {"events": rows}, span), plan.keys)
    last = {
        (row["user_id"], row["word"]): row["user_x"]
        for row in found
        if row["feature_timestamp"] == from_micros(span.until)
    }
    assert last == {("u", "a"): 33, ("u", "b"): 2, ("v", "a"): 4}


@settings(IN_SPARK, max_examples=6)
@given(vectors=st.lists(st.tuples(*[st.lists(st.floats(-4, 4, width=32), min_size=3, max_size=3)] * 2), max_size=9))
def test_vectors(quick: SparkSession, vectors: list[tuple[list[float], list[float]]]) -> None:
    schema = {"item_id": STRING, "a": EMBEDDING(3), "b": EMBEDDING(3), "at": TIMESTAMP}
    group = FeatureGroup(
        "item_vectors", entity=Entity("item", join_key="item_id"), owner="team:test",
        query="SELECT item_id, a AS item_a, b AS item_b FROM styles",
        sources=[BatchSource("styles", table="raw.styles", event_timestamp="at", schema=schema)],
        features=[Feature("item_a", dtype=EMBEDDING(3)), Feature("item_b", dtype=EMBEDDING(3))],
        derived={"item_dot": "dot(item_a, item_b)", "item_norm": "norm(item_a)", "item_cos": "cosine(item_a, item_b)"},
    )  # fmt: skip
    rows = [{"item_id": str(i), "a": a, "b": b, "at": from_micros(START - 1)} for i, (a, b) in enumerate(vectors)]
    found = in_spark(quick, build_plan(group), {"styles": rows}, Span(START - DAY, START))
    assert len(found) == len(rows)
    for row in found:
        a, b = vectors[int(row["item_id"])]
        dot, lengths = sum(x * y for x, y in zip(a, b, strict=True)), math.hypot(*a) * math.hypot(*b)
        assert row["item_dot"] == pytest.approx(dot, abs=1e-12)
        assert row["item_norm"] == pytest.approx(math.hypot(*a))
        assert row["item_cos"] == (None if lengths == 0 else pytest.approx(dot / lengths, abs=1e-9))


ACCOUNTS = {"account": INT, "user_id": STRING, "tier": STRING, "op": STRING, "at": TIMESTAMP, "lsn": INT}


@settings(IN_SPARK, max_examples=12)
@given(data=st.data(), copies=st.booleans())
def test_states_at_every_instant(quick: SparkSession, data: st.DataObject, copies: bool) -> None:
    """A log of changes with ties, deletions and missing parts, or a series of copies, at each instant."""
    times = st.sampled_from([START + hours * HOUR + edge for hours in range(-3, 4) for edge in (-1, 0, 1)])
    changes = st.fixed_dictionaries({
        "account": st.sampled_from([1, 1, 2, 3, None]), "user_id": st.sampled_from(["a", "b", None]),
        "tier": st.sampled_from(["free", "paid", None]), "op": st.sampled_from(["U", "U", "D", None]),
        "at": times.map(from_micros),
    })  # fmt: skip
    rows = [row | {"lsn": i if i % 6 else None} for i, row in enumerate(data.draw(st.lists(changes, max_size=14)))]
    kind: dict[str, Any] = (
        {"copies": True} if copies else {"changes_of": ["account"], "deleted": "op = 'D'", "event_id": "lsn"}
    )
    source = BatchSource("accounts", table="cdc.accounts", event_timestamp="at", schema=ACCOUNTS, **kind)
    group = FeatureGroup(
        "user_accounts", entity=USER, owner="team:test", refresh="hourly", sources=[source],
        query="SELECT user_id, count(*) AS user_x, max(tier) AS user_y FROM accounts GROUP BY user_id",
        features=[Feature("user_x", dtype=INT), Feature("user_y", dtype=STRING)],
    )  # fmt: skip
    plan, span = build_plan(group), Span(START - 2 * HOUR, START + 3 * HOUR)
    found = in_spark(quick, plan, {"accounts": rows}, span)
    assert_same_rows(found, run_reference(plan, {"accounts": rows}, span), plan.keys)
