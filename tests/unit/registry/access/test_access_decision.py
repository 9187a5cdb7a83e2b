"""The decision on access, against rules that are written down case by case, and on what definitions say."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given

from feature_store import INT, STRING, BatchSource, Entity, Feature, FeatureGroup, FeatureView, OnDemand, agg
from feature_store.errors import AccessError, TokenError
from feature_store.registry.access.decision import Grant, Guarded, decide, guarded_group, guarded_view
from feature_store.registry.access.tokens import Action, Token
from feature_store.registry.desired import desired_state
from tests.unit.registry.access import access_cases as cases
from tests.unit.registry.access.access_cases import grant, token
from tests.unit.registry.registry_cases import compiled

ORDERS = Guarded("group", "orders@1", "team:shop", pii={"email": frozenset(["orders@1"])})
CLICKS = Guarded("group", "clicks@1", "team:ads", "private")
RANKING = Guarded("view", "ranking@1", "team:ads", groups=(ORDERS, CLICKS), pii=ORDERS.pii)


def allowed_by_rules(asker: Token, action: str, asked: Guarded, grants: frozenset[Grant]) -> bool:
    """Whether the rules allow it, one after the other, as they are told in the documentation."""
    scopes = {str(scope) for scope in asker.scopes}
    who = str(asker.principal)
    if "admin" not in scopes and action not in scopes:
        return False
    held = [(g.kind, g.name, g.scope) for g in grants if str(g.principal) == who]
    if action == "read" and asked.kind == "view":
        for group in asked.groups:
            if not allowed_by_rules(asker, "read", group, grants):
                return False
    if who == asked.owner:
        return True
    name = asked.id[: asked.id.index("@")]
    if (asked.kind, name, action) in held or (asked.kind, name, "admin") in held:
        return True
    if action == "read":
        return asked.access != "private"
    return "admin" in scopes


def masked_by_rules(asker: Token, asked: Guarded, grants: frozenset[Grant]) -> set[str]:
    """The columns of which one source at least is a group whose personal data are not the asker's to see."""
    who, masked = str(asker.principal), set()
    owners = {group.id: group.owner for group in (asked.groups or [asked])}
    for column in asked.pii:
        for source in asked.pii[column]:
            seen = [g for g in grants if (str(g.principal), g.kind, g.scope) == (who, "group", "pii")]
            if owners[source] != who and source.split("@")[0] not in [g.name for g in seen]:
                masked.add(column)
    return masked


@given(cases.tokens, cases.actions, cases.guarded, cases.grants)
def test_a_decision_is_that_of_the_rules(
    asker: Token, action: Action, asked: Guarded, grants: frozenset[Grant]
) -> None:
    decision = decide(asker, action, asked, grants)
    assert decision.allowed == allowed_by_rules(asker, action, asked, grants)
    if not decision.allowed:
        assert decision.reason
        assert decision.remedy
        assert not decision.masked
    elif action == "read":
        assert decision.masked == masked_by_rules(asker, asked, grants)
    else:
        assert not decision.masked


@given(cases.tokens, cases.actions, cases.guarded, cases.grants, cases.grants)
def test_more_grants_never_take_anything_away(
    asker: Token, action: Action, asked: Guarded, grants: frozenset[Grant], more: frozenset[Grant]
) -> None:
    before, after = decide(asker, action, asked, grants), decide(asker, action, asked, grants | more)
    assert after.allowed or not before.allowed
    assert not before.allowed or after.masked <= before.masked


@given(cases.tokens, cases.guarded, cases.grants)
def test_nothing_goes_beyond_the_scopes_of_a_token(asker: Token, asked: Guarded, grants: frozenset[Grant]) -> None:
    reads = replace(asker, scopes=frozenset(["read"]))
    assert not decide(reads, "write", asked, grants).allowed
    assert not decide(reads, "admin", asked, grants).allowed
    writes = replace(asker, scopes=frozenset(["write"]))
    assert not decide(writes, "read", asked, grants).allowed


@given(cases.tokens, cases.actions, cases.guarded, cases.grants)
def test_grants_of_others_are_nothing_to_it(
    asker: Token, action: Action, asked: Guarded, grants: frozenset[Grant]
) -> None:
    own = frozenset(each for each in grants if each.principal == asker.principal)
    assert decide(asker, action, asked, grants) == decide(asker, action, asked, own)


@pytest.mark.parametrize(
    ("who", "scopes", "action", "asked", "given_", "expected"),
    [
        ("service:x", ["read"], "read", ORDERS, [], True),
        ("service:x", ["read"], "read", CLICKS, [], False),
        ("service:x", ["read"], "read", CLICKS, ["service:x read group clicks"], True),
        ("service:x", ["read"], "read", CLICKS, ["service:x admin group clicks"], True),
        ("service:x", ["read"], "read", CLICKS, ["service:x write group clicks"], False),
        ("service:x", ["read"], "read", CLICKS, ["service:x pii group clicks"], False),
        ("service:x", ["read"], "read", CLICKS, ["service:x read view clicks"], False),
        ("service:x", ["read"], "read", CLICKS, ["team:x read group clicks"], False),
        ("service:ads", ["read"], "read", CLICKS, [], False),  # a service is not the team of its name
        ("team:ads", ["read"], "read", CLICKS, [], True),
        ("team:ads", ["read"], "write", CLICKS, [], False),
        ("team:ads", ["write"], "write", CLICKS, [], True),
        ("team:ads", ["write"], "read", CLICKS, [], False),
        ("team:ads", ["write"], "write", ORDERS, [], False),
        ("team:ads", ["write"], "write", ORDERS, ["team:ads write group orders"], True),
        ("team:ads", ["write"], "admin", CLICKS, [], False),
        ("team:ads", ["admin"], "admin", CLICKS, [], True),
        ("service:x", ["admin"], "write", CLICKS, [], True),
        ("service:x", ["admin"], "read", CLICKS, [], False),  # an administrator takes a grant, which is written down
        ("service:x", ["read"], "read", RANKING, [], False),  # because of clicks
        ("service:x", ["read"], "read", RANKING, ["service:x read view ranking"], False),
        ("service:x", ["read"], "read", RANKING, ["service:x read group clicks"], True),
        ("team:ads", ["read"], "read", RANKING, [], True),
        ("team:shop", ["read"], "read", RANKING, [], False),
        ("team:shop", ["read"], "read", replace(RANKING, groups=(ORDERS,), access="private"), [], False),
    ],
)
def test_decisions_one_by_one(
    who: str, scopes: list[Any], action: Action, asked: Guarded, given_: list[str], expected: bool
) -> None:
    assert decide(token(who, *scopes), action, asked, frozenset(map(grant, given_))).allowed is expected


def test_an_owner_that_is_a_person_owns_nothing_by_token() -> None:
    asked = replace(CLICKS, owner="ann@shop.example")
    assert not decide(token("team:ann"), "read", asked, frozenset()).allowed


@pytest.mark.parametrize(
    ("who", "given_", "masked"),
    [
        ("service:x", [], {"email"}),
        ("service:x", ["service:x pii group orders"], set()),
        ("service:x", ["service:x admin group orders"], {"email"}),
        ("service:x", ["service:x pii view orders"], {"email"}),
        ("team:shop", [], set()),
    ],
)
def test_personal_data_take_a_grant_of_their_own(who: str, given_: list[str], masked: set[str]) -> None:
    grants = frozenset(map(grant, given_))
    assert decide(token(who, "read", "admin"), "read", ORDERS, grants).masked == masked
    seen = decide(token(who, "read", "admin"), "read", replace(RANKING, groups=(ORDERS,)), grants)
    assert seen.masked == masked


def test_a_refusal_says_who_may_not_do_what_and_how_to_get_it() -> None:
    with pytest.raises(AccessError) as refused:
        decide(token(), "read", replace(RANKING, access="private"), frozenset()).require()
    assert str(refused.value) == (
        "service:x may not read the feature view ranking@1, which team:ads owns "
        "-> ask for it: ./fs grant service:x read ranking --view [access-denied]"
    )
    assert not isinstance(refused.value, TokenError)
    with pytest.raises(AccessError, match=r"of the group|service:x may not read the feature group clicks@1"):
        decide(token(), "read", RANKING, frozenset()).require()
    with pytest.raises(AccessError, match="the token t has not the scope write -> use a token with --scope write"):
        decide(token(), "write", ORDERS, frozenset()).require()
    allowed = decide(token(), "read", ORDERS, frozenset())
    assert allowed.require() is allowed


USER = Entity("user", join_key="user_id")
SOURCE = BatchSource(
    "people",
    table="raw.people",
    event_timestamp="ts",
    schema={"user_id": STRING, "mail": STRING, "age": INT, "ts": "TIMESTAMP"},
)
MAIL = Feature("user_last_mail_all_time", agg.last("mail"), window="all_time", dtype=STRING, pii=True)
AGE = Feature("user_last_age_all_time", agg.last("age"), window="all_time", dtype=INT, pii=True)
COUNT = Feature("user_change_count_30d", agg.count(), window="30d", dtype=INT)
PEOPLE = FeatureGroup(
    "people",
    entity=USER,
    source=SOURCE,
    owner="team:people",
    features=[MAIL, AGE, COUNT],
    derived={"user_decade": "user_last_age_all_time / 10"},
)


def of_view(view: FeatureView) -> Guarded:
    state = desired_state(compiled(view))
    return guarded_view(state.views[0], state.groups)


def test_the_columns_of_a_group_that_are_masked() -> None:
    (record,) = desired_state(compiled(PEOPLE)).groups
    asked = guarded_group(record)
    assert (asked.kind, asked.id, asked.owner, asked.access) == ("group", "people@1", "team:people", "public")
    personal = {"user_last_mail_all_time", "user_last_age_all_time", "user_decade"}
    assert decide(token(), "read", asked, frozenset()).masked == personal
    assert decide(token("team:people"), "read", asked, frozenset()).masked == set()


def test_the_columns_of_a_view_that_are_masked() -> None:
    view = FeatureView(
        "risk",
        owner="team:risk",
        access="private",
        groups=[
            PEOPLE.select("user_last_mail_all_time", "user_change_count_30d"),
            PEOPLE.select("user_decade").keyed_by("friend_id", prefix="friend_"),
        ],
        on_demand=[
            OnDemand("mailed", "user_last_mail_all_time = 'x'", dtype="BOOL"),  # type: ignore[arg-type]
            OnDemand("not_mailed", "NOT mailed", dtype="BOOL"),  # type: ignore[arg-type]
            OnDemand("changes", "user_change_count_30d * 2", dtype=INT),
        ],
    )
    asked = of_view(view)
    assert (asked.kind, asked.id, asked.owner, asked.access) == ("view", "risk@1", "team:risk", "private")
    assert [group.id for group in asked.groups] == ["people@1"]
    personal = {"user_last_mail_all_time", "friend_user_decade", "mailed", "not_mailed"}
    assert decide(token("team:risk"), "read", asked, frozenset()).masked == personal
    seen = frozenset([grant("team:risk pii group people")])
    assert decide(token("team:risk"), "read", asked, seen).masked == set()
    assert not decide(token("team:people"), "read", asked, frozenset()).allowed


def test_a_grant_holds_for_all_versions() -> None:
    later = FeatureGroup.from_json({**PEOPLE.to_json(), "version": 2, "access": "private"})
    asked = of_view(FeatureView("risk", groups=[later], owner="team:people"))
    read = frozenset([grant("service:x read group people"), grant("service:x pii group people")])
    assert decide(token(), "read", asked, read).masked == set()
    assert not decide(token(), "read", asked, frozenset()).allowed
