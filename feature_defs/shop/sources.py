"""Where the shop's data are: two tables of its database, an Iceberg table, two folders of Parquet files, a topic."""

from feature_store import FLOAT, INT, STRING, TIMESTAMP, BatchSource, StreamSource

users = BatchSource(
    "users",
    jdbc="shop.public.users",
    event_timestamp="signed_up_at",
    schema={"user_id": STRING, "signed_up_at": TIMESTAMP, "country": STRING},
    description="Accounts.",
)
products = BatchSource(
    "products",
    jdbc="shop.public.products",
    event_timestamp="listed_at",
    schema={"product_id": STRING, "category": STRING, "price": FLOAT, "listed_at": TIMESTAMP},
    description="The catalogue; a product is known from the moment it is listed.",
)
order_events = BatchSource(
    "order_events",
    table="raw.order_events",
    event_timestamp="event_ts",
    schema={
        "order_id": STRING,
        "user_id": STRING,
        "product_id": STRING,
        "status": STRING,
        "amount": FLOAT,
        "quantity": INT,
        "event_ts": TIMESTAMP,
    },
    description="Purchases (status completed) and later returns (status returned).",
)
browsing = BatchSource(
    "browsing",
    path="raw/browsing",
    event_timestamp="event_ts",
    schema={"user_id": STRING, "category": STRING, "seconds": INT, "event_ts": TIMESTAMP},
    description="Time spent on product pages.",
)
reviews = BatchSource(
    "reviews",
    path="raw/reviews",
    event_timestamp="event_ts",
    schema={"review_id": STRING, "product_id": STRING, "rating": INT, "event_ts": TIMESTAMP},
    event_id="review_id",
    description="Ratings of one to five stars.",
)
interactions = StreamSource(
    "interactions",
    topic="shop.interactions",
    event_timestamp="event_ts",
    time_format="ms",
    schema={
        "event_id": STRING,
        "user_id": STRING,
        "event_type": STRING,
        "product_id": STRING,
        "category": STRING,
        "quantity": INT,
        "query": STRING,
        "event_ts": TIMESTAMP,
    },
    event_id="event_id",
    description="What customers do in the shop as they do it: click, search, cart_add, cart_remove, purchase.",
)
