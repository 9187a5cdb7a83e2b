"""How a view reads its groups: names, keys and order are planned, and each mistake is told with its remedy."""

from __future__ import annotations

import dataclasses
import re

import pytest

from feature_store import FLOAT, INT, STRING, FeatureGroup, FeatureView, OnDemand
from feature_store.dsl.collect import Project
from feature_store.errors import DefinitionErrors
from feature_store.online.vector_sets import vector_sets
from feature_store.plan.build import build_plan, view_schema
from feature_store.plan.on_demand import on_demand_lineage
from feature_store.plan.project import compile_project
from feature_store.plan.schema import Column, ViewedSchema, ViewSchema
from tests.unit.view_cases import GROUPS, ITEMS, PAIRS, SELLERS, SELLERS_2, USERS, view


def refusals(reads: FeatureView) -> list[tuple[str, str]]:
    """Code and text of each error, which both ways to plan a view agree on."""
    with pytest.raises(DefinitionErrors) as caught:
        view_schema(reads)
    with pytest.raises(DefinitionErrors) as of_project:
        compile_project(Project(GROUPS, (reads,), {}))
    assert str(of_project.value) == str(caught.value)
    return [(error.code, str(error)) for error in caught.value.errors]


def test_roles_have_names_of_their_own_and_read_what_is_stored() -> None:
    buyer = USERS.select("user_name", "user_count").keyed_by("buyer_id", prefix="buyer_")
    schema = view_schema(view(USERS, buyer))
    assert [group.id for group in schema.groups] == ["user_facts@1", "buyer_user_facts@1"]
    assert [(key.name, key.dtype) for key in schema.keys] == [("user_id", STRING), ("buyer_id", STRING)]
    chosen = schema.groups[1]
    assert [feature.name for feature in chosen.features] == ["buyer_user_name", "buyer_user_count"]
    assert [feature.default for feature in chosen.features] == ["?", 0]
    assert [feature.name for feature in chosen.group.features] == ["user_name", "user_count"]
    assert [key.name for key in chosen.group.keys] == ["user_id"]
    assert (chosen.group.id, chosen.group.table) == ("user_facts@1", "features.user_facts_v1")
    assert not schema.is_plain


def test_two_versions_of_a_group() -> None:
    schema = view_schema(view(SELLERS, SELLERS_2.keyed_by("seller_id", prefix="new_")))
    assert [group.group.id for group in schema.groups] == ["seller_facts@1", "seller_facts@2"]
    assert [key.name for key in schema.keys] == ["seller_id"]
    assert schema.is_plain


def test_features_that_are_keys_are_read_in_rounds() -> None:
    schema = view_schema(
        view(
            USERS.keyed_by("item_twin_item_seller", prefix="far_"),
            SELLERS.keyed_by("item_seller"),
            ITEMS.keyed_by("item_item", prefix="item_twin_"),
            ITEMS,
        )
    )
    assert schema.rounds == ((3,), (1, 2), (0,))
    assert [key.name for key in schema.keys] == ["item_id"]


def test_groups_of_the_same_key_are_joined_beforehand_and_roles_are_not() -> None:
    seller_of_item = SELLERS.select("seller_user").keyed_by("item_seller", prefix="i_")
    buyer = USERS.select("user_count").keyed_by("buyer_id", prefix="buyer_")
    other = SELLERS_2.select("seller_price")
    reads = view(USERS, SELLERS.select("seller_count"), ITEMS, other, buyer, PAIRS, prejoin=True)
    schema = view_schema(reads)
    assert schema.prejoined == ((1, 3),)
    assert [(each.name, each.groups) for each in vector_sets([schema])] == [
        ("ranking@1:seller_id", ("seller_facts@1", "seller_facts@2"))
    ]
    assert view_schema(dataclasses.replace(reads, prejoin=False)).prejoined == ()
    assert view_schema(view(ITEMS, seller_of_item, other, SELLERS_2.select("seller_count").keyed_by("s", prefix="s_"),
                            SELLERS.select("seller_name"), prejoin=True)).prejoined == ((2, 4),)  # fmt: skip


def test_the_order_of_groups_and_odd_columns_leave_vectors_as_they_are() -> None:
    keys = (Column("a b", STRING), Column("{c|", INT))
    one, other = (dataclasses.replace(build_plan(PAIRS).schema, name=name, keys=keys) for name in ("y", "x"))
    for groups in ((one, other), (other, one)):
        (found,) = vector_sets([ViewSchema("odd", 2, tuple(map(ViewedSchema, groups)), prejoin=True)])
        assert (found.name, found.groups) == ("odd@2:a b|%7Bc%7C", ("x@1", "y@1"))


def test_on_demand_features_read_roles_and_come_from_groups() -> None:
    lead = OnDemand("lead", "user_count - buyer_user_count", dtype=INT)
    far = OnDemand("far", "lead * seller_count", dtype=INT)
    buyer = USERS.select("user_count").keyed_by("buyer_id", prefix="buyer_")
    schema = view_schema(view(USERS.select("user_count"), buyer, SELLERS, on_demand=[lead, far]))
    assert on_demand_lineage(schema) == {
        "lead": (("user_facts@1", "user_count"),),
        "far": (("seller_facts@1", "seller_count"), ("user_facts@1", "user_count")),
    }


@pytest.mark.parametrize(
    ("reads", "code", "text"),
    [
        (view(USERS, USERS), "duplicate-name", "the group user_facts@1 is read 2 times"),
        (view(USERS.select("user_count"), USERS.select("user_name").keyed_by("b")), "duplicate-name",
         "the group user_facts@1 is read 2 times -> read it once, or give a role a prefix"),
        (view(SELLERS, SELLERS_2), "duplicate-name", "2 of its groups have a feature 'seller_count'"),
        (view(USERS.select("user_cuont")), "unknown-feature", "no feature 'user_cuont' -> did you mean 'user_count'"),
        (view(USERS.select("xyz")), "unknown-feature", "its features are user_count, user_name, user_user, user_item"),
        (view(USERS.select("user_count", "user_count")), "duplicate-name", "'user_count' is chosen 2 times"),
        (view(USERS.keyed_by("a", "b")), "key-count", "its key is user_id; keyed_by names a, b"),
        (view(USERS.keyed_by("label_timestamp")), "reserved-name", "'label_timestamp' is a reserved name"),
        (view(USERS.keyed_by("b", prefix="Buyer ")), "name", "the prefix 'Buyer ' makes no snake_case name"),
        (view(USERS, ITEMS.keyed_by("user_id")), "key-type", "the key 'user_id' is INT and STRING"),
        (view(ITEMS, SELLERS.keyed_by("item_item")), "key-type",
         "seller_facts@1 is keyed by STRING, the feature 'item_item' is INT -> key it by a feature of type STRING"),
        (view(ITEMS.select("item_price"), SELLERS.keyed_by("item_seller")), "unknown-feature",
         "keyed by 'item_seller', which is not selected -> select it too, of item_facts@1"),
        (view(ITEMS.keyed_by("item_item")), "key-cycle", "item_facts@1 need features of each other as keys"),
        (view(USERS.keyed_by("seller_user"), SELLERS.keyed_by("user_name"), ITEMS), "key-cycle",
         "user_facts@1, seller_facts@1 need features of each other"),
        (view(ITEMS, SELLERS.keyed_by("item_seller"), request={"item_seller": STRING}), "duplicate-name",
         "'item_seller' is that of a feature of item_facts@1"),
        (view(USERS.keyed_by("buyer"), request={"buyer": STRING}), "duplicate-name", "is that of a key of the view"),
        (view(USERS.keyed_by("buyer"), on_demand=[OnDemand("buyer", "user_count", dtype=INT)]), "duplicate-name",
         "is that of a key of the view"),
        (view(USERS, ITEMS, USERS.keyed_by("b", prefix="b_"), prejoin=True), "prejoin",
         "no two of its groups are read by the same key"),
        (view(USERS, on_demand=[OnDemand("x", "buyer_user_count", dtype=FLOAT)]), "unknown-column", "no column"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_remedy(reads: FeatureView, code: str, text: str) -> None:
    found = refusals(reads)
    assert [of for of, _ in found] == [code]
    assert text in found[0][1]
    assert re.search(r"\.py:\d+: view ranking@1.* -> ", found[0][1])


def test_only_keyed_by_makes_a_feature_a_key() -> None:
    """That a feature has the name of another entity's key may be an accident."""
    features = [{"name": "seller_id", "dtype": "STRING", "agg": {"function": "last", "column": "seller"},
                 "window": "all_time", "rename_ok": "as the shop calls it"}]  # fmt: skip
    items = FeatureGroup.from_json({**ITEMS.to_json(), "features": features})
    with pytest.raises(DefinitionErrors, match=r"'seller_id' is a key and a feature.*write keyed_by\('seller_id'\)"):
        view_schema(view(items, SELLERS))
    assert view_schema(view(items, SELLERS.keyed_by("seller_id"))).rounds == ((0,), (1,))
