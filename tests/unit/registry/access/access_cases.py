"""Random tokens, grants, groups and views of a world that is small enough for all of them to meet."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from feature_store.registry.access.decision import GRANT_SCOPES, Grant, Guarded
from feature_store.registry.access.tokens import SCOPES, Principal, Token

PRINCIPALS = [
    Principal("team", "shop"),
    Principal("team", "ads"),
    Principal("service", "shop"),
    Principal("service", "x"),
]
OWNERS = ["team:shop", "team:ads", "ann@shop.example"]
NAMES = ["orders", "clicks"]
COLUMNS = ["email", "phone", "age"]
CREATED = datetime(2026, 1, 31, tzinfo=UTC)


def token(principal: Principal | str = "service:x", *scopes: Any, **changes: Any) -> Token:
    """A token of somebody, with the scope read unless said otherwise."""
    belongs_to = Principal.parse(principal) if isinstance(principal, str) else principal
    given = {"id": 1, "name": "t", "model": None, "created_at": CREATED, "created_by": "ann", **changes}
    return Token(principal=belongs_to, scopes=frozenset(scopes or ["read"]), **given)


def grant(text: str) -> Grant:
    """A grant written as "service:x read group orders"."""
    principal, scope, kind, name = text.split()
    return Grant(Principal.parse(principal), kind, name, scope)  # type: ignore[arg-type]


tokens = st.builds(token, st.sampled_from(PRINCIPALS), *[st.sampled_from(SCOPES)] * 3) | st.builds(
    token, st.sampled_from(PRINCIPALS), st.sampled_from(SCOPES)
)
actions = st.sampled_from(SCOPES)
accesses = st.sampled_from(["public", "private"])
grants = st.frozensets(
    st.builds(
        Grant,
        st.sampled_from(PRINCIPALS),
        st.sampled_from(["group", "view"]),
        st.sampled_from(NAMES),
        st.sampled_from(GRANT_SCOPES),
    ),
    max_size=12,
)


@st.composite
def groups(draw: st.DrawFn) -> Guarded:
    group_id = f"{draw(st.sampled_from(NAMES))}@{draw(st.integers(1, 2))}"
    personal = draw(st.sets(st.sampled_from(COLUMNS)))
    pii = {name: frozenset([group_id]) for name in personal}
    return Guarded("group", group_id, draw(st.sampled_from(OWNERS)), draw(accesses), pii=pii)


@st.composite
def views(draw: st.DrawFn) -> Guarded:
    read = draw(st.lists(groups(), min_size=1, max_size=3, unique_by=lambda group: group.id))
    ids = st.frozensets(st.sampled_from([group.id for group in read]), min_size=1)
    pii = draw(st.dictionaries(st.sampled_from([*COLUMNS, "computed"]), ids))
    name, owner = draw(st.sampled_from(NAMES)), draw(st.sampled_from(OWNERS))
    return Guarded("view", f"{name}@1", owner, draw(accesses), tuple(read), pii)


guarded = groups() | views()
