"""A small view with on-demand features, whose parts tests replace."""

from __future__ import annotations

from typing import Any

from feature_store import FLOAT, INT, STRING, TIMESTAMP, BatchSource, Entity, Feature, FeatureGroup, FeatureView, agg
from feature_store.dsl.on_demand import OnDemand

USER = Entity("user", join_key="user_id")
ORDERS = BatchSource(
    "orders",
    table="raw.orders",
    event_timestamp="ts",
    schema={"user_id": STRING, "ts": TIMESTAMP, "amount": FLOAT, "category": STRING},
)
USER_ORDERS = FeatureGroup(
    "user_orders",
    entity=USER,
    source=ORDERS,
    owner="team:test",
    features=[
        Feature("user_order_count_30d", agg.count(), window="30d", dtype=INT, default=0),
        Feature("user_value_mean_30d", agg.mean("amount"), window="30d", dtype=FLOAT),
        Feature("user_last_at_all_time", agg.max("ts"), window="all_time", dtype=TIMESTAMP),
        Feature("user_categories_30d", agg.top_k("category", 3), window="30d", dtype="LIST(STRING)"),
    ],
)
PRICE = OnDemand("price_ratio", "price / user_value_mean_30d", dtype=FLOAT, default=1.0)
SINCE = OnDemand("user_time_since_last", "request_time - user_last_at_all_time", dtype=INT)
HOME = OnDemand("is_home", "country = 'DE' AND user_order_count_30d > 0", dtype="BOOL")


def view(*on_demand: OnDemand, **changes: Any) -> FeatureView:
    """A view of these on-demand features, with the request values price, country and at unless given."""
    given = {"request": {"price": FLOAT, "country": STRING}, "groups": [USER_ORDERS], "owner": "team:test", **changes}
    return FeatureView("ranking", on_demand=on_demand, **given)
