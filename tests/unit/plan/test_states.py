"""Sources whose rows are states: logs of changes and series of copies."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from feature_store import INT, STRING, TIMESTAMP, BatchSource, Entity, Feature, FeatureGroup, agg
from feature_store.errors import DefinitionError, DefinitionErrors
from feature_store.plan.build import build_plan

SCHEMA = {"user_id": STRING, "tier": STRING, "op": STRING, "at": TIMESTAMP, "lsn": INT}
LOG = BatchSource(
    "users", table="cdc.users", event_timestamp="at", event_id="lsn", schema=SCHEMA,
    changes_of=["user_id"], deleted="op = 'D'",
)  # fmt: skip
COPIES = BatchSource("users", table="raw.users", event_timestamp="at", schema=SCHEMA, copies=True)


def tiers(read: BatchSource, **changes: Any) -> FeatureGroup:
    arguments: dict[str, Any] = {
        "entity": Entity("user", join_key="user_id"),
        "owner": "team:test",
        "sources": [read],
        "query": "SELECT user_id, tier AS user_tier FROM users",
        "features": [Feature("user_tier", dtype=STRING)],
    }
    return FeatureGroup("user_tiers", **(arguments | changes))


def change(user: str, tier: str | None, day: int, lsn: int, op: str = "U") -> dict[str, Any]:
    return {"user_id": user, "tier": tier, "op": op, "at": datetime(2026, 1, day, tzinfo=UTC), "lsn": lsn}


def test_a_query_sees_the_newest_state_of_what_is_not_deleted() -> None:
    rows = [
        change("ann", "free", 1, 1),
        change("ann", "paid", 3, 3),
        change("ann", "gold", 3, 2),  # at the same time, but before
        change("bob", "free", 1, 4),
        change("bob", None, 4, 5, "D"),
        change("cat", "free", 5, 6, "D"),
        change("cat", "paid", 6, 7),
    ]

    def seen(day: int) -> list[tuple[str, str]]:
        found = tiers(LOG).run(rows, as_of=datetime(2026, 1, day, tzinfo=UTC))
        return sorted((row["user_id"], row["user_tier"]) for row in found)

    assert seen(2) == [("ann", "free"), ("bob", "free")]
    assert seen(4) == [("ann", "paid"), ("bob", "free")]
    assert seen(5) == [("ann", "paid")]
    assert seen(7) == [("ann", "paid"), ("cat", "paid")]


def test_a_query_sees_the_newest_copy() -> None:
    rows = [change("ann", "free", 1, 0), change("bob", "free", 1, 0), change("ann", "paid", 2, 0)]
    assert len(tiers(COPIES).run(rows, as_of="2026-01-02")) == 2
    assert tiers(COPIES).run(rows, as_of="2026-01-03") == [{"user_id": "ann", "user_tier": "paid"}]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"event_id": None}, "needs event_id="),
        ({"copies": True}, "excludes copies="),
        ({"changes_of": ()}, "deleted= goes with changes_of="),
    ],
)
def test_what_does_not_go_together(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        replace(LOG, **changes)


@pytest.mark.parametrize(
    ("group", "code", "part"),
    [
        (tiers(LOG, query=None, sources=(), source=LOG,
               features=[Feature("user_n_7d", agg.count(), window="7d", dtype=INT)]), "states", "write query="),
        (tiers(COPIES, query=None, sources=(), source=COPIES,
               features=[Feature("user_n_7d", agg.count(), window="7d", dtype=INT)]), "states", "write query="),
        (tiers(replace(LOG, changes_of=("user",))), "unknown-column", "did you mean 'user_id'?"),
        (tiers(replace(LOG, deleted="opp = 'D'")), "unknown-column", "did you mean 'op'?"),
        (tiers(replace(LOG, deleted="op")), "expression-type", "compare it"),
    ],
)  # fmt: skip
def test_mistakes_are_told(group: FeatureGroup, code: str, part: str) -> None:
    with pytest.raises(DefinitionErrors) as caught:
        build_plan(group)
    (error,) = caught.value.errors
    assert error.code == code
    assert part in str(error)


def test_the_fingerprint_tells_states_from_events() -> None:
    fingerprints = {
        build_plan(tiers(source)).fingerprint
        for source in (LOG, replace(LOG, deleted=None), replace(LOG, changes_of=(), deleted=None),
                       replace(LOG, deleted="op = 'X'"), replace(LOG, deleted=None, changes_of=("user_id", "tier")))
    }  # fmt: skip
    assert len(fingerprints) == 5
    assert build_plan(tiers(replace(LOG, deleted="op='D'"))).fingerprint == build_plan(tiers(LOG)).fingerprint
