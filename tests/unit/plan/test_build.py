"""From definitions to plans: what is wrong is said all at once, with its place and its remedy."""

from __future__ import annotations

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
from feature_store.dsl.collect import Project, load_project
from feature_store.errors import DefinitionError, DefinitionErrors
from feature_store.plan.build import build_plan
from feature_store.plan.lineage import feature_lineage
from feature_store.plan.project import compile_project

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
        ({"where": "stauts = 'x'"}, "expression"),
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
        ({"derived": {"user_ratio": "amount / 2"}}, "expression"),
        ({"entity": Entity("user", join_key="uid")}, "join-key"),
        ({"entity": Entity("user", join_key="user_id", dtype=FLOAT)}, "key-type"),
        ({"entity": Entity("user", join_key=("user_id", "item_id"))}, "join-key"),
        ({"entity": Entity("user", join_key=("user_id", "status"), dtype=(STRING, INT))}, "join-key"),
        ({"entity": Entity("user", join_key="user_id", dtype=INT)}, "join-key"),
        ({"source": None, "query": "SELECT user_id FROM orders", "sources": [ORDERS]}, "query"),
        ({"source": None, "query": "SELECT user_id FROM orders LIMIT 1", "sources": [ORDERS],
          "features": [Feature("user_x", dtype=INT)]}, "query"),
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


def test_all_mistakes_are_told_at_once() -> None:
    found = codes(group(name="X", owner="bob", where="nope", ttl="1d"))
    assert found == ["name", "owner", "ttl", "expression"]


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
