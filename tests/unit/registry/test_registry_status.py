"""Deprecated and retired versions: what a plan says of them, who may still read them, when they may go."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from feature_store import Deprecated, FeatureGroup
from feature_store.duration import DAY
from feature_store.errors import ConflictError, DefinitionError, DefinitionErrors
from feature_store.plan.project import CompiledProject
from feature_store.registry.desired import desired_state
from feature_store.registry.diff import plan_changes
from feature_store.registry.lifecycle import check_retirement, check_training
from feature_store.registry.listing import render_all, render_group, render_view
from feature_store.registry.records import GroupRecord, RegistryState, UsageRecord, ViewRecord
from feature_store.registry.render import render_plan
from feature_store.registry.tables import Status
from tests.unit.registry.registry_cases import ITEM_RANK, USER_ORDERS, altered, compiled, group, view
from tests.unit.registry.test_registry_render import shown

LEFT = {"successor": "user_orders@2", "removal": "2027-01-31", "reason": "counted returns"}
OLD, NEW = group(USER_ORDERS, deprecated=LEFT), group(USER_ORDERS, version=2)
BEFORE = compiled(group(USER_ORDERS), view("ranking", group(USER_ORDERS)))


def recorded(project: CompiledProject, **retired: str) -> RegistryState:
    """A project's records; those of some groups (by name, with their version) are retired."""
    state = desired_state(project)
    groups = tuple(
        replace(each, status=Status.RETIRED) if retired.get(each.name) == str(each.version) else each
        for each in state.groups
    )
    return replace(state, groups=groups)


def used(by: str, days_ago: float = 0, what: str = "ranking@1") -> UsageRecord:
    moment = datetime.now(UTC) - timedelta(days=days_ago)
    return UsageRecord(what, "view", by, "training", moment, moment, 1)


def record_of(project: CompiledProject, name: str) -> GroupRecord:
    return next(each for each in desired_state(project).groups if each.id == name)


def view_of(project: CompiledProject) -> tuple[ViewRecord, list[GroupRecord]]:
    """The first view and the groups it reads."""
    state = desired_state(project)
    return state.views[0], [each for each in state.groups if each.id in state.views[0].groups]


def test_a_deprecation_is_a_value_that_computes_nothing() -> None:
    assert FeatureGroup.from_json(OLD.to_json()) == OLD
    assert OLD.to_json()["deprecated"] == LEFT
    before, after = compiled(group(USER_ORDERS)), compiled(OLD, NEW)
    assert before.groups["user_orders@1"].fingerprint == after.groups["user_orders@1"].fingerprint
    older = view("ranking", NEW)
    later = view("ranking", NEW, deprecated=Deprecated("ranking@2", removal="2027-01-31"))
    views = desired_state(compiled(later, view("ranking", NEW, version=2))).views
    assert desired_state(compiled(older)).views[0].fingerprint == views[0].fingerprint
    assert [each.status for each in views] == [Status.DEPRECATED, Status.ACTIVE]


def test_a_removal_is_a_date() -> None:
    with pytest.raises(DefinitionError, match=r"removal='next year' is not a date: write it as '2027-01-31'"):
        Deprecated("user_orders@2", removal="next year")


@pytest.mark.parametrize(
    ("successor", "why"),
    [("user_orders@3", "is not defined"), ("user_orders@1", "is deprecated itself"), ("ranking@1", "is not defined")],
)
def test_a_successor_is_there_and_stays(successor: str, why: str) -> None:
    old = group(USER_ORDERS, deprecated={**LEFT, "successor": successor})
    with pytest.raises(DefinitionErrors, match=rf"successor '{successor}' of the deprecated feature group .* {why}"):
        compiled(old, NEW, view("ranking", NEW))
    left = Deprecated("ranking@2", removal="2027-01-31")
    with pytest.raises(DefinitionErrors, match="of the deprecated feature view ranking@1 is not defined"):
        compiled(view("ranking", NEW, deprecated=left))


def test_deprecating_is_safe_and_so_is_taking_it_back() -> None:
    after = compiled(OLD, NEW, view("ranking", OLD))
    plan = plan_changes(desired_state(BEFORE), after)
    (change,) = plan.safe
    assert [str(detail) for detail in change.details] == [
        "deprecated: none -> successor user_orders@2, removal 2027-01-31, reason counted returns"
    ]
    assert isinstance(change.record, GroupRecord)
    assert change.record.status is Status.DEPRECATED
    assert not plan.breaking
    (back,) = plan_changes(desired_state(after), compiled(group(USER_ORDERS), NEW, view("ranking", OLD))).safe
    assert isinstance(back.record, GroupRecord)
    assert back.record.status is Status.ACTIVE


def test_views_that_read_it_already_stay_and_the_plan_says_so() -> None:
    after = compiled(OLD, NEW, view("ranking", OLD))
    plan = plan_changes(desired_state(after), compiled(OLD, NEW, view("ranking", OLD, owner="team:ads")))
    assert [change.id for change in plan.safe] == ["ranking@1"]
    line = "ranking@1 reads user_orders@1: deprecated, successor user_orders@2, removal on 2027-01-31: counted returns"
    assert plan.outdated == (line,)
    assert "Still read, though deprecated" in shown(render_plan(plan))


@pytest.mark.parametrize("version", [1, 2], ids=["another view", "a new version of a view"])
def test_a_new_view_of_what_is_deprecated_is_refused(version: int) -> None:
    new = view("ranking" if version == 2 else "search", OLD, version=version)
    after = compiled(OLD, NEW, view("ranking", OLD), new)
    for state in (desired_state(BEFORE), desired_state(compiled(OLD, NEW, view("ranking", OLD)))):
        plan = plan_changes(state, after)
        (change,) = plan.breaking
        assert (change.id, change.action, change.remedy) == (new.id, "create", "read user_orders@2")
        assert new.id not in {created.id for created in plan.creating}
        text = " ".join(shown(render_plan(plan)).split())
        assert f"! {new.id} ! reads user_orders@1, deprecated, successor user_orders@2, removal on 2027-01-31" in text
        assert "-> read user_orders@2" in text


def test_a_project_is_recorded_for_the_first_time_as_it_is() -> None:
    """A new machine must be able to record a project in which a view still reads what is deprecated."""
    assert not plan_changes(RegistryState(), compiled(OLD, NEW, view("ranking", OLD))).breaking


def test_what_is_retired_is_not_defined_again() -> None:
    project = compiled(OLD, NEW)
    plan = plan_changes(recorded(project, user_orders="1"), project)
    (change,) = plan.breaking
    assert str(change.details[0]) == "status: RETIRED -> defined again"
    assert change.remedy == "take it out of the definitions, or define it with version=3"
    gone = plan_changes(recorded(project, user_orders="1"), compiled(NEW))
    assert (gone.changes, gone.no_longer_defined) == ((), ())


def test_new_training_is_refused_and_a_known_model_goes_on_with_a_warning() -> None:
    read = view_of(compiled(OLD, NEW, view("ranking", OLD)))
    with pytest.raises(ConflictError) as refused:
        check_training(*read, (), "newcomer")
    assert "user_orders@1 is deprecated, successor user_orders@2, removal on 2027-01-31" in str(refused.value)
    assert "train with user_orders@2" in str(refused.value)
    with pytest.raises(ConflictError):
        check_training(*read, [used("ranker")], "")
    with pytest.warns(FutureWarning, match=r"ranking@1: user_orders@1 is deprecated, successor user_orders@2"):
        check_training(*read, [used("ranker")], "ranker")
    left = Deprecated("ranking@2", removal="2027-01-31")
    project = compiled(view("ranking", NEW, deprecated=left), view("ranking", NEW, version=2))
    with pytest.raises(ConflictError, match=r"ranking@1 is deprecated, .*train with ranking@2"):
        check_training(*view_of(project), [used("other")], "ranker")


@pytest.mark.filterwarnings("error")
def test_training_on_what_is_active_is_nobodys_business() -> None:
    check_training(*view_of(BEFORE), (), "")


def test_nobody_trains_on_what_is_retired() -> None:
    read, (old,) = view_of(compiled(OLD, NEW, view("ranking", OLD)))
    with pytest.raises(ConflictError, match=r"user_orders@1 is retired -> use user_orders@2"):
        check_training(read, [replace(old, status=Status.RETIRED)], [used("ranker")], "ranker")


def test_what_is_ready_may_be_retired() -> None:
    old = record_of(compiled(group(USER_ORDERS, deprecated={**LEFT, "removal": "2020-01-01"}), NEW), "user_orders@1")
    gone, _ = view_of(compiled(view("ranking", group(USER_ORDERS))))
    long_ago = [used("ranker", days_ago=91)]
    check_retirement(old, [replace(gone, status=Status.RETIRED)], long_ago, defined=False)
    check_retirement(old, [], [used("ranker", days_ago=3)], defined=False, unused_for=2 * DAY)


def test_everything_that_stands_against_retiring_is_said_at_once() -> None:
    old = record_of(compiled(OLD, NEW), "user_orders@1")
    reader, _ = view_of(BEFORE)
    with pytest.raises(ConflictError) as refused:
        check_retirement(old, [reader], [used("ranker", days_ago=2), used("older", days_ago=200)], defined=True)
    message = str(refused.value)
    for reason in (
        "its removal date is 2027-01-31",
        "it is still defined",
        "ranking@1 reads it",
        "the model ranker used ranking@1 for training on",
        "within the last 90d",
    ):
        assert reason in message
    assert "older" not in message
    with pytest.raises(ConflictError, match="it is not deprecated"):
        check_retirement(record_of(BEFORE, "user_orders@1"), [], [], defined=False)
    with pytest.raises(ConflictError, match="it is retired already"):
        check_retirement(replace(old, status=Status.RETIRED), [], [], defined=False)


def test_a_removal_is_due_on_its_day() -> None:
    today = datetime.now(UTC).date()
    for days, due in ((0, True), (1, False)):
        left = {**LEFT, "removal": (today + timedelta(days=days)).isoformat()}
        record = record_of(compiled(group(USER_ORDERS, deprecated=left), NEW), "user_orders@1")
        if due:
            check_retirement(record, [], [], defined=False)
        else:
            with pytest.raises(ConflictError, match="its removal date is"):
                check_retirement(record, [], [], defined=False)


def test_the_status_is_shown_with_what_comes_after() -> None:
    state = desired_state(compiled(OLD, NEW, view("ranking", OLD, group(ITEM_RANK))))
    assert "DEPRECATED until 2027-01-31" in " ".join(shown(render_all(state.groups, state.views)).split())
    old = next(each for each in state.groups if each.id == "user_orders@1")
    status = "DEPRECATED until 2027-01-31, successor user_orders@2: counted returns"
    assert f"status {status}" in " ".join(shown(render_group(old)).split())
    groups = {each.id: each for each in state.groups}
    view_shown = shown(render_view(state.views[0], tuple(groups[name] for name in state.views[0].groups), ()))
    assert f"reads user_orders@1 {status}" in " ".join(view_shown.split())


def test_altering_a_deprecation_keeps_the_author() -> None:
    state = desired_state(compiled(OLD, NEW))
    known = replace(state, groups=(replace(state.groups[0], created_by="ann"), state.groups[1]))
    later = FeatureGroup.from_json(altered(OLD.to_json(), deprecated={**LEFT, "removal": "2028-01-31"}))
    (change,) = plan_changes(known, compiled(later, NEW)).changes
    assert isinstance(change.record, GroupRecord)
    assert (change.record.created_by, change.record.status) == ("ann", Status.DEPRECATED)
