"""On-demand features in the registry: what changing them means, and how a plan and a listing show them."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

import pytest
from rich.console import Console, RenderableType

from feature_store import BOOL, FLOAT, INT, STRING, FeatureView, OnDemand
from feature_store.registry.changes import Detail, RegistryPlan
from feature_store.registry.desired import desired_state
from feature_store.registry.diff import plan_changes
from feature_store.registry.listing import render_view
from feature_store.registry.records import RegistryState
from feature_store.registry.render import render_plan
from tests.unit import on_demand_functions as functions
from tests.unit.on_demand_cases import HOME, PRICE, SINCE, view
from tests.unit.registry.registry_cases import compiled

HALF = OnDemand("half", "price / 2", dtype=FLOAT)


def planned(old: FeatureView, new: FeatureView) -> RegistryPlan:
    return plan_changes(desired_state(compiled(old)), compiled(new))


def only_detail(old: FeatureView, new: FeatureView) -> Detail:
    (change,) = planned(old, new).changes
    (detail,) = change.details
    return detail


def shown(what: RenderableType) -> str:
    console = Console(width=120, record=True, file=StringIO())
    console.print(what)
    return console.export_text()


def test_a_new_view_says_what_it_computes() -> None:
    plan = plan_changes(RegistryState(), compiled(view(PRICE, HOME)))
    (change,) = [change for change in plan.changes if change.subject == "feature view"]
    assert change.summary == "reads user_orders@1, computes price_ratio, is_home on demand, owner team:test"


@pytest.mark.parametrize(
    ("old", "new", "said", "breaking"),
    [
        ((PRICE, HOME), (PRICE, HOME, HALF), "on-demand feature half added: FLOAT, price / 2", False),
        ((PRICE, HOME, HALF), (PRICE, HOME), "on-demand feature half removed: FLOAT, price / 2", True),
        ((PRICE, HOME), (HOME, PRICE), "order of on-demand features: price_ratio, is_home -> is_home, price_ratio",
         False),
    ],
)  # fmt: skip
def test_a_feature_comes_or_goes(
    old: tuple[OnDemand, ...], new: tuple[OnDemand, ...], said: str, breaking: bool
) -> None:
    detail = only_detail(view(*old), view(*new))
    assert (str(detail), detail.breaking) == (said, breaking)


def changed(**fields: Any) -> FeatureView:
    text, given = fields.pop("expression", "price / 2"), {"dtype": FLOAT, **fields}
    return view(PRICE, HOME, OnDemand("half", text, **given))


@pytest.mark.parametrize(
    ("new", "said", "breaking"),
    [
        (changed(expression="price / 3"), "on-demand feature half: expression: price / 2 -> price / 3", True),
        (changed(expression="length(country)", dtype=INT), "dtype: FLOAT -> INT", True),
        (changed(default=0.5), "on-demand feature half: default: none -> 0.5", True),
        (changed(description="Half."), "on-demand feature half: description: none -> Half.", False),
        (changed(expression=None, function=functions.third), "half: function: none -> tests.unit.on_demand_fun", True),
    ],
)
def test_a_feature_changes(new: FeatureView, said: str, breaking: bool) -> None:
    (change,) = planned(changed(), new).changes
    assert change.breaking is breaking
    assert any(said in str(detail) for detail in change.details)
    if breaking:
        assert "define the change with version=2" in change.remedy


def test_another_spelling_is_no_change() -> None:
    assert planned(changed(), changed(expression=" price  /2 ")).changes == ()


def test_a_changed_function_under_its_name_is_breaking() -> None:
    old = OnDemand("x", function=functions.third, dtype=FLOAT)
    recorded = desired_state(compiled(view(PRICE, HOME, old)))
    (record,) = recorded.views
    record.definition["on_demand"][-1]["code"] = "0123456789abcdef"
    (change,) = plan_changes(recorded, compiled(view(PRICE, HOME, old))).changes
    assert change.breaking
    (detail,) = change.details
    assert detail.what == "on-demand feature x: code"
    assert detail.reason == "the function says something else"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ({}, {"user_age": INT}, "request value user_age added: INT"),
        ({"user_age": INT}, {}, "request value user_age removed: INT"),
        ({"user_age": INT}, {"user_age": FLOAT}, "request value user_age: INT -> FLOAT"),
    ],
)
def test_what_callers_must_give_is_breaking(old: dict[str, Any], new: dict[str, Any], said: str) -> None:
    def asking(values: dict[str, Any]) -> FeatureView:
        given = OnDemand("known", "user_age IS NULL" if values else "country IS NULL", dtype=BOOL)
        return view(PRICE, HOME, given, request={"price": FLOAT, "country": STRING, **values})

    (change,) = planned(asking(old), asking(new)).changes
    (detail,) = [detail for detail in change.details if "request value" in detail.what]
    assert (str(detail), detail.breaking) == (said, True)


def test_the_fingerprint_is_that_of_what_is_computed() -> None:
    def fingerprint(definition: FeatureView) -> str:
        return desired_state(compiled(definition)).views[0].fingerprint

    assert fingerprint(changed()) == fingerprint(changed(description="Half."))
    assert fingerprint(view(PRICE, HOME)) == fingerprint(view(HOME, PRICE))
    different = [changed(), changed(expression="price / 3"), changed(default=1.0), view(PRICE, HOME), view(request={})]
    assert len({fingerprint(definition) for definition in different}) == len(different)


def test_an_old_view_is_recorded_as_before() -> None:
    record = desired_state(compiled(view(request={}))).views[0]
    assert set(record.definition) == {"name", "groups", "owner"}
    assert record.on_demand == []


def test_a_plan_and_a_listing_show_them() -> None:
    default = OnDemand("third", function=functions.third, dtype=FLOAT, default=0.25)
    state = desired_state(compiled(view(PRICE, SINCE, HOME, default)))
    record = json.loads(json.dumps(state.views[0].definition))
    assert [feature["name"] for feature in record["on_demand"]] == [
        "price_ratio", "user_time_since_last", "is_home", "third"]  # fmt: skip
    text = shown(render_view(state.views[0], state.groups, ()))
    assert "request values  price FLOAT, country STRING" in text
    assert "request_time - user_last_at_all_time" in text
    assert "tests.unit.on_demand_functions:third" in text
    assert "0.25" in text
    assert "on-demand feature half" in shown(render_plan(planned(view(PRICE, HOME), view(PRICE, HOME, HALF))))
