"""Features that are computed twice: told with who computes them already, and never told of two that differ."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_store import FLOAT, INT, STRING, TIMESTAMP, BatchSource, Entity, Feature, FeatureGroup, agg, session
from feature_store.compile.reference import run_reference
from feature_store.compile.reference_events import Row
from feature_store.compile.span import Span
from feature_store.dtypes import from_micros
from feature_store.duration import DAY
from feature_store.plan.build import build_plan
from feature_store.plan.duplicates import duplicates_of
from feature_store.plan.fingerprint import feature_fingerprints
from tests.integration.engine_cases import START
from tests.integration.engine_cases import USER as ANY_USER
from tests.integration.engine_cases import groups as random_groups

USER = Entity("user", join_key="user_id")
SCHEMA = {"user_id": STRING, "amount": FLOAT, "fee": FLOAT, "n": INT, "status": STRING, "ts": TIMESTAMP}
ORDERS = BatchSource("orders", table="raw.orders", event_timestamp="ts", schema=SCHEMA)


def feature(name: str, function: Any = None, window: Any = "30d", dtype: Any = INT, **more: Any) -> Feature:
    return Feature(name, function or agg.count(), window=window, dtype=dtype, rename_ok="short", **more)


def group(name: str, *features: Feature, **more: Any) -> FeatureGroup:
    arguments: dict[str, Any] = {"entity": USER, "source": ORDERS, "owner": f"team:{name}", "features": features}
    return FeatureGroup(name, **(arguments | more))


def notes(*groups: FeatureGroup) -> list[str]:
    return [str(duplicate) for duplicate in duplicates_of([build_plan(one) for one in groups])]


def test_who_computes_it_already_is_named() -> None:
    basket = group("user_basket", feature("user_basket_count_30d"), owner="team:x")
    orders = group(
        "user_orders", feature("user_order_count_30d"), feature("user_order_count_7d", window="7d"), version=2
    )
    expected = [
        "user_orders@2/user_order_count_30d computes what user_basket@1/user_basket_count_30d (team:x) already computes"
    ]
    assert notes(basket, orders) == notes(orders, basket) == expected


SPENT = feature("user_a", agg.sum("net"), dtype=FLOAT, where="status = 'a' AND n > 1")


@pytest.mark.parametrize(
    "other",
    [
        group("two", feature("user_b", agg.sum("x"), dtype=FLOAT, where="n > 1 and status='a'"),
              columns={"x": "amount-fee"}),
        group("two", replace(SPENT, default=0.0, description="another"),
              columns={"net": "amount - fee", "idle": "n + 1"}, ttl="31d", availability_delay="2h", freshness="30h"),
        group("two", replace(SPENT, where="('a' = status) and (n > 1)"), columns={"net": "(amount - fee)"}),
        group("two", SPENT, columns={"net": "amount - fee"}, slide="24h", refresh="daily",
              source=BatchSource("copy", table="raw.orders", event_timestamp="ts", schema=SCHEMA | {"more": INT})),
    ],
)  # fmt: skip
def test_the_same_computation_in_other_words(other: FeatureGroup) -> None:
    assert len(notes(group("one", SPENT, columns={"net": "amount - fee"}), other)) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"entity": Entity("user", join_key="status")},
        {"source": BatchSource("orders", table="raw.others", event_timestamp="ts", schema=SCHEMA)},
        {"source": BatchSource("orders", table="raw.orders", event_timestamp="ts", schema=SCHEMA, event_id="n")},
        {"slide": "1h"},
        {"emit": "snapshot"},
        {"where": "n > 1"},
        {"columns": {"net": "fee - amount"}},
        {"columns": {"net": "amount - fee * 1"}},
        {"features": [replace(SPENT, where="status = 'a' AND n > 2")]},
        {"features": [replace(SPENT, where="status = 'a' OR n > 1")]},
        {"features": [replace(SPENT, where=None)]},
        {"features": [replace(SPENT, window=session("30d"))]},
        {"features": [replace(SPENT, window="29d")]},
        {"features": [replace(SPENT, agg=agg.mean("net"))]},
        {"features": [replace(SPENT, agg=agg.sum("amount"))]},
    ],
)  # fmt: skip
def test_another_computation(other: dict[str, Any]) -> None:
    base: dict[str, Any] = {"columns": {"net": "amount - fee"}, "features": [SPENT]}
    assert notes(group("one", **base), group("two", **(base | other))) == []


def test_derived_and_queried_features_are_compared_too() -> None:
    half, other = {"user_half": "user_a / 2"}, {"user_part": "user_b / 2"}
    found = notes(group("one", feature("user_a"), derived=half), group("two", feature("user_b"), derived=other))
    assert found[1] == "two@1/user_part computes what one@1/user_half (team:one) already computes"
    assert len(notes(group("one", feature("user_a"), derived=half), group("two", derived=other,
                     features=[feature("user_b", window="7d")]))) == 0  # fmt: skip
    query = {
        "source": None,
        "sources": [ORDERS],
        "query": "SELECT user_id, max(n) AS user_x FROM orders GROUP BY user_id",
    }
    queried = Feature("user_x", dtype=INT)
    assert len(notes(group("one", queried, **query), group("two", queried, **query))) == 1
    assert notes(group("one", queried, **query), group("two", queried, **query, slide="12h")) == []


def test_versions_of_one_group_are_meant_to_compute_the_same() -> None:
    versions = [group("one", feature("user_a"), version=version) for version in (1, 2, 3)]
    assert notes(*versions) == []
    assert notes(*versions, group("two", feature("user_b"))) == [
        "two@1/user_b computes what one@3/user_a (team:one) already computes"
    ]
    assert notes(group("one", feature("user_a"), feature("user_b"))) == [
        "one@1/user_b computes what one@1/user_a (team:one) already computes"
    ]


_EVENTS = st.lists(
    st.fixed_dictionaries(
        {
            "user_id": st.sampled_from(["u", "v"]),
            "ts": st.integers(START - 4 * DAY, START + DAY).map(from_micros),
            "amount": st.sampled_from([None, 1.5, -2.0, 3.0]),
            "n": st.sampled_from([None, 0, 1, 3]),
            "word": st.sampled_from([None, "a", "b"]),
            "ok": st.sampled_from([None, True, False]),
            "id": st.sampled_from([None, 1, 2]),
        }
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(random_groups(), random_groups(), _EVENTS)
def test_equal_fingerprints_mean_equal_values(one: FeatureGroup, other: FeatureGroup, events: list[Row]) -> None:
    span = Span(START - DAY, START + DAY)
    values: dict[str, list[dict[Any, Any]]] = {}
    for plan in map(build_plan, (one, other)):
        rows = run_reference(plan, {"events": events}, span)
        for name, fingerprint in feature_fingerprints(plan).items():
            at = {(row[ANY_USER.join_key], row["feature_timestamp"]): row[name] for row in rows}
            values.setdefault(fingerprint, []).append(at)
    for first, *others in values.values():
        for same in others:
            assert {place: first[place] for place in first.keys() & same} == {
                place: same[place] for place in first.keys() & same
            }


def test_ten_thousand_features() -> None:
    plan = build_plan(group("one", *[feature(f"user_x{i}", window=f"{i + 1}d", where=f"n > {i}") for i in range(20)]))
    plans = [replace(plan, group=replace(plan.group, name=f"user_g{i:03}")) for i in range(500)]
    assert len(duplicates_of(plans)) == 20 * 499
