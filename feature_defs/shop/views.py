"""What the shop's models read."""

from feature_defs.shop.groups import (
    item_catalogue,
    item_reviews,
    item_sales,
    user_browsing,
    user_interactions,
    user_orders,
    user_profile,
)
from feature_store import INT, FeatureView, OnDemand

repurchase = FeatureView(
    "repurchase",
    version=1,
    groups=[user_orders, user_browsing, user_profile],
    owner="team:recommendations",
    description="Will this customer buy again within 30 days?",
)
ranking = FeatureView(
    "ranking",
    version=1,
    groups=[user_orders, user_browsing, user_profile, user_interactions, item_sales, item_reviews, item_catalogue],
    on_demand=[
        OnDemand(
            "user_time_since_last_purchase",
            "request_time - user_last_purchase_at",
            dtype=INT,
            description="Microseconds since the customer last bought something.",
        )
    ],
    owner="team:recommendations",
    description="How well does this item fit this customer, now?",
)
