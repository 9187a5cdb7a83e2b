"""What the shop's models read."""

from feature_defs.shop.groups import item_catalogue, item_reviews, item_sales, user_browsing, user_orders, user_profile
from feature_store import FeatureView

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
    groups=[user_orders, user_browsing, user_profile, item_sales, item_reviews, item_catalogue],
    owner="team:recommendations",
    description="How well does this item fit this customer?",
)
