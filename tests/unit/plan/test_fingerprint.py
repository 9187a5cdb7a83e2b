"""Fingerprints follow what is computed: not the order of features, the layout of SQL, or how a duration is written."""

from __future__ import annotations

import random
from typing import Any

import sqlglot
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_store.dsl.group import FeatureGroup
from feature_store.plan.build import build_plan
from tests.integration.engine_cases import groups, streaming_groups

RANDOM = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def respelt(text: str, how: random.Random) -> str:
    """The same SQL with other blanks, cases of keywords and parentheses."""
    if how.random() < 0.5:
        text = sqlglot.parse_one(text, read="duckdb").sql(dialect="duckdb", pretty=True)
    text = f"({text})" if how.random() < 0.5 else text
    return f"\n  {text} -- a comment\n"


def shuffled(value: dict[str, Any], how: random.Random) -> dict[str, Any]:
    names = list(value)
    how.shuffle(names)
    return {name: value[name] for name in names}


def rewritten(group: FeatureGroup, how: random.Random) -> FeatureGroup:
    """The group written by somebody else."""
    data = shuffled(group.to_json(), how)
    how.shuffle(data["features"])
    for part in (data, *data["features"]):
        if "where" in part:
            part["where"] = respelt(part["where"], how)
    for name in ("columns", "derived"):
        if name in data:
            data[name] = shuffled({n: respelt(text, how) for n, text in data[name].items()}, how)
    if not data["source"].get("event_id"):  # simultaneous copies are compared in the order of the columns
        data["source"]["schema"] = shuffled(data["source"]["schema"], how)
    data |= {"description": "another", "owner": "team:other", "tags": {"a": "b"}, "freshness": "48h", "ttl": None}
    if group.slide == "1d":
        data["slide"] = "24h"
    return FeatureGroup.from_json(data)


@RANDOM
@given(groups() | streaming_groups(), st.randoms(use_true_random=False))
def test_fingerprints_do_not_depend_on_order_and_layout(group: FeatureGroup, how: random.Random) -> None:
    one, other = build_plan(group), build_plan(rewritten(group, how))
    assert other.fingerprint == one.fingerprint
    assert other.state_fingerprint == one.state_fingerprint


@RANDOM
@given(groups(), groups())
def test_different_computations_have_different_fingerprints(one: FeatureGroup, other: FeatureGroup) -> None:
    def computed(group: FeatureGroup) -> Any:
        data = group.to_json() | {"emit": group.emits}
        return data | {"features": sorted(data["features"], key=lambda feature: str(feature["name"]))}

    assert (build_plan(one).fingerprint == build_plan(other).fingerprint) == (computed(one) == computed(other))
