"""From definitions to plans: what is wrong is said all at once, with its place and its remedy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from feature_store import (
    FLOAT,
    INT,
    LIST,
    STRING,
    TIMESTAMP,
    BatchSource,
    Entity,
    Feature,
    FeatureGroup,
    FeatureView,
    agg,
)
from feature_store.compile.query_binding import check_queries
from feature_store.dsl.collect import Project, load_project
from feature_store.errors import DefinitionError, DefinitionErrors
from feature_store.plan.build import build_plan
from feature_store.plan.lineage import feature_lineage
from feature_store.plan.project import compile_project
from tests.integration.engine_cases import SQL_WORDS, group_of_sql_words

USER = Entity("user", join_key="user_id")
ORDERS = BatchSource(
    "orders",
    table="raw.orders",
    event_timestamp="ts",
    schema={"user_id": STRING, "amount": FLOAT, "fee": FLOAT, "status": STRING, "ts": TIMESTAMP},
)
COUNT = Feature("user_order_count_30d", agg.count(), window="30d", dtype=INT, default=0)


def group(**changes: Any) -> FeatureGroup:
    arguments: dict[str, Any] = {"entity": USER, "source": ORDERS, "owner": "team:shop", "features": [COUNT]}
    return FeatureGroup(**({"name": "user_orders"} | arguments | changes))


def codes(definition: FeatureGroup) -> list[str]:
    with pytest.raises(DefinitionErrors) as caught:
        build_plan(definition)
    assert all(error.remedy and "test_build.py:" in error.where for error in caught.value.errors)
    return [error.code for error in caught.value.errors]


def feature(*args: Any, name: str = "user_x_30d", window: str = "30d", **more: Any) -> Feature:
    return Feature(name, *args, window=window, **more)


def test_a_good_group_has_a_plan() -> None:
    plan = build_plan(group(derived={"user_half": "user_order_count_30d / 2"}))
    assert [(column.name, str(column.dtype)) for column in plan.schema.features] == [
        ("user_order_count_30d", "INT"),
        ("user_half", "FLOAT"),
    ]
    assert plan.schema.table == "features.user_orders_v1"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"name": "UserOrders"}, "name"),
        ({"owner": "bob"}, "owner"),
        ({"version": 0}, "version"),
        ({"features": []}, "no-feature"),
        ({"buckets": 0}, "buckets"),
        ({"start": "yesterday"}, "start"),
        ({"slide": "7h"}, "slide"),
        ({"ttl": "30d"}, "ttl"),
        ({"where": "stauts = 'x'"}, "unknown-column"),
        ({"columns": {"amount": "fee"}}, "duplicate-name"),
        ({"features": [COUNT, COUNT]}, "duplicate-name"),
        ({"features": [feature(agg.count(), dtype=INT, name="count_30d")]}, "feature-name"),
        ({"features": [feature(agg.count(), dtype=INT, name="user_count", window="7d")]}, "feature-name"),
        ({"features": [feature(agg.sum("status"), dtype=INT)]}, "type"),
        ({"features": [feature(agg.mean("amount"), dtype=INT)]}, "type"),
        ({"features": [feature(agg.top_k("status", k=0), dtype=LIST(STRING))]}, "type"),
        ({"features": [feature(agg.top_k("status", k=2, by="status"), dtype=LIST(STRING))]}, "type"),
        ({"features": [feature(agg.min("price"), dtype=FLOAT)]}, "unknown-column"),
        ({"features": [feature(agg.count(), dtype=INT, default="0")]}, "default"),
        ({"features": [feature(agg.count(), dtype=INT, expect={"null_rate": 2})]}, "expect"),
        ({"features": [feature(agg.max("status"), dtype=STRING, expect={"min": 2})]}, "expect"),
        ({"features": [feature(agg.count(), dtype=INT, window="36h", name="user_x_36h")]}, "slide"),
        ({"features": [Feature("user_x", dtype=INT)]}, "no-aggregation"),
        ({"derived": {"ratio": "user_order_count_30d / 2"}}, "feature-name"),
        ({"derived": {"user_ratio": "amount / 2"}}, "unknown-column"),
        ({"features": [feature(agg.count(), dtype=INT, name="t", rename_ok="short")]}, "reserved-name"),
        ({"features": [feature(agg.count(), dtype=INT, name="user_id", rename_ok="short")]}, "reserved-name"),
        ({"features": [feature(agg.count(), dtype=INT, name="User Count", rename_ok="old")]}, "feature-name"),
        ({"columns": {"_at": "fee"}}, "reserved-name"),
        ({"columns": {"Amount": "fee"}}, "duplicate-name"),
        ({"derived": {"user_order_count_30d": "1"}}, "duplicate-name"),
        ({"entity": Entity("User", join_key="user_id")}, "name"),
        ({"where": "amount > 'a'"}, "expression-type"),
        ({"where": "amount + status > 1"}, "expression-type"),
        ({"where": "lower(amount) = 'a'"}, "expression-type"),
        ({"where": "amount"}, "expression-type"),
        ({"where": "amount >"}, "syntax"),
        ({"where": "regexp_matches(status, 'a')"}, "unsupported-operation"),
        ({"where": "status LIKE 'a%'"}, "unsupported-operation"),
        ({"where": "CAST(amount AS INT) = 1"}, "unsupported-operation"),
        ({"where": "ts > TIMESTAMP '2026-01-01'"}, "literal"),
        ({"columns": {"net": "gross", "gross": "net"}}, "cycle"),
        ({"derived": {"user_a": "user_b", "user_b": "user_a"}}, "cycle"),
        ({"columns": {"net": "gross - 1", "gross": "amount"}}, "unknown-column"),
        ({"derived": {"user_a": "user_order_count_30d / 2", "user_b": "user_a"}}, "unknown-column"),
        ({"entity": Entity("user", join_key="uid")}, "join-key"),
        ({"entity": Entity("user", join_key="user_id", dtype=FLOAT)}, "key-type"),
        ({"entity": Entity("user", join_key=("user_id", "item_id"))}, "join-key"),
        ({"entity": Entity("user", join_key=("user_id", "status"), dtype=(STRING, INT))}, "join-key"),
        ({"entity": Entity("user", join_key="user_id", dtype=INT)}, "join-key"),
        ({"source": None, "query": "SELECT user_id FROM orders", "sources": [ORDERS]}, "query"),
        ({"source": None, "query": "SELECT user_id FROM orders", "sources": [ORDERS, ORDERS]}, "duplicate-name"),
        ({"source": None, "query": "SELECT user_id FROM orders LIMIT 1", "sources": [ORDERS],
          "features": [Feature("user_x", dtype=INT)]}, "unsupported-operation"),
    ],
)  # fmt: skip
def test_each_mistake_has_its_code(changes: dict[str, Any], code: str) -> None:
    assert code in codes(group(**changes))


def test_a_key_of_several_columns() -> None:
    plan = build_plan(group(entity=Entity("user", join_key=("user_id", "status"))))
    assert plan.keys == ("user_id", "status")
    assert [str(key.dtype) for key in plan.schema.keys] == ["STRING", "STRING"]
    swapped = build_plan(group(entity=Entity("user", join_key=("status", "user_id"))))
    assert len({each.fingerprint for each in (plan, swapped, build_plan(group()))}) == 3


@pytest.mark.parametrize(
    "clock",
    [
        "now()", "current_timestamp", "current_timestamp()", "CURRENT_DATE", "current_time", "localtimestamp",
        "today()", "age(user_last_all_time)", "get_current_timestamp()", "request_time", "as_of", "sysdate",
    ],
)  # fmt: skip
@pytest.mark.parametrize("emit", ["changes", "snapshot"])
def test_nothing_reads_the_clock(clock: str, emit: str) -> None:
    """Rows of a change-emitting group are written at events; and no engine is at the same instant as another."""
    last = Feature("user_last_all_time", agg.max("ts"), window="all_time", dtype=TIMESTAMP)
    for changes in (
        {"derived": {"user_age": f"{clock} - user_last_all_time"}},
        {"where": f"ts < {clock.replace('user_last_all_time', 'ts')}"},
        {"columns": {"age": clock.replace("user_last_all_time", "ts")}},
    ):
        with pytest.raises(DefinitionErrors) as caught:
            build_plan(group(features=[last], emit=emit, **changes))
        (error,) = caught.value.errors
        assert error.code == "clock"
        assert "make it an on-demand feature of a view, over a stored timestamp and request_time" in error.remedy
        assert "or a group with query=, which writes a row for every instant, as_of" in error.remedy


def test_a_column_may_have_the_name_of_a_clock() -> None:
    source = BatchSource("events", table="raw.e", event_timestamp="ts", schema={
        "user_id": STRING, "ts": TIMESTAMP, "now": INT, "today": INT, "request_time": TIMESTAMP})  # fmt: skip
    build_plan(group(source=source, where="now = 1 and today = 2 and request_time < ts"))


def test_words_of_sql_are_names_like_any_other() -> None:
    (row,) = group_of_sql_words().run(
        [{"primary": "a", "ts": "2026-01-01T12:00Z", **dict.fromkeys(SQL_WORDS, 1)}], as_of="2026-01-02"
    )
    assert row["user_select"] == row["returning"] == len(SQL_WORDS)
    with pytest.raises(DefinitionErrors, match='a column whose name is a word of SQL stands in double quotes: "order"'):
        build_plan(replace(group_of_sql_words(), where="case > 1"))


def test_circles_are_named_and_what_reads_a_broken_column_is_not_reported_again() -> None:
    def errors(**changes: Any) -> list[str]:
        with pytest.raises(DefinitionErrors) as caught:
            build_plan(group(**changes))
        return [f"{error.where.partition(', ')[2]}: {error.code}: {error.message}" for error in caught.value.errors]

    total = feature(agg.sum("d"), dtype=FLOAT)
    columns = {"a": "b + 1", "b": "c", "c": "a", "d": "a + 1", "e": "e + 1", "good": "amount + 1"}
    (first, second) = errors(columns=columns, features=[total], where="d > 1")
    assert first == "computed column a: cycle: a reads b reads c reads a: none of them can be computed first"
    assert second == "computed column e: cycle: e reads e: none of them can be computed first"
    assert errors(columns={"d": "amuont + 1"}, features=[total], where="d > 1") == [
        "computed column d: unknown-column: in 'amuont + 1': there is no column 'amuont'"
    ]
    assert errors(derived={"user_a": "user_b", "user_b": "user_a + user_order_count_30d"}) == [
        "derived feature user_a: cycle: user_a reads user_b reads user_a: none of them can be computed first"
    ]


def test_unknown_columns_come_with_the_nearest_name() -> None:
    def remedies(**changes: Any) -> list[str]:
        with pytest.raises(DefinitionErrors) as caught:
            build_plan(group(**changes))
        return [error.remedy for error in caught.value.errors if error.code == "unknown-column"]

    near = "did you mean 'amount'? columns are: amount, fee, status, ts, user_id"
    assert remedies(where="amuont > 1") == [near]
    assert remedies(columns={"net": "amont - fee"}) == [near]
    assert remedies(features=[feature(agg.sum("amounts"), dtype=FLOAT)]) == [near]
    assert remedies(features=[feature(agg.count(), dtype=INT, where="ammount > 1")]) == [near]
    assert remedies(features=[feature(agg.top_k("status", 2, by="amoun"), dtype=LIST(STRING))]) == [near]
    assert remedies(where="nothing_like_it > 1") == ["columns are: amount, fee, status, ts, user_id"]
    assert remedies(derived={"user_half": "user_order_count_30 / 2"}) == [
        "did you mean 'user_order_count_30d'? columns are: user_order_count_30d"
    ]


@pytest.mark.parametrize(
    ("query", "unknown"),
    [
        ("SELECT user_id, max(amuont) AS user_x FROM orders GROUP BY user_id", "amuont"),
        ("SELECT o.user_id, o.amuont AS user_x FROM orders o", "o.amuont"),
        ("SELECT user_id, p.amount AS user_x FROM orders o", "p.amount"),
        ("SELECT user_id, amount AS user_x FROM orders WHERE amuont > 1", "amuont"),
        ("WITH dear AS (SELECT user_id, amount AS a FROM orders) SELECT user_id, amount AS user_x FROM dear", "amount"),
        ("SELECT o.user_id, o.fee AS user_x FROM orders o JOIN orders p ON p.user = o.user_id", "p.user"),
        ("SELECT user_id, row_number() OVER (PARTITION BY stauts ORDER BY fee) AS user_x FROM orders", "stauts"),
    ],
)
def test_unknown_columns_of_a_query(query: str, unknown: str) -> None:
    definition = group(source=None, query=query, sources=[ORDERS], features=[Feature("user_x", dtype=FLOAT)])
    with pytest.raises(DefinitionErrors) as caught:
        build_plan(definition)
    (error,) = caught.value.errors
    assert (error.code, error.message) == ("unknown-column", f"there is no column {unknown!r}")


def test_columns_that_a_query_does_have() -> None:
    for query in (
        "SELECT user_id, fee AS user_x FROM orders WHERE as_of > ts AND Amount > 1",
        "SELECT user_id, fee AS part, part + 1 AS user_x FROM orders",
        "WITH p AS (SELECT user_id, named_struct('a', fee) AS s FROM orders) SELECT P.user_id, s.a AS user_x FROM p",
        "SELECT user_id, size(filter(array(fee, amount), x -> x > 1)) AS user_x FROM orders",
        "WITH a AS (SELECT user_id, sum(fee) AS f FROM orders GROUP BY user_id), "
        "b AS (SELECT a.user_id, a.f + o.fee AS g FROM a JOIN orders o ON o.user_id = a.user_id) "
        "SELECT b.user_id, count(*) FILTER (WHERE g > 1) AS user_x FROM b GROUP BY b.user_id HAVING user_x > 1",
    ):
        build_plan(group(source=None, query=query, sources=[ORDERS], features=[Feature("user_x", dtype=FLOAT)]))


@pytest.mark.parametrize(
    ("query", "part"),
    [
        ("SELECT user_id, fee AS user_x FROM orders o JOIN orders p ON p.user_id = o.user_id", "Ambiguous"),
        ("SELECT user_id, fee AS user_x FROM orders GROUP BY user_id", "GROUP BY"),
        ("SELECT user_id, fee + status AS user_x FROM orders", "VARCHAR"),
        ("SELECT user_id, sum(max(fee)) AS user_x FROM orders GROUP BY user_id", "nested"),
    ],
)
def test_a_query_that_cannot_be_run_is_refused(query: str, part: str) -> None:
    plan = build_plan(group(source=None, query=query, sources=[ORDERS], features=[Feature("user_x", dtype=FLOAT)]))
    with pytest.raises(DefinitionErrors) as caught:
        check_queries([build_plan(group()), plan])
    (error,) = caught.value.errors
    assert error.code == "query"
    assert "test_build.py:" in error.where
    assert part in error.message


def test_features_are_named_with_their_own_place() -> None:
    with pytest.raises(DefinitionErrors) as caught:
        build_plan(
            group(
                features=[
                    Feature("user_a_30d", agg.sum("price"), window="30d", dtype=FLOAT),
                    Feature("user_b_30d", agg.sum("price"), window="30d", dtype=FLOAT),
                ]
            )
        )
    first, second = (int(error.where.split(":")[1]) for error in caught.value.errors)
    assert second == first + 1


def test_all_mistakes_are_told_at_once() -> None:
    found = codes(group(name="X", owner="bob", where="nope", ttl="1d"))
    assert found == ["name", "owner", "ttl", "unknown-column"]


def test_the_message_names_place_group_and_feature() -> None:
    with pytest.raises(DefinitionErrors) as caught:
        build_plan(group(features=[feature(agg.sum("price"), dtype=FLOAT)]))
    text = str(caught.value)
    assert "test_build.py:" in text
    assert "group user_orders@1, feature user_x_30d: sum(price) reads a column 'price' that is not there" in text
    assert "columns are: amount, fee, status, ts, user_id" in text


def test_wrong_arguments_are_named_with_their_place() -> None:
    with pytest.raises(DefinitionError, match=r"test_build.py:\d+: Feature 'x' cannot be built: window: '9 days'"):
        Feature("x", agg.count(), window="9 days", dtype=INT)
    with pytest.raises(DefinitionError, match="colour: Unexpected keyword argument"):
        group(colour="red")
    with pytest.raises(DefinitionError, match="exactly one of table=, path= or jdbc="):
        BatchSource("s", event_timestamp="ts", schema={"ts": TIMESTAMP})


def test_a_table_with_snapshots_has_no_look_back() -> None:
    with pytest.raises(DefinitionError, match="its snapshots say what came in"):
        BatchSource("s", table="raw.s", event_timestamp="ts", schema={"ts": TIMESTAMP}, look_back="7d")
    with pytest.raises(DefinitionError, match="'a week' is not a duration"):
        BatchSource("s", path="s", event_timestamp="ts", schema={"ts": TIMESTAMP}, look_back="a week")


@pytest.mark.parametrize(
    "place",
    [
        {"table": "raw.or`ders"},
        {"table": "raw.orders; DROP TABLE x"},
        {"table": "raw."},
        {"table": "raw.orders VERSION AS OF (1)"},
        {"jdbc": "shop?socketFactory=x.public.orders"},
        {"jdbc": "shop/x.public.orders"},
        {"jdbc": 'shop.public."orders"'},
        {"jdbc": "shop.public.'orders'"},
        {"jdbc": "shop.public.orders -- "},
        {"jdbc": "shop.public.orders\n"},
        {"jdbc": "shop..orders"},
    ],
)
def test_names_of_tables_that_would_be_more_than_a_name_in_sql_are_refused(place: dict[str, str]) -> None:
    source = BatchSource("orders", event_timestamp="ts", schema=ORDERS.schema, **place)
    with pytest.raises(DefinitionErrors, match=r"is not a name -> use letters.*\[table-name\]"):
        build_plan(group(source=source))


@pytest.mark.parametrize("place", [{"table": "raw.my-orders_2"}, {"jdbc": "shop.My Schema.Bestellungen für $"}])
def test_names_of_tables_need_not_be_identifiers(place: dict[str, str]) -> None:
    build_plan(group(source=BatchSource("orders", event_timestamp="ts", schema=ORDERS.schema, **place)))


def test_a_ttl_within_the_window_teaches_both_remedies() -> None:
    with pytest.raises(DefinitionErrors, match="use ttl=None, or emit='snapshot'"):
        build_plan(group(ttl="7d"))
    build_plan(group(ttl="7d", emit="snapshot"))
    build_plan(group(ttl="31d"))


def test_fingerprints_ignore_spelling_and_follow_values() -> None:
    first = build_plan(group(where="amount>0 AND status='a'"))
    assert (
        build_plan(group(where="(amount > 0) and (status = 'a')", owner="team:other")).fingerprint == first.fingerprint
    )
    assert build_plan(group(where="amount >= 0 AND status = 'a'")).fingerprint != first.fingerprint
    two = [COUNT, feature(agg.mean("amount"), dtype=FLOAT)]
    forward, backward = build_plan(group(features=two)), build_plan(group(features=two[::-1]))
    assert forward.fingerprint == backward.fingerprint


def test_lineage_reaches_through_computed_columns_and_conditions() -> None:
    plan = build_plan(
        group(
            columns={"net": "amount - fee"},
            features=[feature(agg.sum("net"), dtype=FLOAT, where="status = 'a'"), COUNT],
            derived={"user_share": "user_x_30d / user_order_count_30d"},
        )
    )
    lineage = feature_lineage(plan)
    assert lineage["user_x_30d"] == (("orders", "amount"), ("orders", "fee"), ("orders", "status"), ("orders", "ts"))
    assert lineage["user_order_count_30d"] == (("orders", "ts"),)
    assert lineage["user_share"] == lineage["user_x_30d"]


def test_the_shop_compiles_and_queries_have_lineage() -> None:
    project = compile_project(load_project("feature_defs"))
    assert list(project.views) == ["ranking@1", "repurchase@1"]
    assert set(project.project.domains.values()) == {"shop"}
    catalogue = feature_lineage(project.groups["item_catalogue@1"])
    assert catalogue["item_price_percentile"] == (("products", "category"), ("products", "price"))


def project_errors(groups: list[FeatureGroup], *views: FeatureView) -> str:
    with pytest.raises(DefinitionErrors) as caught:
        compile_project(Project(tuple(groups), views, {}))
    return str(caught.value)


def test_two_entities_of_one_name_are_told_with_the_other_errors() -> None:
    other = group(name="copy", entity=Entity("user", join_key="user_id", description="another"), owner="bob")
    text = project_errors([group(), other])
    assert "entity 'user' is declared twice, differently -> declare it once" in text
    assert "owner 'bob' is not an owner" in text


def test_one_name_is_one_source() -> None:
    other = BatchSource("orders", path="orders/*.csv", event_timestamp="ts", schema=ORDERS.schema)
    text = project_errors([group(), group(name="copy", source=other)])
    assert "two different sources have the name 'orders': table raw.orders and path orders/*.csv" in text
    narrower = BatchSource(
        "orders", table="raw.orders", event_timestamp="ts", schema={"user_id": STRING, "ts": TIMESTAMP}
    )
    compile_project(Project((group(), group(name="copy", source=narrower)), (), {}))


def test_two_definitions_of_one_name_are_told_with_both_places() -> None:
    view = FeatureView("v", groups=[group()], owner="team:a")
    text = project_errors([group(), group()], view, view)
    assert "feature group user_orders@1 is defined 2 times" in text
    assert "feature view v@1 is defined 2 times" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "Churn"}, "the name 'Churn' is not snake_case"),
        ({"owner": "bob"}, "owner 'bob' is not an owner"),
        ({"groups": []}, "the view has no groups"),
        ({"groups": [group(), group(name="copy")]}, "2 of its groups have a feature 'user_order_count_30d'"),
        ({"groups": [group(name="hidden")]}, "the group hidden@1 it reads is not defined by itself"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_view_is_told(arguments: dict[str, Any], message: str) -> None:
    view = FeatureView(**({"name": "v", "groups": [group()], "owner": "team:a"} | arguments))
    assert message in project_errors([group(), group(name="copy")], view)


@pytest.mark.parametrize(
    ("name", "window", "suggestion"),
    [
        ("Count30d", "30d", "user_count30d_30d"),
        ("user_count_7d", "30d", "user_count_30d"),
        ("x", "all_time", "user_x_all_time"),
    ],
)
def test_a_wrong_name_comes_with_a_right_one(name: str, window: str, suggestion: str) -> None:
    with pytest.raises(DefinitionErrors, match=f"name it '{suggestion}'"):
        build_plan(group(features=[Feature(name, agg.count(), window=window, dtype=INT)]))
