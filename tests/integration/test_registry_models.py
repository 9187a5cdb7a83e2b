"""Registered models in a real PostgreSQL: what a version pins, who may be registered, and what it stands against."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from feature_store import INT, Deprecated, Feature, FeatureView, agg
from feature_store.errors import ConflictError, InputError, NotFoundError
from feature_store.registry.access.store import AccessControl
from feature_store.registry.listing import render_all, render_lineage, render_model
from feature_store.registry.model_records import ModelFeature, ModelRecord
from feature_store.registry.models import RegisteredModels
from feature_store.registry.records import TrainingRecord
from feature_store.registry.store import Registry
from tests.integration.registry_setting import applied, orders_group, project, rows, run, shop, written
from tests.integration.test_registry_lineage import shop as visited_shop
from tests.unit.registry.test_registry_render import shown

ORDERS = tuple(
    ModelFeature(name, dtype, f"user_orders@1/{name}")
    for name, dtype in (
        ("user_order_count_30d", "INT"),
        ("user_order_value_mean_90d", "FLOAT"),
        ("user_zebra", "INT"),
        ("user_ape_long_name", "INT"),
    )
)
SALES = ModelFeature("item_sale_count_7d", "INT", "item_sales@1/item_sale_count_7d")
LEFT = Deprecated("ranking@2", removal="2020-01-31")


@pytest.fixture
def models(registry: Registry) -> RegisteredModels:
    """The models of a registry that has the shop and a training dataset of its view."""
    applied(registry, shop())
    registry.record_training(dataset("d1"))
    return RegisteredModels(registry)


def dataset(id_: str, view: str = "ranking@1", model: str | None = None) -> TrainingRecord:
    made_at = datetime(2026, 3, 1, tzinfo=UTC)
    return TrainingRecord(id_, "weekly", view, model, 10, {}, "ab12", "native", None, f"/training/{id_}", made_at)


def ranker(version: int = 1, **changes: Any) -> ModelRecord:
    given: dict[str, Any] = {"features": (*ORDERS, SALES), "owner": "team:ranking", "dataset": "d1", **changes}
    return ModelRecord("ranker", version, "ranking@1", **given)


def test_a_version_pins_its_view_and_all_features_or_those_it_names_in_its_order(models: RegisteredModels) -> None:
    whole = models.register("ranker", 1, "ranking@1", by="ann", dataset="d1")
    assert whole == ranker()
    assert (whole.created_by, whole.retired_at) == ("ann", None)
    names = ["item_sale_count_7d", "user_zebra", "user_order_count_30d"]
    some = models.register("ranker", 10, "ranking@1", names, by="ann", owner="team:ads", uri="runs:/1/model")
    assert some.features == (SALES, ORDERS[2], ORDERS[0])
    assert (some.owner, some.dataset, some.uri) == ("team:ads", None, "runs:/1/model")
    models.register("Ранжирование v2", 2, "ranking@1", by="ann")
    assert [model.id for model in models.all()] == ["ranker@1", "ranker@10", "Ранжирование v2@2"]
    assert (models.get("ranker").version, models.get("ranker", 1), models.get("ranker@10")) == (10, whole, some)
    assert models.get("Ранжирование v2").version == 2


def test_features_that_a_group_gets_later_are_none_of_the_model(registry: Registry, models: RegisteredModels) -> None:
    models.register("ranker", 1, "ranking@1", by="ann", dataset="d1")
    more = [*orders_group().features, Feature("user_order_count_7d", agg.count(), window="7d", dtype=INT, default=0)]
    applied(registry, shop(features=more))
    assert models.get("ranker") == ranker()
    assert models.register("ranker", 1, "ranking@1", ranker().feature_names, by="ann", dataset="d1") == ranker()
    assert "user_order_count_7d" in models.register("ranker", 2, "ranking@1", by="ann").feature_names


def test_the_same_again_changes_nothing_and_something_else_is_refused(
    registry: Registry, models: RegisteredModels
) -> None:
    first = models.register("ranker", 1, "ranking@1", by="ann", dataset="d1", owner="team:ads")
    before, acts = written(registry), AccessControl(registry.engine).entries(10)
    assert [(act.by, act.action, act.subject) for act in acts][:1] == [("ann", "register", "model ranker@1")]
    again = models.register("ranker", 1, "ranking@1", by="bob", dataset="d1")
    assert (again, again.created_by, again.created_at) == (first, "ann", first.created_at)
    other: list[tuple[str, dict[str, Any]]] = [
        ("features differ", {"features": [*reversed(ranker().feature_names)]}),
        ("dataset differ", {"dataset": None}),
        ("uri differ", {"uri": "runs:/2/model"}),
        ("owner differ", {"owner": "team:ranking"}),
    ]
    for said, changes in other:
        with pytest.raises(ConflictError, match=said) as refused:
            models.register("ranker", 1, "ranking@1", **{"dataset": "d1", "by": "bob", **changes})
        assert refused.value.code == "model-registered"
    assert written(registry) == before


def test_of_several_who_register_at_once_one_wins_and_the_others_see_it(models: RegisteredModels) -> None:
    names = [*ranker().feature_names]
    orders = [names, names, names[::-1], names, names[::-1], names]

    def register(features: list[str]) -> ModelRecord | str:
        try:
            return models.register("ranker", 1, "ranking@1", features, by="ann")
        except ConflictError as error:
            return error.code

    with ThreadPoolExecutor(len(orders)) as pool:
        found = [*pool.map(register, orders)]
    recorded = models.get("ranker", 1)
    for features, outcome in zip(orders, found, strict=True):
        assert outcome == (recorded if tuple(features) == recorded.feature_names else "model-registered")


REFUSED: list[tuple[dict[str, Any], str]] = [
    *(({"name": name}, "model-name") for name in ("", "a/b", "a@1", " a", "a\nb", "..", "é" * 201)),
    *(({"version": version}, "model-version") for version in (0, True, "1", 2**63)),
    ({"features": []}, "model-features"),
    ({"features": ["user_zebra", "user_zebra"]}, "model-features"),
    ({"features": ["user_zebr"]}, "not-in-view"),
    ({"view_id": "ranking@2"}, "not-recorded"),
    ({"view_id": "ranking"}, "id"),
    ({"dataset": "d9"}, "not-recorded"),
]


def test_what_does_not_fit_is_refused_and_nothing_is_written(registry: Registry, models: RegisteredModels) -> None:
    before = written(registry)
    for given, code in REFUSED:
        with pytest.raises((InputError, NotFoundError)) as refused:
            models.register(**{"name": "ranker", "version": 1, "view_id": "ranking@1", "by": "ann", **given})
        assert (refused.value.code, bool(refused.value.remedy)) == (code, True), given
    assert written(registry) == before


def test_a_dataset_of_another_view_is_refused(registry: Registry, models: RegisteredModels) -> None:
    definitions = shop().project
    views = (*definitions.views, FeatureView("other", groups=definitions.groups, owner="team:ranking"))
    applied(registry, project(*definitions.groups, views=views))
    registry.record_training(dataset("d2", "other@1"))
    with pytest.raises(InputError, match="d2 is not of ranking@1"):
        models.register("ranker", 1, "ranking@1", by="ann", dataset="d2")


def test_usage_impact_and_training_on_what_is_deprecated_see_the_model(
    registry: Registry, models: RegisteredModels
) -> None:
    models.register("ranker", 1, "ranking@1", by="ann")
    (used,) = registry.usage("ranking@1")
    assert (used.model, used.purpose, used.uses) == ("ranker", "registered", 1)
    plan = registry.plan(shop(description="What a user buys."))
    assert [change.impact.models for change in plan.changes if change.id == "user_orders@1"] == [("ranker",)]

    definitions = shop().project
    left = replace(definitions.views[0], deprecated=LEFT)
    successor = FeatureView("ranking", version=2, groups=definitions.groups, owner="team:ranking")
    applied(registry, project(*definitions.groups, views=(left, successor)))
    with pytest.raises(ConflictError, match=r"registering a model is refused: ranking@1 is deprecated") as refused:
        models.register("newcomer", 1, "ranking@1", by="ann")
    assert refused.value.code == "deprecated"
    with pytest.warns(FutureWarning, match="ranking@1 is deprecated"):
        assert models.register("ranker", 2, "ranking@1", by="ann").view == "ranking@1"


def test_a_view_and_its_groups_are_not_retired_before_its_models(registry: Registry, models: RegisteredModels) -> None:
    models.register("ranker", 1, "ranking@1", by="ann", owner="team:ads")
    models.register("ranker", 2, "ranking@1", by="ann")
    run(registry, "UPDATE feature_usage SET last_used_at = now() - interval '1 year'")
    definitions = shop().project
    left = replace(definitions.views[0], deprecated=LEFT)
    successor = FeatureView("ranking", version=2, groups=definitions.groups, owner="team:ranking")
    applied(registry, project(*definitions.groups, views=(left, successor)))
    with pytest.raises(ConflictError, match=r"the model ranker@1 of team:ads is registered with ranking@1") as refused:
        registry.retire("ranking@1", "ann", kind="view")
    assert "ranker@2 of team:ranking" in refused.value.message
    with pytest.raises(ConflictError, match=r"ranker@1 of team:ads is registered with ranking@1"):
        registry.retire("user_orders@1", "ann")

    assert models.retire("ranker@2", "bob").retired_at is not None
    assert models.get("ranker").version == 1
    with pytest.raises(ConflictError, match="the model ranker@2 is retired"):
        models.get("ranker", 2)
    with pytest.raises(ConflictError, match="the model ranker@2 is retired"):
        models.retire("ranker@2", "bob")
    with pytest.raises(ConflictError, match="the model ranker@2 is retired"):
        models.register("ranker", 2, "ranking@1", by="ann")
    with pytest.raises(NotFoundError, match=r"no model 'ranker@3' -> registered are: ranker@1, ranker@2"):
        models.retire("ranker@3", "bob")
    models.retire("ranker@1", "bob")
    registry.retire("ranking@1", "ann", kind="view")
    with pytest.raises(ConflictError, match="ranking@1 is retired"):
        models.register("ranker", 3, "ranking@1", by="ann")
    assert rows(registry, "models") == 2


def test_lineage_goes_to_the_versions_that_read_a_feature_and_back(registry: Registry) -> None:
    applied(registry, visited_shop())
    registry.record_training(dataset("d1", model="ranker"))
    registry.record_training(dataset("d2"))
    models = RegisteredModels(registry)
    models.register("plain", 1, "ranking@1", ["user_amount_sum_30d"], by="ann")
    models.register("rated", 1, "ranking@1", ["order_rate"], by="ann", dataset="d1")
    models.register("traffic", 7, "traffic@1", by="ann")
    counted, visits = "user_orders@1/user_order_count_30d", "user_visits@1/user_visit_count_7d"
    expected = {
        "user_orders@1/user_amount_sum_30d": ("plain@1",),
        counted: ("rated@1",),
        visits: ("rated@1", "traffic@7"),
        "orders.amount": ("plain@1",),
        "ranking@1": ("plain@1", "rated@1"),
        "ranking@1/order_rate": ("rated@1",),
        "ranking@1/is_good": (),
        "traffic@1": ("traffic@7",),
    }
    assert {subject: registry.lineage(subject).registered for subject in expected} == expected
    found = registry.lineage("rated@1")
    assert (found.columns, found.features) == (("orders.ts", "visits.at"), (counted, visits))
    assert (found.on_demand, found.views) == (("ranking@1/order_rate",), ("ranking@1",))
    assert [made.id for made in found.training] == ["d1"]
    assert (found.models, found.registered) == (("rated",), ("rated@1",))
    assert "registered models" in shown(render_lineage(found))
    with pytest.raises(NotFoundError):
        registry.lineage("rated@2")


def test_models_are_listed_and_shown(registry: Registry, models: RegisteredModels) -> None:
    models.register("ranker", 1, "ranking@1", ["user_zebra"], by="ann", dataset="d1", uri="runs:/1/model")
    models.retire("ranker@1", "ann")
    listed = " ".join(shown(render_all(registry.groups(), registry.views(), models.all())).split())
    assert "ranker@1 ranking@1 1 team:ranking RETIRED on" in listed
    text = shown(render_model(models.all()[0]))
    for said in ("runs:/1/model", "d1", "user_orders@1/user_zebra", "registered"):
        assert said in text
