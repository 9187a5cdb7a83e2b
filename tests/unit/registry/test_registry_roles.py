"""Roles, chosen features and composite keys in the registry: recorded, shown, and which changes break a model."""

from __future__ import annotations

import re

from feature_store import INT, STRING, Entity, FeatureGroup
from feature_store.dsl.collect import Project
from feature_store.dsl.view import FeatureView
from feature_store.plan.project import compile_project
from feature_store.registry.changes import Change
from feature_store.registry.desired import desired_state
from feature_store.registry.diff import plan_changes
from feature_store.registry.listing import render_all, render_view
from feature_store.registry.records import RegistryState
from tests.unit.registry.test_registry_render import shown
from tests.unit.view_cases import GROUPS, ITEMS, PAIRS, SELLERS, SELLERS_2, USERS, view

BUYER = USERS.select("user_count").keyed_by("buyer_id", prefix="buyer_")


def state(reads: FeatureView) -> RegistryState:
    return desired_state(compile_project(Project(GROUPS, (reads,), {})))


def change(before: FeatureView, after: FeatureView) -> Change:
    (found,) = plan_changes(state(before), compile_project(Project(GROUPS, (after,), {}))).changes
    return found


def said(before: FeatureView, after: FeatureView) -> tuple[list[str], bool]:
    found = change(before, after)
    return [str(detail) for detail in found.details], found.breaking


def test_a_record_is_a_view_again() -> None:
    reads = view(USERS, BUYER, ITEMS, SELLERS.keyed_by("item_seller"))
    (record,) = state(reads).views
    assert record.groups == ("user_facts@1", "user_facts@1", "item_facts@1", "seller_facts@1")
    assert record.definition["groups"][1] == {
        "group": "user_facts@1",
        "features": ["user_count"],
        "key": ["buyer_id"],
        "prefix": "buyer_",
    }
    assert record.view({group.id: group for group in GROUPS}) == reads


def test_what_is_recorded_without_roles_is_as_it_was() -> None:
    (record,) = state(view(USERS, ITEMS)).views
    assert record.definition["groups"] == ["user_facts@1", "item_facts@1"]
    assert record.fingerprint == state(view(ITEMS, USERS)).views[0].fingerprint


def test_the_fingerprint_follows_what_is_read_not_its_order() -> None:
    two, swapped = USERS.select("user_count", "user_name"), USERS.select("user_name", "user_count")
    prints = [state(view(role)).views[0].fingerprint for role in (two, swapped, USERS, USERS.keyed_by("b"))]
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3


def test_joining_beforehand_alters_no_value() -> None:
    plain, joined = (
        view(SELLERS.select("seller_count"), SELLERS_2.select("seller_price"), prejoin=p) for p in (False, True)
    )
    assert said(plain, joined) == (["prejoin: False -> True"], False)
    assert said(joined, plain) == (["prejoin: True -> False"], False)
    (was,), (now,) = state(plain).views, state(joined).views
    assert was.fingerprint == now.fingerprint
    assert "prejoin" not in was.definition
    assert now.view({group.id: group for group in GROUPS}).prejoin


def test_more_features_are_safe_and_fewer_are_breaking() -> None:
    one, two = view(USERS.select("user_count")), view(USERS.select("user_count", "user_name"))
    changed = "group user_facts@1: features: "
    assert said(one, two) == ([f"{changed}user_count -> user_count, user_name"], False)
    assert said(two, view(USERS)) == ([f"{changed}user_count, user_name -> all"], False)
    assert said(two, one) == ([f"{changed}user_count, user_name -> user_count"], True)
    assert said(view(USERS), two) == ([f"{changed}all -> user_count, user_name"], True)
    assert said(one, view(USERS.select("user_name"))) == ([f"{changed}user_count -> user_name"], True)
    assert change(two, view(USERS.select("user_name", "user_count"))).details[0].reason == "features are read by name"


def test_another_key_or_prefix_is_breaking() -> None:
    assert said(view(USERS), view(USERS.keyed_by("buyer_id"))) == (
        ["group user_facts@1: key: the entity's -> buyer_id"],
        True,
    )
    details, breaking = said(view(BUYER), view(USERS.select("user_count").keyed_by("buyer_id", prefix="payer_")))
    assert breaking
    assert details == ["group buyer_user_facts@1 removed: read", "group payer_user_facts@1 added: read"]
    assert said(view(USERS), view(USERS, BUYER)) == (["group buyer_user_facts@1 added: read"], True)


def test_nothing_changes_when_a_role_is_written_elsewhere() -> None:
    again = USERS.keyed_by("buyer_id", prefix="buyer_").select("user_count")
    assert (
        plan_changes(state(view(USERS, BUYER)), compile_project(Project(GROUPS, (view(USERS, again),), {}))).changes
        == ()
    )


def test_people_see_roles_and_the_names_of_features_in_the_view() -> None:
    found = state(view(USERS, BUYER))
    groups = {record.id: record for record in found.groups}
    text = shown(render_view(found.views[0], tuple(groups[name] for name in found.views[0].groups), ()))
    assert re.search(r"reads +user_facts@1, buyer_user_facts@1 \(user_facts@1 keyed by buyer_id\)", text)
    assert re.search(r"\n user_name +STRING +\"\?\" +user_facts@1\n", text)
    assert re.search(r"\n buyer_user_count +INT +0 +buyer_user_facts@1\n", text)
    assert "buyer_user_name" not in text
    assert "user_facts@1, buyer_user_facts@1 (user_facts@1 keyed" in shown(render_all((), found.views))


def test_an_entity_of_two_columns_is_recorded_and_a_change_of_them_is_breaking() -> None:
    (pair,) = [entity for entity in state(view(PAIRS)).entities if entity.name == "pair"]
    assert (pair.join_key, pair.dtype) == ("user_id, item_id", "STRING, INT")
    assert Entity.from_json(pair.definition) == PAIRS.entity
    swapped = Entity("pair", join_key=("item_id", "user_id"), dtype=(INT, STRING))
    other = FeatureGroup.from_json({**PAIRS.to_json(), "entity": swapped.to_json()})
    groups = (*(group for group in GROUPS if group != PAIRS), other)
    plan = plan_changes(state(view(PAIRS)), compile_project(Project(groups, (view(other),), {})))
    (found,) = [each for each in plan.breaking if each.subject == "entity"]
    assert [str(detail) for detail in found.details] == [
        "join_key: [user_id, item_id] -> [item_id, user_id]",
        "dtype: STRING, INT -> INT, STRING",
    ]
