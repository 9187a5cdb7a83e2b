"""What the tests of the registry share: a small shop, and a look into its tables."""

from __future__ import annotations

from typing import Any

from sqlalchemy import text

from feature_store import FLOAT, INT, STRING, BatchSource, Entity, Feature, FeatureGroup, FeatureView, agg
from feature_store.dsl.collect import Project
from feature_store.plan.project import CompiledProject, compile_project
from feature_store.registry.records import AppliedPlan
from feature_store.registry.store import Registry
from feature_store.registry.tables import Base

OWN_DATABASE = "registry_of_registry_tests"
USER = Entity("user", join_key="user_id", dtype=STRING)
ITEM = Entity("item", join_key="item_id", dtype=INT)
ORDERS = BatchSource(
    "orders",
    table="raw.orders",
    event_timestamp="order_ts",
    schema={"user_id": "STRING", "item_id": "INT", "amount": "FLOAT", "order_ts": "TIMESTAMP"},
)


def orders_group(name: str = "user_orders", **changes: Any) -> FeatureGroup:
    given: dict[str, Any] = {
        "entity": USER,
        "source": ORDERS,
        "owner": "team:shop",
        "description": "What a user bought.",
        "features": [
            Feature("user_order_count_30d", agg.count(), window="30d", dtype=INT, default=0, description="Orders."),
            Feature("user_order_value_mean_90d", agg.mean("amount"), window="90d", dtype=FLOAT, default=1e30),
        ],
        # their order is the order of columns, and not that of the alphabet or of their length
        "derived": {"user_zebra": "user_order_count_30d * 2", "user_ape_long_name": "user_order_count_30d * 3"},
    }
    return FeatureGroup(name, **{**given, **changes})


def project(*groups: FeatureGroup, views: tuple[FeatureView, ...] = ()) -> CompiledProject:
    return compile_project(Project(groups, views, {}))


def shop(**changes: Any) -> CompiledProject:
    """Two groups and a view of both; the changes are of user_orders."""
    orders = orders_group(**changes)
    sales = FeatureGroup(
        "item_sales",
        entity=ITEM,
        source=ORDERS,
        owner="team:shop",
        features=(Feature("item_sale_count_7d", agg.count(), window="7d", dtype=INT, default=0),),
    )
    return project(orders, sales, views=(FeatureView("ranking", groups=(orders, sales), owner="team:ranking"),))


def applied(registry: Registry, definitions: CompiledProject, by: str = "ann") -> AppliedPlan | None:
    return registry.apply(registry.plan(definitions), by)


def rows(registry: Registry, table: str) -> int:
    with registry.engine.connect() as connection:
        return int(connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())


def written(registry: Registry) -> dict[str, int]:
    """How many rows each table holds."""
    return {table: rows(registry, table) for table in Base.metadata.tables}


def run(registry: Registry, statement: str) -> None:
    with registry.engine.begin() as connection:
        connection.execute(text(statement))
