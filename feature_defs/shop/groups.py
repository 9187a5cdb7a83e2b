"""The shop's feature groups: customers daily, items hourly."""

from feature_defs.shop.entities import item, user
from feature_defs.shop.sources import browsing, order_events, products, reviews, users
from feature_store import FLOAT, INT, LIST, STRING, Feature, FeatureGroup, agg

START = "2026-01-01"

user_orders = FeatureGroup(
    "user_orders",
    version=1,
    entity=user,
    source=order_events,
    owner="team:recommendations",
    description="What a customer bought and sent back.",
    refresh="daily",
    freshness="26h",
    start=START,
    buckets=2,
    features=[
        Feature(
            "user_order_count_all_time",
            agg.count(),
            where="status = 'completed'",
            window="all_time",
            dtype=INT,
            default=0,
            description="Total purchases.",
            expect={"min": 0, "null_rate": 0.0},
        ),
        Feature(
            "user_return_count_all_time",
            agg.count(),
            where="status = 'returned'",
            window="all_time",
            dtype=INT,
            default=0,
            description="Purchases sent back.",
            expect={"min": 0},
        ),
        Feature(
            "user_order_value_mean_90d",
            agg.mean("amount"),
            where="status = 'completed'",
            window="90d",
            dtype=FLOAT,
            description="Mean value of a purchase in the last 90 days.",
            expect={"min": 0, "max": 10_000},
        ),
    ],
    derived={"user_return_rate_all_time": "user_return_count_all_time / nullif(user_order_count_all_time, 0)"},
)

user_browsing = FeatureGroup(
    "user_browsing",
    version=1,
    entity=user,
    source=browsing,
    owner="team:recommendations",
    description="What a customer looks at.",
    refresh="daily",
    freshness="26h",
    start=START,
    buckets=2,
    features=[
        Feature(
            "user_preferred_categories_top3_90d",
            agg.top_k("category", k=3, by="seconds"),
            window="90d",
            dtype=LIST(STRING),
            description="The three categories with most time spent in the last 90 days.",
        ),
        Feature(
            "user_browsing_seconds_sum_90d",
            agg.sum("seconds"),
            window="90d",
            dtype=INT,
            default=0,
            expect={"min": 0},
        ),
    ],
)

user_profile = FeatureGroup(
    "user_profile",
    version=1,
    entity=user,
    sources=[users],
    query="""
        SELECT user_id, CAST(floor((unix_seconds(as_of) - unix_seconds(signed_up_at)) / 86400) AS BIGINT)
            AS user_account_age_days
        FROM users
    """,
    owner="team:recommendations",
    description="How long a customer has had an account. It reads the clock, so every customer gets a row every day.",
    refresh="daily",
    ttl="3d",
    freshness="26h",
    start=START,
    buckets=2,
    features=[Feature("user_account_age_days", dtype=INT, description="Whole days since sign-up.", expect={"min": 0})],
)

item_sales = FeatureGroup(
    "item_sales",
    version=1,
    entity=item,
    source=order_events,
    where="status = 'completed'",
    owner="team:catalogue",
    description="How an item sells.",
    refresh="hourly",
    start=START,
    buckets=1,
    features=[
        Feature(
            "item_purchase_count_7d",
            agg.count(),
            window="7d",
            dtype=INT,
            default=0,
            expect={"min": 0, "null_rate": 0.0},
        ),
    ],
)

item_reviews = FeatureGroup(
    "item_reviews",
    version=1,
    entity=item,
    source=reviews,
    owner="team:catalogue",
    description="What customers say about an item.",
    refresh="hourly",
    start=START,
    buckets=1,
    features=[
        Feature(
            "item_rating_mean_all_time",
            agg.mean("rating"),
            window="all_time",
            dtype=FLOAT,
            description="Mean stars.",
            expect={"min": 1, "max": 5},
        ),
        Feature("item_review_count_all_time", agg.count(), window="all_time", dtype=INT, default=0, expect={"min": 1}),
    ],
)

item_catalogue = FeatureGroup(
    "item_catalogue",
    version=1,
    entity=item,
    sources=[products],
    query="""
        SELECT
            product_id,
            percent_rank() OVER (PARTITION BY category ORDER BY price) AS item_price_percentile,
            CAST(floor((unix_seconds(as_of) - unix_seconds(listed_at)) / 86400) AS BIGINT) AS item_listed_days
        FROM products
    """,
    owner="team:catalogue",
    description="An item's place in the catalogue: among the prices of its category, and in time.",
    refresh="hourly",
    ttl="2d",
    start=START,
    buckets=1,
    features=[
        Feature(
            "item_price_percentile",
            dtype=FLOAT,
            description="Share of the category's other items that are cheaper.",
            expect={"min": 0, "max": 1, "null_rate": 0.0},
        ),
        Feature("item_listed_days", dtype=INT, description="Whole days since the item was listed.", expect={"min": 0}),
    ],
)
