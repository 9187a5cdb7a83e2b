"""A small project whose definitions can be altered field by field, as their authors would."""

from __future__ import annotations

from typing import Any

from feature_store.dsl.collect import Project
from feature_store.dsl.group import FeatureGroup
from feature_store.dsl.view import FeatureView
from feature_store.dsl.viewed_group import ViewedGroup
from feature_store.plan.project import CompiledProject, compile_project

USER = {"name": "user", "join_key": "user_id"}
ORDERS = {
    "name": "orders",
    "table": "raw.orders",
    "event_timestamp": "order_ts",
    "schema": {
        "user_id": "STRING",
        "order_id": "STRING",
        "status": "STRING",
        "amount": "FLOAT",
        "quantity": "INT",
        "order_ts": "TIMESTAMP",
        "paid_ts": "TIMESTAMP",
    },
}
COUNT = {
    "name": "user_order_count_30d",
    "agg": {"function": "count"},
    "dtype": "INT",
    "window": "30d",
    "default": 0,
    "description": "Orders of a month.",
}
MEAN = {
    "name": "user_order_value_mean_90d",
    "agg": {"function": "mean", "column": "net"},
    "dtype": "FLOAT",
    "window": "90d",
}
LAST = {
    "name": "user_last_status_all_time",
    "agg": {"function": "last", "column": "status"},
    "dtype": "STRING",
    "window": "all_time",
}
USER_ORDERS: dict[str, Any] = {
    "name": "user_orders",
    "entity": USER,
    "source": ORDERS,
    "owner": "team:shop",
    "description": "What a user bought.",
    "where": "status = 'completed'",
    "columns": {"net": "amount * 0.8"},
    "features": [COUNT, MEAN, LAST],
    "derived": {"user_order_value_per_order": "user_order_value_mean_90d / nullif(user_order_count_30d, 0)"},
    "tags": {"domain": "shop"},
}
ITEM_RANK: dict[str, Any] = {
    "name": "item_rank",
    "entity": {"name": "item", "join_key": "item_id", "dtype": "INT"},
    "query": "SELECT item_id, count(*) AS item_rank FROM prices GROUP BY item_id",
    "sources": [
        {
            "name": "prices",
            "jdbc": "shop.public.prices",
            "event_timestamp": "ts",
            "schema": {"item_id": "INT", "price": "FLOAT", "ts": "TIMESTAMP"},
        }
    ],
    "owner": "team:catalogue",
    "ttl": "2d",
    "features": [{"name": "item_rank", "dtype": "INT", "rename_ok": "a rank is of now"}],
}


def group(definition: dict[str, Any], **changes: Any) -> FeatureGroup:
    """A group with some fields given anew; None leaves a field out."""
    return FeatureGroup.from_json(altered(definition, **changes))


def altered(definition: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A definition's JSON with some fields given anew; None leaves a field out."""
    return {name: value for name, value in {**definition, **changes}.items() if value is not None}


def source(**changes: Any) -> dict[str, Any]:
    """The JSON of the source of orders with some fields given anew; None leaves a field out."""
    return altered(ORDERS, **changes)


def view(name: str, *groups: FeatureGroup | ViewedGroup, **changes: Any) -> FeatureView:
    """A view of groups."""
    return FeatureView(name, groups=groups, **{"owner": "team:ranking", **changes})


def compiled(*definitions: FeatureGroup | FeatureView) -> CompiledProject:
    """A project of these definitions and of the groups that its views read."""
    views = tuple(each for each in definitions if isinstance(each, FeatureView))
    groups = {each.id: each for each in definitions if isinstance(each, FeatureGroup)}
    read = {role.group.id: role.group for each_view in views for role in each_view.viewed}
    return compile_project(Project(tuple({**read, **groups}.values()), views, {}, packages=("tests",)))
