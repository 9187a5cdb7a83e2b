"""The shop's feature groups: customers daily, items hourly, interactions as they happen."""

from feature_defs.shop.entities import item, user
from feature_defs.shop.sources import browsing, interactions, order_events, products, reviews, users
from feature_store import FLOAT, INT, LIST, STRING, TIMESTAMP, Feature, FeatureGroup, agg, session

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
    buckets=1,
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
    buckets=1,
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
    buckets=1,
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

NAMED_BY_MODELS = "the name that the shop's models have always used"

user_interactions = FeatureGroup(
    "user_interactions",
    version=1,
    entity=user,
    source=interactions,
    owner="team:recommendations",
    description="What a customer is doing right now.",
    slide="1s",
    commit_interval="10s",  # so that the demo need not wait for its rows; five minutes are enough elsewhere
    freshness="30s",
    start="2026-01-01",
    buckets=1,
    columns={
        "cart_step": "case when event_type = 'cart_add' then quantity "
        "when event_type = 'cart_remove' then -quantity end",
        "query_code": "hash_bucket(lower(trim(query)), 10000)",
    },
    features=[
        Feature(
            "user_clicks_last_30min",
            agg.count(),
            where="event_type = 'click'",
            window="30m",
            dtype=INT,
            default=0,
            description="Clicks in the last half hour.",
            expect={"min": 0, "null_rate": 0.0},
            rename_ok=NAMED_BY_MODELS,
        ),
        Feature(
            "user_cart_items_current",
            agg.sum("cart_step"),
            window="all_time",
            dtype=INT,
            default=0,
            description="Items in the cart: a running total of what was put in and taken out.",
            rename_ok=NAMED_BY_MODELS,
        ),
        Feature(
            "user_last_category_viewed",
            agg.last("category"),
            where="event_type = 'click'",
            window="all_time",
            dtype=STRING,
            description="Category of the product that was last clicked.",
            rename_ok=NAMED_BY_MODELS,
        ),
        Feature(
            "user_search_queries_last_hour",
            agg.last_n("query_code", 5),
            where="event_type = 'search'",
            window="1h",
            dtype=LIST(INT),
            description="The last five searches of an hour, the newest first, each as one of 10,000 codes.",
            rename_ok=NAMED_BY_MODELS,
        ),
        Feature(
            "user_last_purchase_at",
            agg.last("event_ts"),
            where="event_type = 'purchase'",
            window="all_time",
            dtype=TIMESTAMP,
            description="When the customer last bought something.",
            rename_ok=NAMED_BY_MODELS,
        ),
        Feature(
            "user_event_count_session",
            agg.count(),
            window=session("30m"),
            dtype=INT,
            default=0,
            description="Events since the last pause of half an hour.",
            rename_ok=NAMED_BY_MODELS,
        ),
    ],
)
