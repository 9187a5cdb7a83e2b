"""What clients read in their tests, and who they are."""

from __future__ import annotations

from dataclasses import dataclass

from feature_store import (
    INT,
    STRING,
    TIMESTAMP,
    AsyncFeatureStoreClient,
    BatchSource,
    Feature,
    FeatureGroup,
    FeatureStoreClient,
    FeatureView,
    OnDemand,
    agg,
)
from tests.conftest import PATIENCE_SECONDS
from tests.integration.serving.shop import ITEMS, USER, USERS

PATIENT = PATIENCE_SECONDS
"""Seconds that a call may take where the deadline is not what is tested."""
LOADS = FeatureGroup(
    "user_loads",
    entity=USER,
    source=BatchSource("loads", table="raw.loads", event_timestamp="ts", schema={"user_id": STRING, "ts": TIMESTAMP}),
    owner="team:shop",
    features=[Feature("user_load_count_7d", agg.count(), window="7d", dtype=INT)],
    derived={"user_load_square_7d": "user_load_count_7d * user_load_count_7d"},
)
"""The square does not fit 64 bits."""
TOTALS = FeatureView(
    "totals",
    groups=[LOADS, USERS.keyed_by("buyer_id", prefix="buyer_"), ITEMS],
    request={"more": INT},
    on_demand=[
        OnDemand("sum", "buyer_user_count + more", dtype=INT, default=0),
        OnDemand("known_as", "buyer_user_name", dtype=STRING),
        OnDemand("last_at", "buyer_user_at", dtype=TIMESTAMP),
    ],
    owner="team:ranking",
)


@dataclass(frozen=True)
class Callers:
    """The clients of two callers: one sees everything, from the other personal data are hidden.

    Attributes:
        hidden: the columns that the second one must not see.
    """

    threads: dict[str, FeatureStoreClient]
    events: dict[str, AsyncFeatureStoreClient]
    hidden: frozenset[str] = frozenset({"user_name", "buyer_user_name", "known_as"})
