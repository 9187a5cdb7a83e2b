"""Groups as Python code: loaded, it declares the very group it was printed from."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from feature_store import STRING, TIMESTAMP, BatchSource, Entity, Feature, FeatureGroup, agg
from feature_store.dsl.collect import declarations, load_project
from feature_store.dsl.python_code import Declared, python_code
from feature_store.plan.build import build_plan
from tests.unit.dsl import definition_cases as cases


def loaded(text: str) -> list[FeatureGroup]:
    names: dict[str, Any] = {}
    exec(compile(text, "printed.py", "exec"), names)
    return [value for value in names.values() if isinstance(value, FeatureGroup)]


@settings(max_examples=75, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(cases.groups())
def test_what_is_printed_declares_the_same_group(group: FeatureGroup) -> None:
    (copy,) = loaded(python_code(group, {}))
    assert copy.to_json() == group.to_json()
    assert copy == group


@pytest.mark.parametrize("declared", [{}, declarations("feature_defs")], ids=["by itself", "beside the code"])
def test_the_groups_of_the_shop_are_printed_with_the_same_plan(declared: Declared) -> None:
    for group in load_project("feature_defs").groups:
        text = python_code(group, declared)
        (copy,) = loaded(text)
        assert copy == group
        assert list(copy.to_json()["features"]) == list(group.to_json()["features"])
        assert build_plan(copy).fingerprint == build_plan(group).fingerprint
        assert ("from feature_defs.shop.entities import" in text) == bool(declared)


def test_it_reads_as_somebody_would_write_it() -> None:
    user = Entity("user", join_key="user_id")
    log = BatchSource("class", table="raw.log", event_timestamp="ts", schema={"user_id": STRING, "ts": TIMESTAMP})
    last = Feature("user_last_ts_7d", agg.last("ts"), window="7d", dtype=TIMESTAMP, description='the "last"')
    group = FeatureGroup("user", entity=user, source=log, owner="team:shop", features=[last], where="true\nAND true")
    assert (
        python_code(group, {})
        == '''\
from feature_store import STRING, TIMESTAMP, BatchSource, Entity, Feature, FeatureGroup, agg

user = Entity("user", join_key="user_id")

class_ = BatchSource("class", event_timestamp="ts", schema={"user_id": STRING, "ts": TIMESTAMP}, table="raw.log")

user_ = FeatureGroup(
    "user",
    entity=user,
    source=class_,
    owner="team:shop",
    where="""true
AND true""",
    features=[Feature("user_last_ts_7d", agg.last("ts"), dtype=TIMESTAMP, window="7d", description="the \\"last\\"")],
)
'''
    )
