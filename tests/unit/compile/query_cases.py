"""Queries that use every construct and function a query group may have, and random rows to run them on."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from feature_store import BOOL, FLOAT, INT, STRING, TIMESTAMP, BatchSource, Entity, Feature, FeatureGroup
from feature_store.compile.span import Span
from feature_store.dtypes import DType, from_micros
from feature_store.duration import HOUR

START = 1_767_225_600_000_000  # 2026-01-01, a Thursday
SPAN = Span(START - 2 * HOUR, START + 3 * HOUR)
ORDERS = BatchSource("orders", table="raw.orders", event_timestamp="ts", schema={
    "order_id": STRING, "user_id": STRING, "word": STRING, "n": INT, "amount": FLOAT, "ok": BOOL, "ts": TIMESTAMP,
})  # fmt: skip
USERS = BatchSource("users", table="raw.users", event_timestamp="since", schema={
    "user_id": STRING, "tier": STRING, "since": TIMESTAMP})  # fmt: skip

OF_EACH_ORDER: dict[str, tuple[str, DType]] = {
    "x_abs": ("abs(-n)", INT), "x_round": ("round(amount)", FLOAT), "x_floor": ("floor(amount)", INT),
    "x_ceil": ("ceil(amount)", INT), "x_sign": ("sign(amount)", FLOAT), "x_sqrt": ("sqrt(n)", FLOAT),
    "x_exp": ("exp(n)", FLOAT), "x_ln": ("ln(n + 1)", FLOAT), "x_power": ("power(n, 2)", FLOAT),
    "x_arithmetic": ("(n + 1) * 2 - n % 3 + amount / 4", FLOAT), "x_greatest": ("greatest(n, 2)", INT),
    "x_least": ("least(n, 2)", INT), "x_coalesce": ("coalesce(amount, 0.5)", FLOAT), "x_nullif": ("nullif(n, 1)", INT),
    "x_if": ("if(ok, 1, 2)", INT), "x_case": ("CASE WHEN n > 2 AND NOT ok THEN 1 WHEN n IS NULL OR ok THEN 2 END", INT),
    "x_case_of": ("CASE word WHEN 'Ab' THEN 1 ELSE 0 END", INT), "x_lower": ("lower(word)", STRING),
    "x_upper": ("upper(word)", STRING), "x_trim": ("trim(word)", STRING), "x_length": ("length(word)", INT),
    "x_concat": ("concat(word, '-') || user_id", STRING), "x_substring": ("substring(word, 2, 1)", STRING),
    "x_replace": ("replace(word, 'b', 'cc')", STRING), "x_starts": ("startswith(word, 'A')", BOOL),
    "x_like": ("word LIKE '%b'", BOOL), "x_in": ("n IN (1, 3)", BOOL), "x_between": ("n BETWEEN 1 AND 2", BOOL),
    "x_compared": ("n < 2 OR n >= 4 OR n = 2 OR n <> 3 AND n <= 3", BOOL), "x_same": ("word <=> NULL", BOOL),
    "x_true": ("ok = TRUE", BOOL), "x_micros": ("unix_micros(ts)", INT),
    "x_seconds": ("unix_seconds(ts)", INT), "x_age": ("unix_seconds(as_of) - unix_seconds(ts)", INT),
    "x_trunc": ("unix_micros(date_trunc('DAY', ts))", INT), "x_year": ("year(ts)", INT), "x_month": ("month(ts)", INT),
    "x_day": ("day(ts)", INT), "x_hour": ("hour(ts)", INT), "x_minute": ("minute(ts)", INT),
    "x_second": ("second(ts)", INT), "x_days": ("datediff(as_of, ts)", INT),
    "x_added": ("datediff(date_add(as_of, 3), DATE '2026-01-01')", INT),
    "x_recent": ("ts > as_of - INTERVAL '2' HOUR AND ts < TIMESTAMP '2026-01-02T00:00:00Z'", BOOL),
    "x_cast": ("CAST(n AS DOUBLE) + CAST(ok AS INT)", FLOAT), "x_text": ("CAST(n AS STRING)", STRING),
    "x_try": ("TRY_CAST(word AS BIGINT)", INT), "x_size": ("size(filter(array(n, 2, 3), x -> x > 1))", INT),
}  # fmt: skip
"""Of each order: the name of a feature, its expression and its type."""

OF_EACH_USER: list[tuple[str, DType]] = [
    ("SELECT user_id, count(*) + count(n) + count(DISTINCT word) AS x FROM orders GROUP BY user_id", INT),
    ("SELECT user_id, sum(n) FILTER (WHERE ok) AS x FROM orders WHERE amount > 1 "
     "GROUP BY user_id HAVING max(n) > 1", INT),
    ("SELECT user_id, avg(amount) + min(n) AS x FROM orders GROUP BY user_id", FLOAT),
    ("SELECT user_id, stddev(n) + stddev_samp(amount) + variance(n) AS x FROM orders GROUP BY user_id", FLOAT),
    ("SELECT user_id, median(n) AS x FROM orders GROUP BY user_id", FLOAT),
    ("SELECT user_id, bool_and(ok) AND NOT bool_or(n > 2) AS x FROM orders GROUP BY user_id", BOOL),
    ("SELECT user_id, unix_micros(as_of) - unix_micros(max(ts)) AS x FROM orders GROUP BY user_id, as_of", INT),
    ("WITH firsts AS (SELECT DISTINCT user_id, word FROM orders) "
     "SELECT user_id, count(*) AS x FROM firsts GROUP BY user_id", INT),
    ("SELECT u.user_id, count(o.order_id) AS x FROM users u LEFT OUTER JOIN orders o ON o.user_id = u.user_id "
     "AND o.ts >= as_of - INTERVAL '1' HOUR GROUP BY u.user_id", INT),
    ("SELECT o.user_id, count(*) AS x FROM orders o JOIN orders p ON p.user_id = o.user_id AND p.ts < o.ts "
     "INNER JOIN users u ON u.user_id = p.user_id GROUP BY o.user_id", INT),
    ("WITH totals AS (SELECT word, sum(n) AS total FROM orders GROUP BY word), "
     "shares AS (SELECT o.user_id, o.n, t.total FROM orders o JOIN totals t ON t.word = o.word) "
     "SELECT user_id, sum(total - n) AS x FROM shares GROUP BY user_id", INT),
    ("WITH pairs AS (SELECT user_id, named_struct('a', n) AS pair FROM orders) "
     "SELECT user_id, max(pair.a) AS x FROM pairs GROUP BY user_id", INT),
    # aggregates of a whole table are there at instants without a row, too
    ("WITH everyone AS (SELECT count(*) AS many FROM orders) "
     "SELECT u.user_id, e.many AS x FROM users u LEFT JOIN everyone e ON TRUE", INT),
    ("WITH early AS (SELECT count(*) FILTER (WHERE o.ok) + count(u.tier) AS many, sum(o.n) AS total FROM orders o "
     "JOIN users u ON u.user_id = o.user_id AND u.since < as_of - INTERVAL '1' HOUR WHERE o.n > 1 AND o.ts < as_of) "
     "SELECT u.user_id, e.many + coalesce(e.total, 100) AS x FROM users u JOIN early e ON TRUE", INT),
    ("WITH many AS (SELECT count(*) AS c, unix_micros(as_of) AS at FROM orders GROUP BY as_of HAVING count(*) > 1), "
     "none AS (SELECT max(n) AS top FROM orders HAVING count(*) < 2) "
     "SELECT u.user_id, coalesce(m.c, 0) + coalesce(n.top, 50) AS x FROM users u LEFT JOIN many m ON TRUE "
     "LEFT JOIN none n ON TRUE", INT),
    ("SELECT user_id, amount AS x FROM orders "
     "QUALIFY row_number() OVER (PARTITION BY user_id ORDER BY ts DESC, order_id) = 1", FLOAT),
    ("SELECT user_id, sum(n) AS x FROM orders GROUP BY user_id QUALIFY rank() OVER (ORDER BY sum(n) DESC) <= 2", INT),
    ("SELECT user_id, sum(sum(n)) OVER (ORDER BY user_id NULLS LAST) AS x FROM orders GROUP BY user_id", INT),
]  # fmt: skip
"""Of each user: a query whose column x is the feature, and its type."""

WINDOWED: dict[str, tuple[str, DType]] = {
    "x_rank": ("rank() OVER (PARTITION BY word ORDER BY n)", INT),
    "x_dense": ("dense_rank() OVER (ORDER BY n DESC NULLS LAST)", INT),
    "x_percent": ("percent_rank() OVER (ORDER BY amount)", FLOAT),
    "x_cume": ("cume_dist() OVER (PARTITION BY user_id ORDER BY n)", FLOAT),
    "x_ntile": ("ntile(2) OVER (ORDER BY order_id)", INT),
    "x_lag": ("lag(n, 1, -1) OVER (PARTITION BY user_id ORDER BY order_id)", INT),
    "x_lead": ("lead(n) OVER (ORDER BY order_id)", INT),
    "x_first": ("first_value(n) OVER (ORDER BY order_id ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING)", INT),
    "x_last": ("last_value(n) OVER (ORDER BY order_id ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING)", INT),
    "x_number": ("row_number() OVER (PARTITION BY word ORDER BY ts, order_id)", INT),
    "x_sum": ("sum(n) OVER (PARTITION BY word)", INT),
    "x_count": ("count(*) OVER ()", INT),
    "x_range": ("sum(n) OVER (ORDER BY n RANGE BETWEEN 1 PRECEDING AND CURRENT ROW)", INT),
}
"""Of each order: the name of a feature, a window function and its type."""


def group_of_orders(columns: dict[str, tuple[str, DType]]) -> FeatureGroup:
    """The group of some of OF_EACH_ORDER or WINDOWED."""
    listed = ", ".join(f"{expression} AS {name}" for name, (expression, _) in columns.items())
    return _group(
        "order", f"SELECT order_id, {listed} FROM orders", [(name, dtype) for name, (_, dtype) in columns.items()]
    )


def group_of_users(case: tuple[str, DType]) -> FeatureGroup:
    """The group of one of OF_EACH_USER."""
    return _group("user", case[0], [("x", case[1])])


def all_groups() -> list[FeatureGroup]:
    """A group for each user's query, and one for all expressions and all window functions of an order."""
    return [*map(group_of_users, OF_EACH_USER), group_of_orders(OF_EACH_ORDER), group_of_orders(WINDOWED)]


def _group(entity: str, query: str, columns: list[tuple[str, DType]]) -> FeatureGroup:
    return FeatureGroup(
        f"{entity}_random", entity=Entity(entity, join_key=f"{entity}_id"), owner="team:test", refresh="hourly",
        query=query.replace(" AS x", f" AS {entity}_x"), sources=[ORDERS, USERS],
        features=[Feature(f"{entity}_{name}", dtype=dtype) for name, dtype in columns],
    )  # fmt: skip


_TIMES = st.sampled_from([START + hours * HOUR + edge for hours in range(-4, 4) for edge in (-1, 0, 1, HOUR // 3)])
_COUNTS = st.sampled_from([0, 1, 2, 3, 5, None])
_USERS = st.sampled_from(["a", "b", "c", None])


@st.composite
def source_rows(draw: st.DrawFn) -> dict[str, list[dict[str, Any]]]:
    """Rows of both sources, with ties, NULLs, instants on the grid, and instants before any row."""
    orders = draw(st.lists(st.fixed_dictionaries({
        "user_id": _USERS, "word": st.sampled_from(["Ab", " b", "12", None]), "n": _COUNTS,
        "amount": st.sampled_from([-1.5, 0.0, 0.25, 2.0, 3.75, None]), "ok": st.sampled_from([True, False, None]),
        "ts": _TIMES.map(from_micros),
    }), max_size=10))  # fmt: skip
    users = draw(st.lists(st.fixed_dictionaries({
        "user_id": _USERS, "tier": st.sampled_from(["free", None]), "since": _TIMES.map(from_micros)}),
        max_size=4, unique_by=lambda row: row["user_id"]))  # fmt: skip
    return {"orders": [{"order_id": f"o{i}", **row} for i, row in enumerate(orders)], "users": users}


def rows_of_every_kind() -> dict[str, list[dict[str, Any]]]:
    """Fixed rows of both sources, at instants before, on and between those of the span."""
    words, amounts = ["Ab", " b", "12", None], [-1.5, 0.0, 0.25, 2.0, 3.75, None]
    orders = [
        {
            "order_id": f"o{i}", "user_id": ["a", "b", "c", None][i * 7 % 4], "word": words[i % 4],
            "n": i * 5 % 6 or None, "amount": amounts[i * 3 % 6], "ok": [True, False, None][i % 3],
            "ts": from_micros(START + (i % 5 - 2) * HOUR + i * HOUR // 20 + i % 3 - 1),
        }
        for i in range(24)
    ]  # fmt: skip
    users = [
        {"user_id": user, "tier": tier, "since": from_micros(START + hours * HOUR)}
        for user, tier, hours in [("a", "free", -4), ("b", None, -1), ("c", "free", 1), (None, "free", -2)]
    ]
    return {"orders": orders, "users": users}
