"""Groups in roles are values, as groups are."""

from __future__ import annotations

import json

import pytest

from feature_store import FeatureView
from feature_store.dsl.viewed_group import ViewedGroup
from feature_store.errors import DefinitionError
from tests.unit.view_cases import ITEMS, SELLERS, USERS, view

ROLES = [
    USERS.select("user_count", "user_name"),
    USERS.keyed_by("buyer_id", prefix="buyer_"),
    USERS.keyed_by("buyer_id"),
    USERS.select("user_count").keyed_by("buyer_id", prefix="buyer_"),
]


@pytest.mark.parametrize("role", ROLES)
def test_a_role_survives_json_alone_and_in_a_view(role: ViewedGroup) -> None:
    copy = ViewedGroup.from_json(json.loads(json.dumps(role.to_json())))
    assert (copy, hash(copy)) == (role, hash(role))
    reads = view(ITEMS, role)
    assert FeatureView.from_json(json.loads(json.dumps(reads.to_json()))) == reads


def test_roles_differ_in_what_they_say() -> None:
    assert len({*ROLES, *ROLES, USERS.select("user_count")}) == 5
    assert ROLES[3] == USERS.keyed_by("buyer_id", prefix="buyer_").select("user_count")
    assert ROLES[0] != USERS


def test_a_view_without_roles_has_the_json_it_always_had() -> None:
    reads = view(USERS, ITEMS)
    assert reads.to_json()["groups"] == [USERS.to_json(), ITEMS.to_json()]
    assert [role.group for role in reads.viewed] == [USERS, ITEMS]


def test_a_role_is_called_by_its_prefix() -> None:
    assert [role.id for role in view(SELLERS, *ROLES[:2]).viewed] == [
        "seller_facts@1",
        "user_facts@1",
        "buyer_user_facts@1",
    ]


def test_nothing_chosen_is_a_mistake() -> None:
    with pytest.raises(DefinitionError, match=r"test_viewed_group.py:\d+: .*select\(\) needs at least one feature"):
        USERS.select()
    with pytest.raises(DefinitionError, match=r"keyed_by\(\) needs at least one column"):
        USERS.keyed_by(prefix="buyer_")
