"""Expectations: how they are written, which checks they make, and great_expectations' verdict on a run's numbers."""

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
    Expectation,
    Feature,
    FeatureGroup,
    StreamSource,
    agg,
)
from feature_store.errors import DefinitionError, QualityError
from feature_store.offline.audit import Evidence
from feature_store.offline.profile import FeatureProfile, Profile
from feature_store.offline.sources import InputCounts
from feature_store.plan.build import build_plan
from feature_store.plan.nodes import GroupPlan
from feature_store.quality.expectations import checks, expectations, judge, refuse_failures

ORDERS = BatchSource(
    "orders",
    table="raw.orders",
    event_timestamp="ts",
    schema={"user_id": STRING, "status": STRING, "amount": FLOAT, "ts": TIMESTAMP},
)


COUNTED = {"user_id": STRING, "n": INT, "ts": TIMESTAMP}


def group(amount: Any = (), status: Any = (), **changes: Any) -> FeatureGroup:
    features = [
        Feature("user_amount_mean_7d", agg.mean("amount"), window="7d", dtype=FLOAT, expect=amount),
        Feature("user_status_last_7d", agg.last("status"), window="7d", dtype=STRING, expect=status),
    ]
    arguments: dict[str, Any] = {"entity": Entity("user", join_key="user_id"), "source": ORDERS, "owner": "team:shop"}
    return FeatureGroup("user_orders", features=features, **(arguments | changes))


def plan(*given: Any, **changes: Any) -> GroupPlan:
    return build_plan(group(*given, **changes))


AMOUNT = FeatureProfile("user_amount_mean_7d", nulls=2, null_rate=0.2, minimum=-1.0, maximum=50.0, mean=7.0)
STATUS = FeatureProfile("user_status_last_7d", nulls=0, null_rate=0.0, strays=(3, 0))
INPUT = InputCounts("orders", rows=20, null_timestamps=0, null_keys=0, non_finite=0, age=3600.0)
EVIDENCE = Evidence(Profile(10, 10, 0, (AMOUNT, STATUS)), (INPUT,), partitions=1.0, recent_rows=(20, 22, 90))


def broken(plan: GroupPlan, evidence: Evidence = EVIDENCE) -> list[str]:
    return [str(verdict) for verdict in judge(plan, evidence) if not verdict.passed]


def test_one_or_several_expectations_survive_json() -> None:
    one = group(amount={"max": 5}, expect_rows={"low": 0.9}, expect_source={"max_age": "2h", "blocking": False})
    several = group(amount=[Expectation(max=50), {"max": 5, "blocking": False}])
    assert one.to_json()["features"][0]["expect"] == {"max": 5}
    assert several.to_json()["features"][0]["expect"] == [{"max": 50}, {"max": 5, "blocking": False}]
    assert "expect" not in group().to_json()["features"][0]
    for each in (one, several, group()):
        assert FeatureGroup.from_json(each.to_json()) == each
        assert build_plan(each).fingerprint == plan().fingerprint


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({"amount": {"mx": 5}}, "Expectation: mx: Unexpected keyword argument"),
        ({"expect_rows": {"low": 2, "high": 1}}, "low=2 and high=1 are no band"),
        ({"expect_rows": {"recent": 2}}, "recent=2 partitions are too few"),
        ({"expect_source": {"max_age": "2 hours"}}, "'2 hours' is not a duration"),
    ],
)
def test_a_mistake_is_named(given: dict[str, Any], names: str) -> None:
    with pytest.raises(DefinitionError, match=names):
        group(**given)


@pytest.mark.parametrize(
    ("dtype", "values", "message"),
    [
        (FLOAT, [1], "values are of STRING, INT, BOOL or lists of them, the feature is FLOAT"),
        (STRING, ["a", 1], r"values=\['a', 1\] are not values of STRING"),
        (INT, [True], r"values=\[True\] are not values of INT"),
        (INT, [], r"values=\[\] are not values of INT"),
    ],
)
def test_a_set_fits_the_type(dtype: Any, values: list[Any], message: str) -> None:
    aggregated = agg.max("amount") if dtype == FLOAT else agg.last("status") if dtype == STRING else agg.count()
    feature = Feature("user_x_7d", aggregated, window="7d", dtype=dtype, expect={"values": values})
    with pytest.raises(DefinitionError, match=message):
        build_plan(replace(group(), features=(feature,)))


def test_a_list_may_have_a_set_of_items() -> None:
    feature = Feature("user_s_7d", agg.top_k("status", k=2), window="7d", dtype=LIST(STRING), expect={"values": ["a"]})
    assert checks(build_plan(replace(group(), features=(feature,)))) == {"unique_key": True, "set": True}


def test_a_kind_of_check_blocks_if_one_of_its_expectations_does() -> None:
    several = [{"max": 100}, {"max": 40, "null_rate": 0.5, "blocking": False}]
    assert checks(
        plan(several, {"values": ["a"]}, expect_rows={"blocking": False}, expect_source={"max_age": "1d"})
    ) == {
        "unique_key": True,
        "range": True,
        "null_rate": False,
        "set": True,
        "row_count": False,
        "source_freshness": True,
    }


def test_every_number_is_judged() -> None:
    found = broken(plan({"min": 0, "max": 40, "null_rate": 0.1}, [{"values": ["a"]}, {"values": ["a", "b"]}]))
    assert found == [
        "user_amount_mean_7d null_rate: expected x <= 0.1, found 0.2",
        "user_amount_mean_7d minimum: expected 0 <= x, found -1.0",
        "user_amount_mean_7d maximum: expected x <= 40, found 50.0",
        "user_status_last_7d unexpected values: expected x <= 0, found 3.0",
    ]
    assert broken(plan({"min": -1, "max": 50, "null_rate": 0.2})) == []
    repeated = replace(EVIDENCE, profile=replace(EVIDENCE.profile, duplicates=1))
    assert broken(plan(), repeated) == ["duplicates: expected 0 <= x <= 0, found 1.0"]


def test_a_partition_is_compared_with_the_median_of_those_before_it() -> None:
    banded = plan(expect_rows={"low": 0.5, "high": 2})
    assert broken(banded) == [
        "rows, as a share of recent partitions': expected 0.5 <= x <= 2, found 0.45454545454545453"
    ]
    assert broken(banded, replace(EVIDENCE, recent_rows=(20, 20, 90))) == []
    assert broken(banded, replace(EVIDENCE, recent_rows=(90, 90))) == []  # too few to tell
    assert len(broken(banded, replace(EVIDENCE, partitions=3.0, recent_rows=(20, 20, 90)))) == 1


@pytest.mark.parametrize(("age", "holds"), [(0.0, True), (3600.0, True), (3600.1, False), (None, False)])
def test_a_source_must_be_fresh(age: float | None, holds: bool) -> None:
    evidence = replace(EVIDENCE, inputs=(replace(INPUT, age=age),))
    found = broken(plan(expect_source={"max_age": "1h"}), evidence)
    assert found == ([] if holds else [f"orders age (s): expected x <= 3600, found {age or 'no value'}"])


@pytest.mark.parametrize(
    ("changes", "share"),
    [
        ({}, 0),
        ({"max_overflow": 0.5}, 0.5),
        ({"source": StreamSource("clicks", topic="clicks", event_timestamp="ts", schema=COUNTED)}, 0.01),
    ],
)
def test_what_may_overflow_is_judged_by_the_share_of_the_group(changes: dict[str, Any], share: float) -> None:
    """Sums of INTs, derived features and the events' own expressions; nothing of groups that have none of them."""
    total = Feature("user_n_sum_1d", agg.sum("twice"), window="1d", dtype=INT)
    source = BatchSource("orders", table="raw.orders", event_timestamp="ts", schema=COUNTED)
    given = {"source": source, "columns": {"twice": "n * 2"}, "derived": {"user_n_more": "user_n_sum_1d + 1"}} | changes
    judged = build_plan(replace(group(), features=(total,), **given))
    assert FeatureGroup.from_json(judged.group.to_json()) == judged.group
    found = [(e.subject, e.high, e.blocking) for e in expectations(judged) if e.check == "overflow"]
    source_name = judged.sources[0].name
    assert found == [("user_n_sum_1d", share, True), ("user_n_more", share, True), (source_name, share, True)]
    assert "overflow" not in checks(plan())


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_share_is_between_none_and_all(share: float) -> None:
    with pytest.raises(DefinitionError, match="max_overflow"):
        group(max_overflow=share)


def test_a_warning_is_a_verdict_that_refuses_nothing() -> None:
    warned = plan([{"max": 100}, {"max": 40, "blocking": False}])
    verdicts = judge(warned, EVIDENCE)
    assert [verdict.passed for verdict in verdicts] == [True, True, False]
    refuse_failures(warned, verdicts)
    stopped = plan([{"max": 40}, {"max": 30, "blocking": False}])
    with pytest.raises(QualityError, match="expected x <= 40, found 50") as caught:
        refuse_failures(stopped, judge(stopped, EVIDENCE))
    assert "x <= 30" not in str(caught.value)
