"""Lineage in a real PostgreSQL: from source columns to models and back, and training datasets with their records."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from feature_store import FLOAT, INT, STRING, BatchSource, Entity, Feature, FeatureGroup, FeatureView, OnDemand, agg
from feature_store.errors import NotFoundError
from feature_store.plan.project import CompiledProject
from feature_store.registry.lineage import Lineage
from feature_store.registry.listing import render_lineage
from feature_store.registry.records import TrainingRecord
from feature_store.registry.store import Registry
from tests.integration.registry_setting import applied, project, rows, run
from tests.unit.registry.test_registry_render import shown

USER = Entity("user", join_key="user_id", dtype=STRING)
ORDERS = BatchSource(
    "orders",
    table="raw.orders",
    event_timestamp="ts",
    schema={"user_id": "STRING", "status": "STRING", "amount": "FLOAT", "ts": "TIMESTAMP"},
)
COUNT = Feature("user_order_count_30d", agg.count(), window="30d", dtype=INT, default=0)
SPENT = Feature("user_amount_sum_30d", agg.sum("amount"), window="30d", dtype=FLOAT, where="status = 'paid'")
MOMENT = datetime(2026, 3, 1, tzinfo=UTC)


def orders_of(*features: Feature, **changes: object) -> FeatureGroup:
    given = {"entity": USER, "source": ORDERS, "owner": "team:shop", "features": features}
    return FeatureGroup("user_orders", **{**given, **changes})  # type: ignore[arg-type]


def shop(orders: FeatureGroup | None = None) -> CompiledProject:
    """A group with a derived feature, one of another source, a view of both with on-demand features, a view of one."""
    orders = orders or orders_of(
        COUNT, SPENT, derived={"user_amount_per_order": "user_amount_sum_30d / user_order_count_30d"}
    )
    visits = FeatureGroup(
        "user_visits",
        entity=USER,
        source=BatchSource(
            "visits", table="raw.visits", event_timestamp="at", schema={"user_id": "STRING", "at": "TIMESTAMP"}
        ),
        owner="team:shop",
        features=[Feature("user_visit_count_7d", agg.count(), window="7d", dtype=INT, default=0)],
    )
    rate = [OnDemand("order_rate", "user_order_count_30d * 100 / user_visit_count_7d", dtype=FLOAT),
            OnDemand("is_good", "order_rate > 3", dtype="BOOL")]  # fmt: skip
    ranking = FeatureView("ranking", groups=[orders, visits], owner="team:shop", on_demand=rate)
    return project(orders, visits, views=(ranking, FeatureView("traffic", groups=[visits], owner="team:shop")))


def made(id_: str, view: str, model: str | None, days: int = 0) -> TrainingRecord:
    return TrainingRecord(id_, "weekly", view, model, 1000, {"user_orders@1": 2**62, "user_visits@1": None}, "ab12",
                          "native", "label", f"/training/{id_}", MOMENT + timedelta(days=days))  # fmt: skip


@pytest.fixture
def recorded(registry: Registry) -> Registry:
    """The shop, two models and three training datasets."""
    applied(registry, shop())
    registry.record_training(made("d1", "ranking@1", "ranker"))
    registry.record_training(made("d2", "ranking@1", None, days=1))
    registry.record_training(made("d3", "traffic@1", "forecast"))
    registry.record_usage("user_orders@1", "direct", "serving", kind="group")
    return registry


ORDER_TIME, STATUS, AMOUNT = "orders.ts", "orders.status", "orders.amount"
COUNTED, SUMMED, DERIVED, VISITS = (
    "user_orders@1/user_order_count_30d",
    "user_orders@1/user_amount_sum_30d",
    "user_orders@1/user_amount_per_order",
    "user_visits@1/user_visit_count_7d",
)
ON_DEMAND = ("ranking@1/is_good", "ranking@1/order_rate")
RANKING = (made("d2", "ranking@1", None, days=1), made("d1", "ranking@1", "ranker"))
TRAFFIC = (made("d3", "traffic@1", "forecast"),)

CASES = {
    SUMMED: Lineage(SUMMED, (AMOUNT, STATUS, ORDER_TIME), (SUMMED,), (), ("ranking@1",), RANKING, ("direct", "ranker")),
    DERIVED: Lineage(
        DERIVED, (AMOUNT, STATUS, ORDER_TIME), (DERIVED,), (), ("ranking@1",), RANKING, ("direct", "ranker")
    ),
    COUNTED: Lineage(COUNTED, (ORDER_TIME,), (COUNTED,), ON_DEMAND, ("ranking@1",), RANKING, ("direct", "ranker")),
    AMOUNT: Lineage(AMOUNT, (AMOUNT,), (SUMMED, DERIVED), (), ("ranking@1",), RANKING, ("direct", "ranker")),
    "visits": Lineage("visits", ("visits.at",), (VISITS,), ON_DEMAND, ("ranking@1", "traffic@1"),
                      (RANKING[0], *sorted((RANKING[1], *TRAFFIC), key=lambda each: each.id)), ("forecast", "ranker")),
    "ranking@1/order_rate": Lineage("ranking@1/order_rate", (ORDER_TIME, "visits.at"), (COUNTED, VISITS),
                                    ("ranking@1/order_rate",), ("ranking@1",), RANKING, ("direct", "ranker")),
    "traffic@1": Lineage("traffic@1", ("visits.at",), (VISITS,), (), ("traffic@1",), TRAFFIC, ("forecast",)),
    "user_visits@1": Lineage("user_visits@1", ("visits.at",), (VISITS,), ON_DEMAND, ("ranking@1", "traffic@1"),
                             (RANKING[0], *sorted((RANKING[1], *TRAFFIC), key=lambda each: each.id)),
                             ("forecast", "ranker")),
}  # fmt: skip


def test_lineage_goes_from_source_columns_to_models_and_back(recorded: Registry) -> None:
    for subject, expected in CASES.items():
        assert recorded.lineage(subject) == expected


def test_lineage_reads_from_the_source_to_the_model(recorded: Registry) -> None:
    text = shown(render_lineage(recorded.lineage(COUNTED)))
    kinds = ["source columns", "features", "on-demand features", "views", "training sets", "models"]
    places = [text.index(f"\n{kind}") for kind in kinds]
    assert places == sorted(places)
    assert "d1: weekly, 1,000 rows, 2026-03-01" in text


def test_what_is_unknown_is_named_with_the_ways_to_ask(recorded: Registry) -> None:
    for unknown in ("user_orders@2", "user_orders@1/user_nothing", "ranking@1/nothing", "orders.nothing", "nothing"):
        with pytest.raises(
            NotFoundError, match=rf"no lineage of '{unknown}' is recorded -> write group@version/feature"
        ):
            recorded.lineage(unknown)


def test_lineage_follows_the_definitions(recorded: Registry) -> None:
    """A renamed source and an added feature: what was recorded of them before is gone."""
    paid = Feature("user_paid_count_30d", agg.count(), window="30d", where="status = 'paid'", dtype=INT, default=0)
    renamed = replace(ORDERS, name="purchases")
    derived = {"user_amount_per_order": "user_amount_sum_30d / user_order_count_30d"}
    applied(recorded, shop(orders_of(COUNT, SPENT, paid, source=renamed, derived=derived)))
    assert recorded.lineage("purchases.status").features == (
        SUMMED,
        "user_orders@1/user_paid_count_30d",
        DERIVED,
    )
    assert recorded.lineage("ranking@1/order_rate").columns == ("purchases.ts", "visits.at")
    with pytest.raises(NotFoundError):
        recorded.lineage("orders")


def test_a_registry_from_before_lineage_is_completed_by_the_next_apply(recorded: Registry) -> None:
    run(recorded, "DELETE FROM on_demand_lineage; DELETE FROM feature_lineage WHERE source = 'visits'")
    done = applied(recorded, shop())
    assert done is not None
    assert [(change["id"], change["details"]) for change in done.changes] == [
        ("user_visits@1", ["lineage: none -> visits.at"]),
        (
            "ranking@1",
            ["lineage: none -> user_orders@1.user_order_count_30d, user_visits@1.user_visit_count_7d"],
        ),
    ]
    assert recorded.lineage("ranking@1/order_rate") == CASES["ranking@1/order_rate"]
    assert recorded.plan(shop()).changes == ()


def test_training_datasets_are_recorded_with_their_model(recorded: Registry) -> None:
    assert recorded.training_datasets("ranking@1") == RANKING
    assert recorded.training_ids() == {"d1", "d2", "d3"}
    (used,) = recorded.usage("ranking@1")
    assert (used.model, used.purpose, used.uses) == ("ranker", "training", 1)
    with pytest.raises(NotFoundError):
        recorded.record_training(made("d4", "ranking@7", "ranker"))
    assert rows(recorded, "training_datasets") == 3
