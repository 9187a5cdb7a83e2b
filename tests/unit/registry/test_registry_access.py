"""What definitions say of access: what is recorded of it, what it leaves as it was, how it is shown."""

from __future__ import annotations

from typing import Any

import pytest

from feature_store import FLOAT, INT, STRING, TIMESTAMP, BatchSource, Entity, Feature, FeatureGroup, OnDemand, agg
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


ADDRESS = Feature("user_last_mail_all_time", agg.last("mail"), window="all_time", dtype=STRING)
ADDRESSES = Feature("user_mail_count_distinct_30d", agg.count_distinct("mail"), window="30d", dtype=INT)
DOMAIN = Feature("user_last_domain_all_time", agg.last("domain"), window="all_time", dtype=STRING)
SIGNED = Feature("user_signup_count_all_time", agg.count(), where="mail <> ''", window="all_time", dtype=INT)


def mailing(features: list[Feature], **more: Any) -> FeatureGroup:
    signups = BatchSource(
        "signups",
        table="raw.signups",
        event_timestamp="ts",
        schema={"user_id": STRING, "mail": STRING, "ts": TIMESTAMP},
        pii=("mail",),
    )
    user = Entity("user", join_key="user_id", dtype=STRING)
    return FeatureGroup("user_mails", entity=user, source=signups, owner="team:shop", features=features, **more)


def test_what_is_computed_from_a_personal_column_is_personal_but_for_counts() -> None:
    columns = {"domain": "lower(mail)"}
    derived = {
        "user_last_mail_shown": "upper(user_last_mail_all_time)",
        "user_mail_share": "user_mail_count_distinct_30d / nullif(user_signup_count_all_time, 0)",
    }
    made = mailing([ADDRESS, ADDRESSES, DOMAIN, SIGNED], columns=columns, derived=derived)
    (record,) = desired_state(compiled(made)).groups
    assert record.pii == {"user_last_mail_all_time", "user_last_domain_all_time", "user_last_mail_shown"}


def test_a_feature_may_say_that_it_is_not_personal() -> None:
    (record,) = desired_state(compiled(mailing([altered_feature(ADDRESS, pii=False), ADDRESSES]))).groups
    assert record.pii == frozenset()


def test_a_chained_group_gives_no_personal_data_away() -> None:
    before = mailing([ADDRESS, ADDRESSES])
    source = before.as_source()
    assert source.pii == ("user_last_mail_all_time",)
    last = Feature(
        "user_mail_last_all_time",
        agg.last("user_last_mail_all_time"),
        window="all_time",
        dtype=STRING,
        rename_ok="test",
    )
    mean = Feature(
        "user_mails_mean_30d", agg.mean("user_mail_count_distinct_30d"), window="30d", dtype=FLOAT, rename_ok="test"
    )
    after = FeatureGroup(
        "user_mail_habits", entity=before.entity, source=source, owner="team:shop", features=[last, mean]
    )
    records = {record.name: record for record in desired_state(compiled(before, after)).groups}
    assert records["user_mail_habits"].pii == {"user_mail_last_all_time"}


def test_personal_columns_are_columns_of_the_source() -> None:
    with pytest.raises(DefinitionError, match="pii= names 'phone', which is not in schema="):
        BatchSource("signups", table="raw.signups", event_timestamp="ts", schema={"ts": TIMESTAMP}, pii=("phone",))


def test_personal_columns_alter_no_value_so_no_fingerprint() -> None:
    plain = FeatureGroup.from_json(
        {**mailing([ADDRESS]).to_json(), "source": {**mailing([ADDRESS]).to_json()["source"], "pii": []}}
    )
    assert build_plan(plain).fingerprint == build_plan(mailing([ADDRESS])).fingerprint


def altered_feature(feature: Feature, **more: Any) -> Feature:
    return Feature.from_json({**feature.to_json(), **more})


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
