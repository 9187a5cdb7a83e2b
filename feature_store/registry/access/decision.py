"""The one place where access is decided: who may do what to a group or a view, and which columns are masked.

Nothing here reads or writes anything; all that a decision depends on is an argument of `decide`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from typing import Literal, get_args

from feature_store.dsl.access import Access
from feature_store.errors import AccessError
from feature_store.registry.access.tokens import Action, Principal, Token
from feature_store.registry.records import GroupRecord, Kind, ViewRecord

Scope = Literal["read", "write", "admin", "pii"]
"""What a grant gives: an action, or the sight of personal data in what may be read."""
GRANT_SCOPES: tuple[Scope, ...] = get_args(Scope)


@dataclass(frozen=True)
class Grant:
    """What a principal may do with all versions of a group or a view; "admin" holds read and write, and never pii."""

    principal: Principal
    kind: Kind
    name: str
    scope: Scope


@dataclass(frozen=True)
class Guarded:
    """What a decision has to know of a group or a view.

    Args:
        id: name and version: "user_orders@1".
        groups: of a view, those that it reads.
        pii: for each column of personal data, as readers get it, the ids of the groups that it comes from.
    """

    kind: Kind
    id: str
    owner: str
    access: Access = "public"
    groups: tuple[Guarded, ...] = ()
    pii: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name, which grants go by."""
        return self.id.partition("@")[0]

    def __str__(self) -> str:
        return f"feature {self.kind} {self.id}"


@dataclass(frozen=True)
class Decision:
    """Whether an action is allowed; if not, why and what to do; if it is, which columns the caller must not see."""

    allowed: bool
    reason: str = ""
    remedy: str = ""
    masked: frozenset[str] = frozenset()

    def require(self) -> Decision:
        """The decision, if it allows the action.

        Raises:
            AccessError: if it does not.
        """
        if not self.allowed:
            raise AccessError(self.reason, remedy=self.remedy, code="access-denied")
        return self


def guarded_group(group: GroupRecord) -> Guarded:
    """A recorded group, as a decision sees it."""
    of_itself = frozenset([group.id])
    return Guarded("group", group.id, group.owner, group.access, pii=dict.fromkeys(group.pii, of_itself))


def guarded_view(view: ViewRecord, groups: Iterable[GroupRecord]) -> Guarded:
    """A recorded view, as a decision sees it; `groups` are those it reads, as `Registry.readable` gives them."""
    read = {group.id: group for group in groups}
    pii: dict[str, frozenset[str]] = {}
    for reading in view.readings:
        group = read[reading.group]
        for name in group.pii if reading.features is None else group.pii.intersection(reading.features):
            pii[f"{reading.prefix}{name}"] = frozenset([group.id])
    for name, origins in view.origins.items():
        if sources := frozenset(group for group, feature in origins if feature in read[group].pii):
            pii[name] = sources
    return Guarded("view", view.id, view.owner, view.access, tuple(map(guarded_group, read.values())), pii)


def decide(token: Token, action: Action, asked: Guarded, grants: Set[Grant]) -> Decision:
    """Whether the bearer of a token may do something to a group or a view.

    - The token's scopes bound everything.
    - A team may do everything with what it owns.
    - Everybody may read what is public. To read what is private takes a grant, also for an administrator.
    - To write or administer what others own takes a grant, or the scope admin.
    - A view may be read if it and each group that it reads may be read.
    - Personal data are masked unless the team owns the group that they come from, or has its grant pii.

    Args:
        token: of a caller who is authenticated; that it is live is not looked at again.
        grants: all that there are.
    """
    if not token.permits(action):
        return Decision(
            False, f"the token {token.name} has not the scope {action}", f"use a token with --scope {action}"
        )
    for each in (asked, *asked.groups) if action == "read" else (asked,):
        if not _may(token, action, each, grants):
            return _refusal(token.principal, action, each)
    return Decision(True, masked=_masked(token.principal, asked, grants) if action == "read" else frozenset())


def _may(token: Token, action: Action, asked: Guarded, grants: Set[Grant]) -> bool:
    """Whether the action is allowed on one group or view by itself, within the scopes of the token."""
    open_to_all = asked.access == "public" if action == "read" else "admin" in token.scopes
    return open_to_all or _owns(token.principal, asked) or _granted(token.principal, asked, grants, action, "admin")


def _refusal(principal: Principal, action: Action, asked: Guarded) -> Decision:
    view = " --view" if asked.kind == "view" else ""
    return Decision(
        False,
        f"{principal} may not {_VERBS[action]} the {asked}, which {asked.owner} owns",
        f"ask for it: ./fs grant {principal} {action} {asked.name}{view}",
    )


_VERBS: dict[Action, str] = {"read": "read", "write": "write", "admin": "administer"}


def _masked(principal: Principal, asked: Guarded, grants: Set[Grant]) -> frozenset[str]:
    if not asked.pii:
        return frozenset()
    groups = asked.groups if asked.kind == "view" else (asked,)
    hidden = {each.id for each in groups if not (_owns(principal, each) or _granted(principal, each, grants, "pii"))}
    return frozenset(column for column, sources in asked.pii.items() if not hidden.isdisjoint(sources))


def _owns(principal: Principal, asked: Guarded) -> bool:
    return principal.kind == "team" and asked.owner == str(principal)


def _granted(principal: Principal, asked: Guarded, grants: Set[Grant], *scopes: Scope) -> bool:
    return any(Grant(principal, asked.kind, asked.name, scope) in grants for scope in scopes)
