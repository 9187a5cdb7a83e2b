"""What definitions say of access: what is recorded of it, what it leaves as it was, how it is shown."""

from __future__ import annotations

from typing import Any

import pytest

from feature_store import FLOAT, INT, FeatureGroup, OnDemand
from feature_store.errors import DefinitionError
from feature_store.plan.build import build_plan
from feature_store.registry.desired import desired_state
from feature_store.registry.listing import render_group
from tests.unit.registry.registry_cases import COUNT, ITEM_RANK, LAST, MEAN, USER_ORDERS, altered, compiled, group, view
from tests.unit.registry.test_registry_render import shown

PERSONAL: dict[str, Any] = {**USER_ORDERS, "access": "private", "features": [COUNT, altered(MEAN, pii=True), LAST]}


def test_a_derived_feature_of_personal_data_is_personal() -> None:
    derived = {
        "user_order_value_per_order": "user_order_value_mean_90d / nullif(user_order_count_30d, 0)",
        "user_order_count_twice": "user_order_count_30d * 2",
    }
    (record,) = desired_state(compiled(group(PERSONAL, derived=derived))).groups
    assert record.pii == {"user_order_value_mean_90d", "user_order_value_per_order"}
    assert record.access == "private"
    read = " ".join(shown(render_group(record)).split())
    assert "access private" in read
    assert "personal data user_order_value_mean_90d, user_order_value_per_order" in read


def test_a_feature_of_a_query_may_be_personal() -> None:
    rank = altered(ITEM_RANK["features"][0], pii=True)
    (record,) = desired_state(compiled(group(ITEM_RANK, features=[rank]))).groups
    assert record.pii == {"item_rank"}


def test_what_says_nothing_of_access_is_as_it_was() -> None:
    plain = compiled(view("ranking", group(USER_ORDERS), on_demand=[OnDemand("n", "user_order_count_30d", dtype=INT)]))
    state = desired_state(plain)
    (recorded,), (read,) = state.groups, state.views
    assert {"access", "pii"}.isdisjoint(recorded.definition)
    assert all("pii" not in feature for feature in recorded.definition["features"])
    assert "access" not in read.definition
    assert (recorded.access, recorded.pii, read.access) == ("public", frozenset(), "public")
    assert (state.fingerprint, recorded.fingerprint, read.fingerprint) == (
        "398b8538f0f30444",  # as the versions before access recorded them
        "19e3374b19de7d0f",
        "afc47ccb138e66eb",
    )


def test_access_alters_no_value_so_no_fingerprint() -> None:
    assert build_plan(group(PERSONAL)).fingerprint == build_plan(group(USER_ORDERS)).fingerprint
    opened, closed = (
        desired_state(compiled(view("ranking", group(USER_ORDERS), access=a))) for a in ("public", "private")
    )
    assert opened.views[0].fingerprint == closed.views[0].fingerprint
    assert opened.fingerprint != closed.fingerprint
    assert closed.views[0].access == "private"


def test_access_is_public_or_private() -> None:
    with pytest.raises(DefinitionError, match=r"'user_orders' cannot be built: access: Input should be 'public' or"):
        FeatureGroup.from_json({**USER_ORDERS, "access": "secret"})
    assert FeatureGroup.from_json(PERSONAL).features[1].pii
    assert FeatureGroup.from_json(PERSONAL).features[1].dtype == FLOAT
