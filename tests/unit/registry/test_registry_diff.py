"""Every kind of change gets its verdict, and says what it is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from feature_store.dsl.group import FeatureGroup
from feature_store.errors import DefinitionError
from feature_store.registry.changes import RegistryPlan
from feature_store.registry.desired import desired_state
from feature_store.registry.diff import plan_changes
from feature_store.registry.facts import Fact
from feature_store.registry.records import RegistryState
from feature_store.registry.rules import changed_rule
from feature_store.registry.tables import Status
from tests.unit.registry.registry_cases import (
    COUNT,
    ITEM_RANK,
    LAST,
    MEAN,
    ORDERS,
    USER,
    USER_ORDERS,
    altered,
    compiled,
    group,
    source,
    view,
)

SUM = {"name": "user_spent_sum_7d", "agg": {"function": "sum", "column": "amount"}, "dtype": "FLOAT", "window": "7d"}


def planned(before: Any, after: Any) -> RegistryPlan:
    """The plan from one set of definitions, as recorded, to another."""
    return plan_changes(desired_state(compiled(*before)), compiled(*after))


def changed(definition: dict[str, Any], **changes: Any) -> tuple[list[str], bool]:
    """The details of a change of one group, and whether it is breaking."""
    plan = planned([group(definition)], [group(definition, **changes)])
    (change,) = plan.changes
    assert (change.action, change.subject, change.id) == ("update", "feature group", f"{definition['name']}@1")
    return [str(detail) for detail in change.details], change.breaking


SAFE = {
    "owner": ({"owner": "team:growth"}, ["owner: team:shop -> team:growth"]),
    "description": ({"description": "Purchases."}, ["description: What a user bought. -> Purchases."]),
    "description dropped": ({"description": None}, ["description: What a user bought. -> none"]),
    "description says none": ({"description": "none"}, ["description: What a user bought. -> none"]),
    "cache": ({"cache": "5s"}, ["cache: none -> 5s"]),
    "sla": ({"freshness": "3h"}, ["freshness: 26h -> 3h"]),
    "tag added": ({"tags": {"domain": "shop", "tier": "1"}}, ["tag tier added: 1"]),
    "tag changed": ({"tags": {"domain": "web"}}, ["tag domain: shop -> web"]),
    "tag removed": ({"tags": None}, ["tag domain removed: shop"]),
    "earlier start": ({"start": "2023-01-01"}, ["start: 2024-01-01 -> 2023-01-01"]),
    "feature description": (
        {"features": [altered(COUNT, description="A month's orders."), MEAN, LAST]},
        ["feature user_order_count_30d: description: Orders of a month. -> A month's orders."],
    ),
    "expectation": (
        {"features": [altered(COUNT, expect={"min": 0, "null_rate": 0.1}), MEAN, LAST]},
        ["feature user_order_count_30d: expect: none -> min 0, null_rate 0.1"],
    ),
    "expectations of the group": (
        {"expect_rows": {"low": 0.9, "blocking": False}, "expect_source": {"max_age": "6h"}},
        ["expect_rows: none -> low 0.9, blocking False", "expect_source: none -> max_age 6h"],
    ),
    "closed to others": ({"access": "private"}, ["access: public -> private"]),
    "personal data": (
        {"features": [COUNT, altered(MEAN, pii=True), LAST]},
        ["feature user_order_value_mean_90d: pii: none -> True"],
    ),
    "naming excuse": (
        {"features": [altered(COUNT, rename_ok="of old"), MEAN, LAST]},
        ["feature user_order_count_30d: rename_ok: none -> of old"],
    ),
    "feature with default": (
        {"features": [COUNT, MEAN, LAST, {**SUM, "default": 0.5}]},
        ["feature user_spent_sum_7d added: FLOAT, sum(amount), window 7d, default 0.5"],
    ),
    "order of features": (
        {"features": [LAST, COUNT, MEAN]},
        [
            "order of features: user_order_count_30d, user_order_value_mean_90d, user_last_status_all_time, "
            "user_order_value_per_order -> user_last_status_all_time, user_order_count_30d, user_order_value_mean_90d, "
            "user_order_value_per_order"
        ],
    ),
    "condition in another spelling": (
        {"where": "(status='completed')"},
        ["where: status = 'completed' -> (status='completed')"],
    ),
    "computed column in another spelling": (
        {"columns": {"net": "amount*0.8"}},
        ["computed column net: amount * 0.8 -> amount*0.8"],
    ),
    "derived feature in another spelling": (
        {"derived": {"user_order_value_per_order": "user_order_value_mean_90d/NULLIF(user_order_count_30d, 0)"}},
        [
            "derived feature user_order_value_per_order: expression: user_order_value_mean_90d / "
            "nullif(user_order_count_30d, 0) -> user_order_value_mean_90d/NULLIF(user_order_count_30d, 0)"
        ],
    ),
    "spelling while a feature with default comes with its own column": (
        {
            "where": "status='completed'",
            "columns": {"net": "amount * 0.8", "gross": "amount * 1.2"},
            "features": [COUNT, MEAN, LAST, {**SUM, "agg": {"function": "sum", "column": "gross"}, "default": 0.0}],
        },
        [
            "where: status = 'completed' -> status='completed'",
            "computed column gross added: amount * 1.2",
            "feature user_spent_sum_7d added: FLOAT, sum(gross), window 7d, default 0.0",
        ],
    ),
    "computed column added": (
        {"columns": {"net": "amount * 0.8", "gross": "amount * 1.2"}},
        ["computed column gross added: amount * 1.2"],
    ),
    "source column added": (
        {"source": source(schema={**ORDERS["schema"], "country": "STRING"})},
        ["source column country added: STRING"],
    ),
    "source description": ({"source": source(description="Paid.")}, ["source: description: none -> Paid."]),
    "source name": ({"source": source(name="purchases")}, ["source: name: orders -> purchases"]),
}

BREAKING = {
    "another online store": (
        {"online_store": "hot"},
        ["online_store: the default one -> hot"],
    ),
    "feature without default": (
        {"features": [COUNT, MEAN, LAST, SUM]},
        ["feature user_spent_sum_7d added: FLOAT, sum(amount), window 7d"],
    ),
    "derived feature added": (
        {"derived": {**USER_ORDERS["derived"], "user_double": "user_order_count_30d * 2"}},
        ["derived feature user_double added: INT, user_order_count_30d * 2"],
    ),
    "feature removed": (
        {"features": [COUNT, MEAN]},
        ["feature user_last_status_all_time removed: STRING, last(status), window all_time"],
    ),
    "derived feature removed": (
        {"derived": None},
        [
            "derived feature user_order_value_per_order removed: FLOAT, "
            "user_order_value_mean_90d / nullif(user_order_count_30d, 0)"
        ],
    ),
    "feature renamed": (
        {"features": [altered(COUNT, name="user_orders_count_30d"), MEAN, LAST], "derived": None},
        [
            "feature user_order_count_30d removed: INT, count(), window 30d, default 0",
            "derived feature user_order_value_per_order removed: FLOAT, "
            "user_order_value_mean_90d / nullif(user_order_count_30d, 0)",
            "feature user_orders_count_30d added: INT, count(), window 30d, default 0",
        ],
    ),
    "aggregation and dtype": (
        {"features": [COUNT, MEAN, altered(LAST, agg={"function": "last", "column": "quantity"}, dtype="INT")]},
        [
            "feature user_last_status_all_time: dtype: STRING -> INT",
            "feature user_last_status_all_time: aggregation: last(status) -> last(quantity)",
        ],
    ),
    "window": (
        {"features": [COUNT, altered(MEAN, window="60d", rename_ok="test"), LAST]},
        [
            "feature user_order_value_mean_90d: window: 90d -> 60d",
            "feature user_order_value_mean_90d: rename_ok: none -> test",
        ],
    ),
    "condition of a feature": (
        {"features": [altered(COUNT, where="amount > 10"), MEAN, LAST]},
        ["feature user_order_count_30d: where: none -> amount > 10"],
    ),
    "default": (
        {"features": [altered(COUNT, default=1), MEAN, LAST]},
        ["feature user_order_count_30d: default: 0 -> 1"],
    ),
    "default dropped": (
        {"features": [altered(COUNT, default=None), MEAN, LAST]},
        ["feature user_order_count_30d: default: 0 -> none"],
    ),
    "a default that reads as none": (
        {"features": [COUNT, MEAN, altered(LAST, default="none")]},
        ['feature user_last_status_all_time: default: none -> "none"'],
    ),
    "condition": ({"where": "status <> 'returned'"}, ["where: status = 'completed' -> status <> 'returned'"]),
    "condition dropped": ({"where": None}, ["where: status = 'completed' -> none"]),
    "condition on a new source column": (
        {"where": "country = 'NO'", "source": source(schema={**ORDERS["schema"], "country": "STRING"})},
        ["where: status = 'completed' -> country = 'NO'", "source column country added: STRING"],
    ),
    "computed column": ({"columns": {"net": "amount * 0.9"}}, ["computed column net: amount * 0.8 -> amount * 0.9"]),
    "derived expression and its type": (
        {"derived": {"user_order_value_per_order": "user_order_count_30d + 1"}},
        [
            "derived feature user_order_value_per_order: expression: user_order_value_mean_90d / "
            "nullif(user_order_count_30d, 0) -> user_order_count_30d + 1",
            "derived feature user_order_value_per_order: dtype: FLOAT -> INT",
        ],
    ),
    "place of the source": (
        {"source": source(table="raw.all_orders")},
        ["source: location: table raw.orders -> table raw.all_orders"],
    ),
    "event time": (
        {"source": source(event_timestamp="paid_ts")},
        ["source: event_timestamp: order_ts -> paid_ts"],
    ),
    "event id": ({"source": source(event_id="order_id")}, ["source: event_id: none -> order_id"]),
    "type of a source column": (
        {"source": source(schema={**ORDERS["schema"], "quantity": "FLOAT"})},
        ["source column quantity: INT -> FLOAT"],
    ),
    "source column removed": (
        {"source": source(schema={k: v for k, v in ORDERS["schema"].items() if k != "quantity"})},
        ["source column quantity removed: INT"],
    ),
    "delay": ({"availability_delay": "2h"}, ["availability_delay: 0s -> 2h"]),
    "slide": ({"slide": "1h"}, ["slide: 1d -> 1h"]),
    "cadence": ({"refresh": "hourly"}, ["refresh: daily -> hourly", "slide: 1d -> 1h", "freshness: 26h -> 3h"]),
    "emit and ttl": ({"emit": "snapshot", "ttl": "7d"}, ["emit: changes -> snapshot", "ttl: none -> 7d"]),
    "buckets": ({"buckets": 8}, ["buckets: 4 -> 8"]),
    "later start": ({"start": "2025-01-01"}, ["start: 2024-01-01 -> 2025-01-01"]),
}


@pytest.mark.parametrize("case", SAFE)
def test_safe_changes_of_a_group(case: str) -> None:
    changes, expected = SAFE[case]
    assert changed(USER_ORDERS, **changes) == (expected, False)


@pytest.mark.parametrize("case", BREAKING)
def test_breaking_changes_of_a_group(case: str) -> None:
    changes, expected = BREAKING[case]
    assert changed(USER_ORDERS, **changes) == (expected, True)


def test_the_look_back_of_a_source_alters_no_value() -> None:
    files = {name: value for name, value in ORDERS.items() if name != "table"} | {"path": "raw/orders"}
    details, breaking = changed(USER_ORDERS | {"source": files}, source=files | {"look_back": "7d"})
    assert (details, breaking) == (["source: look_back: none -> 7d"], False)


def test_changes_of_a_query_group() -> None:
    respelt = "select item_id, count(*) as item_rank from prices group by item_id"
    assert changed(ITEM_RANK, query=respelt) == ([f"query: {ITEM_RANK['query']} -> {respelt}"], False)
    other = ITEM_RANK["query"].replace("count(*)", "max(price)")
    assert changed(ITEM_RANK, query=other) == ([f"query: {ITEM_RANK['query']} -> {other}"], True)
    renamed = {**ITEM_RANK["sources"][0], "name": "price_list"}
    details, breaking = changed(ITEM_RANK, query=ITEM_RANK["query"].replace("prices", "price_list"), sources=[renamed])
    assert "source prices removed: jdbc shop.public.prices" in details
    assert "source price_list added: jdbc shop.public.prices" in details
    assert breaking


def test_a_default_that_is_a_list_is_shown_as_json() -> None:
    top = {"name": "user_statuses_top2_30d", "agg": {"function": "top_k", "column": "status", "k": 2}, "window": "30d"}
    before = {**USER_ORDERS, "features": [COUNT, MEAN, {**top, "dtype": "LIST(STRING)", "default": ["a [b]"]}]}
    after = [COUNT, MEAN, {**top, "dtype": "LIST(STRING)", "default": []}]
    assert changed(before, features=after) == (['feature user_statuses_top2_30d: default: ["a [b]"] -> []'], True)


def test_an_entity_of_another_name_is_breaking() -> None:
    customer = {"name": "customer", "join_key": "user_id"}
    features = [altered(each, rename_ok="test") for each in (COUNT, MEAN, LAST)]
    before = group(USER_ORDERS, features=features, derived=None)
    plan = planned([before], [group(USER_ORDERS, features=features, derived=None, entity=customer)])
    assert [change.id for change in plan.creating] == ["customer"]
    assert [str(detail) for detail in plan.breaking[0].details] == ["entity: user -> customer"]
    assert plan.no_longer_defined == ("user",)


def test_the_key_of_an_entity_is_breaking_and_its_description_is_not() -> None:
    before = [group(USER_ORDERS)]
    plan = planned(before, [group(USER_ORDERS, entity={**USER, "description": "A customer."})])
    (change,) = plan.changes
    assert (change.subject, change.breaking) == ("entity", False)
    assert [str(detail) for detail in change.details] == ["description: none -> A customer."]

    (change,) = planned(before, [group(USER_ORDERS, entity={**USER, "join_key": "order_id"})]).changes
    assert [str(detail) for detail in change.details] == ["join_key: user_id -> order_id"]
    assert change.breaking
    assert "another name" in change.remedy

    keyed_by_number = group(
        USER_ORDERS, entity={**USER, "dtype": "INT"}, source=source(schema={**ORDERS["schema"], "user_id": "INT"})
    )
    assert [str(d) for d in planned(before, [keyed_by_number]).breaking[0].details] == ["dtype: STRING -> INT"]


def test_changes_of_a_view() -> None:
    orders, ranks = group(USER_ORDERS), group(ITEM_RANK)
    before = [view("ranking", orders, ranks)]
    safe = {
        "owner: team:ranking -> team:ads": view("ranking", orders, ranks, owner="team:ads"),
        "description: none -> For the shop window.": view("ranking", orders, ranks, description="For the shop window."),
        "access: public -> private": view("ranking", orders, ranks, access="private"),
        "order of groups: user_orders@1, item_rank@1 -> item_rank@1, user_orders@1": view("ranking", ranks, orders),
    }
    for detail, after in safe.items():
        (change,) = planned(before, [after]).changes
        assert ([str(each) for each in change.details], change.breaking) == ([detail], False)
    more = group({**USER_ORDERS, "features": [{**SUM, "default": 0.0}], "derived": None, "name": "user_spending"})
    breaking = {
        "group user_spending@1 added: read": (view("ranking", orders, ranks, more),),
        "group item_rank@1 removed: read": (view("ranking", orders), ranks),
    }
    for detail, now in breaking.items():
        (change,) = [change for change in planned(before, now).changes if change.subject == "feature view"]
        assert ([str(each) for each in change.details], change.breaking) == ([detail], True)
        assert "version=2" in change.remedy
    swapped = planned(before, [view("ranking", group(USER_ORDERS, version=2), ranks), orders])
    assert [str(detail) for detail in swapped.breaking[0].details] == [
        "group user_orders@1 removed: read",
        "group user_orders@2 added: read",
    ]


def test_everything_is_created_in_an_empty_registry_in_an_order_that_can_be_written() -> None:
    plan = plan_changes(RegistryState(), compiled(view("ranking", group(USER_ORDERS), group(ITEM_RANK))))
    assert [(change.action, change.subject, change.id) for change in plan.changes] == [
        ("create", "entity", "item"),
        ("create", "entity", "user"),
        ("create", "feature group", "item_rank@1"),
        ("create", "feature group", "user_orders@1"),
        ("create", "feature view", "ranking@1"),
    ]
    assert str(plan) == "5 to create, 0 to change safely, 0 breaking, 0 unchanged"


def test_nothing_changes_when_nothing_changed_however_it_is_written() -> None:
    definitions = [view("ranking", group(USER_ORDERS), group(ITEM_RANK))]
    respelt = [view("ranking", group(USER_ORDERS, freshness="26h", slide="24h"), group(ITEM_RANK, ttl="48h"))]
    for after in (definitions, respelt):
        plan = planned(definitions, after)
        assert (plan.changes, plan.unchanged, plan.no_longer_defined) == ((), 5, ())


def test_a_new_version_is_created_beside_the_old_one() -> None:
    before = group(USER_ORDERS)
    plan = planned([before], [before, group(USER_ORDERS, version=2, where="amount > 0")])
    assert [(change.action, change.id) for change in plan.changes] == [("create", "user_orders@2")]
    assert plan.unchanged == 2


def test_the_remedy_names_the_next_free_version() -> None:
    before = [group(USER_ORDERS), group(USER_ORDERS, version=2, where=None)]
    (change,) = planned(before, [group(USER_ORDERS, buckets=8), before[1], group(USER_ORDERS, version=3)]).breaking
    assert change.remedy == "undo it, or keep user_orders@1 as recorded and define the change with version=4"


def test_what_is_no_longer_defined_is_named_and_left() -> None:
    plan = planned([view("ranking", group(USER_ORDERS), group(ITEM_RANK))], [group(USER_ORDERS)])
    assert plan.no_longer_defined == ("item", "item_rank@1", "ranking@1")
    assert (plan.changes, plan.unchanged) == ((), 2)


def test_another_fingerprint_of_the_same_definition_is_recorded_as_the_engines_doing() -> None:
    after = compiled(group(USER_ORDERS))
    state = desired_state(after)
    older = replace(state, groups=(replace(state.groups[0], fingerprint="0123"),))
    (change,) = plan_changes(older, after).changes
    assert not change.breaking
    assert "another version of the feature store" in change.details[0].reason


def test_a_changed_record_keeps_its_author() -> None:
    state = desired_state(compiled(group(USER_ORDERS)))
    recorded = replace(state, groups=(replace(state.groups[0], created_by="ann"),))
    (change,) = plan_changes(recorded, compiled(group(USER_ORDERS, owner="team:new"))).changes
    assert (change.record.created_by, change.record.owner) == ("ann", "team:new")


def test_a_field_without_a_verdict_is_breaking() -> None:
    assert changed_rule(Fact("group", "", "field_of_tomorrow"), "1", "2").breaking


def test_entities_of_one_name_must_agree() -> None:
    other = group({**ITEM_RANK, "entity": {"name": "user", "join_key": "item_id", "dtype": "INT"}})
    other = FeatureGroup.from_json(
        {**other.to_json(), "features": [{"name": "user_rank", "dtype": "INT", "rename_ok": "test"}],
         "query": ITEM_RANK["query"].replace("item_rank", "user_rank")}
    )  # fmt: skip
    with pytest.raises(DefinitionError, match="entity 'user' is declared twice, differently"):
        planned([], [group(USER_ORDERS), other])


def test_the_state_fingerprint_moves_with_anything_recorded_but_not_with_who_and_when() -> None:
    state = desired_state(compiled(group(USER_ORDERS)))
    (record,) = state.groups
    same = replace(state, groups=(replace(record, created_by="bob"),))
    assert same.fingerprint == state.fingerprint
    for other in (
        replace(record, owner="team:x"),
        replace(record, status=Status.RETIRED),
        replace(record, features=()),
    ):
        assert replace(state, groups=(other,)).fingerprint != state.fingerprint
