"""Which groups are computed from the same tiles."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from feature_store import FLOAT, INT, STRING, TIMESTAMP, BatchSource, Entity, Feature, FeatureGroup, StreamSource, agg
from feature_store.plan.build import build_plan
from feature_store.plan.sharing import computed_for, sharing_groups

SCHEMA = {"user_id": STRING, "item_id": STRING, "amount": FLOAT, "n": INT, "ts": TIMESTAMP}
ORDERS = BatchSource("orders", table="raw.orders", event_timestamp="ts", schema=SCHEMA)
CLICKS = StreamSource("clicks", topic="clicks", event_timestamp="ts", schema=SCHEMA)


def group(name: str, **changes: Any) -> FeatureGroup:
    feature = Feature(f"{name}_n_30d", agg.count(), window="30d", dtype=INT, rename_ok="short")
    given: dict[str, Any] = {
        "entity": Entity("user", join_key="user_id"),
        "source": ORDERS,
        "owner": "team:x",
        "features": [feature],
    }
    return FeatureGroup(name, **(given | changes))


def sets(*groups: FeatureGroup) -> list[list[str]]:
    return [[plan.group.id for plan in plans] for plans in sharing_groups(build_plan(one) for one in groups)]


def test_groups_over_the_same_rows_share_whatever_they_aggregate() -> None:
    total = Feature("b_total_7d", agg.sum("amount"), window="7d", dtype=FLOAT, where="n > 1", rename_ok="short")
    a, b = group("a"), group("b", features=[total], emit="snapshot", owner="team:y", buckets=1)
    assert sets(b, a) == [["a@1", "b@1"]]
    assert sets(group("a", version=2), a, b) == [["a@1", "a@2", "b@1"]]
    assert sets(a) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"where": "n > 1"},
        {"source": replace(ORDERS, table="raw.other")},
        {"source": replace(ORDERS, event_id="n")},
        {"entity": Entity("item", join_key="item_id")},
        {"entity": Entity("user", join_key=("user_id", "item_id"))},
        {"slide": "1h"},
        {"refresh": "hourly"},
        {"start": "2025-01-01"},
        {"source": CLICKS},
    ],
)
def test_what_makes_other_tiles_or_other_runs_is_not_shared(changes: dict[str, Any]) -> None:
    assert sets(group("a"), group("b", **changes)) == []


def test_columns_of_one_name_that_differ_are_not_mixed() -> None:
    a, b = group("a", columns={"net": "amount - 1"}), group("b", columns={"net": "amount - 2"})
    c, d = group("c", columns={"net": "amount - 2", "gross": "amount * 2"}), group("d", columns={"gross": "amount * 2"})
    assert sets(a, b, c, d) == [["a@1", "d@1"], ["b@1", "c@1"]]
    names = [name for name, _ in computed_for(build_plan(one) for one in (b, c))]
    assert names == ["net", "gross"]


def test_queries_have_no_tiles() -> None:
    query = {"source": None, "sources": [ORDERS], "query": "SELECT user_id, 1 AS a_n FROM orders"}
    feature = Feature("a_n", dtype=INT, rename_ok="short")
    assert sets(group("a", features=[feature], **query), group("b", features=[feature], **query)) == []
