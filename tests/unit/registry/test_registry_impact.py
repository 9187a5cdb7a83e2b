"""What a change touches downstream, recorded or only defined."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Literal

from feature_store.registry.changes import Impact, RegistryPlan
from feature_store.registry.desired import desired_state
from feature_store.registry.diff import plan_changes
from feature_store.registry.records import RegistryState, UsageRecord
from feature_store.registry.render import render_plan
from feature_store.registry.tables import Status
from tests.unit.registry.registry_cases import ITEM_RANK, USER, USER_ORDERS, compiled, group, view
from tests.unit.registry.test_registry_render import shown

ORDERS, RANKS, OTHER = (
    group(USER_ORDERS),
    group(ITEM_RANK),
    group({**USER_ORDERS, "name": "user_other", "owner": "a@b.c"}),
)
RECORDED = (view("ranking", ORDERS, RANKS), view("search", RANKS), OTHER)
MOMENT = datetime(2026, 3, 1, tzinfo=UTC)


def used(what: str, model: str, kind: Literal["view", "group"] = "view") -> UsageRecord:
    return UsageRecord(what, kind, model, "training", MOMENT, MOMENT, 1)


USAGE = (used("ranking@1", "ranker"), used("ranking@1", "other"), used("search@1", "finder"),
         used("user_orders@1", "direct", "group"), used("user_other@1", "far", "group"))  # fmt: skip


def impacts(plan: RegistryPlan) -> dict[str, Impact]:
    return {change.id: change.impact for change in plan.changes if change.action == "update"}


def test_a_group_touches_the_views_that_read_it_and_the_models_that_use_either() -> None:
    changed = group(USER_ORDERS, owner="team:growth")
    plan = plan_changes(desired_state(compiled(*RECORDED)), compiled(view("ranking", changed, RANKS), OTHER), USAGE)
    assert impacts(plan) == {"user_orders@1": Impact((), ("ranking@1",), ("direct", "other", "ranker"))}
    assert plan.changes[0].to_json()["impact"] == {"views": ["ranking@1"], "models": ["direct", "other", "ranker"]}
    assert "      touches view ranking@1; models direct, other, ranker\n" in shown(render_plan(plan))


def test_views_that_are_only_recorded_or_only_defined_count() -> None:
    changed = group(ITEM_RANK, owner="team:growth")
    after = compiled(view("new", changed), view("ranking", ORDERS, changed), OTHER)
    plan = plan_changes(desired_state(compiled(*RECORDED)), after, USAGE)
    assert impacts(plan) == {
        "item_rank@1": Impact((), ("new@1", "ranking@1", "search@1"), ("finder", "other", "ranker"))
    }


def test_an_entity_touches_its_groups_and_all_that_is_behind_them() -> None:
    described = {"entity": {**USER, "description": "A customer."}}
    after = compiled(view("ranking", group(USER_ORDERS, **described), RANKS), group({**OTHER.to_json(), **described}))
    plan = plan_changes(desired_state(compiled(*RECORDED)), after, USAGE)
    touched = Impact(("user_orders@1", "user_other@1"), ("ranking@1",), ("direct", "far", "other", "ranker"))
    assert impacts(plan) == {"user": touched}


def test_a_view_touches_the_models_that_use_it() -> None:
    after = compiled(view("ranking", ORDERS, RANKS, owner="team:ads"), view("search", RANKS), OTHER)
    assert impacts(plan_changes(desired_state(compiled(*RECORDED)), after, USAGE)) == {
        "ranking@1": Impact((), (), ("other", "ranker"))
    }


def test_a_retired_view_reads_nothing_and_what_is_new_touches_nothing() -> None:
    state = desired_state(compiled(*RECORDED))
    views = tuple(replace(each, status=Status.RETIRED) if each.name == "search" else each for each in state.views)
    plan = plan_changes(replace(state, views=views), compiled(group(ITEM_RANK, owner="team:growth")), USAGE)
    assert impacts(plan)["item_rank@1"].views == ("ranking@1",)
    created = plan_changes(RegistryState(), compiled(*RECORDED), USAGE).changes
    assert not any(change.impact for change in created)
    assert "impact" not in created[0].to_json()


def test_many_are_counted() -> None:
    views = [view(f"view_{number:02}", RANKS) for number in range(13)]
    plan = plan_changes(desired_state(compiled(*views)), compiled(group(ITEM_RANK, owner="team:growth")))
    text = " ".join(shown(render_plan(plan)).split())
    assert "touches views view_00@1, view_01@1, " in text
    assert "view_09@1 and 3 more" in text
    assert len(impacts(plan)["item_rank@1"].views) == 13
