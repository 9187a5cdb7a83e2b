"""What the process that registers groups is asked, and how it answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from feature_store.errors import DefinitionError, DefinitionErrors, InputError
from feature_store.plan.online_stores import unknown_store
from feature_store.registry.access.decision import Decision, Grant, Guarded, decide
from feature_store.registry.access.tokens import Action, Token
from feature_store.registry.registration import register_group
from feature_store.registry.store import Registry
from serving.rest.documents import Outcome, RegistrationAnswer
from serving.rest.problems import Fault, FaultyBodyError

_ANONYMOUS = "rest"
"""Who registers where no token is needed."""
_OUTCOMES: dict[str, Outcome] = {"create": "created", "update": "updated"}


@dataclass(frozen=True)
class Order:
    """A group to register.

    Attributes:
        body: the group as JSON.
        token: of who registers it; None where none is needed.
        grants: by which it is decided what its bearer may do.
        only_plan: whether to say what would change, and to change nothing.
        online_stores: the names of those that the group may name.
    """

    body: bytes
    token: Token | None
    grants: frozenset[Grant]
    only_plan: bool
    online_stores: frozenset[str]


def register(registry: Registry, order: Order) -> RegistrationAnswer:
    """Records the group of an order, or plans it.

    Raises:
        InputError: if the body cannot be read, or the definition has faults; `FaultyBodyError` with all of them.
        AccessError, ConflictError, StackError: as `register_group`.
    """
    token, given = order.token, _read(order.body)

    def allowed(action: Action, asked: Guarded) -> Decision:
        return Decision(True) if token is None else decide(token, action, asked, order.grants)

    by = _ANONYMOUS if token is None else f"{token.principal} (token {token.name})"
    try:
        _check_store(given, order.online_stores)
        done = register_group(registry, given, by, allowed, only_plan=order.only_plan)
    except DefinitionErrors as error:
        faults = [*_faults(error.errors, given)]
        wrong = InputError(
            f"the definition has {len(faults)} {'fault' if len(faults) == 1 else 'faults'}: {faults[0].detail}",
            where="body",
            remedy="correct what errors names; docs/definitions.schema.json is the form",
            code="wrong-definition",
        )
        raise FaultyBodyError(wrong, faults) from error
    except RecursionError:
        raise InputError(
            "the definition is nested too deeply", where="body", remedy="simplify it", code="malformed-request"
        ) from None
    group, change = done.group, done.change
    return RegistrationAnswer(
        id=group.id,
        url=f"/feature-groups/{group.id}",
        outcome="planned" if order.only_plan else _OUTCOMES[change.action] if change else "unchanged",
        changes=[each.to_json() | {"breaking": each.breaking, "remedy": each.remedy} for each in done.plan.changes],
        definition={**group.to_json(), "entity": group.entity.name},
        plan=done.plan_id,
    )


def _read(body: bytes) -> Any:
    """The JSON in a body.

    Raises:
        InputError: if there is none, or a text in it cannot be stored.
    """
    try:
        given = msgspec.json.decode(body)
        if any("\0" in text for text in _texts(given)):
            raise ValueError("a text has the character U+0000")
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"the body cannot be read: {error or type(error).__name__}",
            where="body",
            remedy="send the definition as JSON; GET /feature-groups/{id} shows one",
            code="malformed-request",
        ) from None
    return given


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, item in value.items():
            yield name
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)


def _check_store(given: Any, known: frozenset[str]) -> None:
    name = given.get("online_store") if isinstance(given, dict) else None
    if isinstance(name, str) and name and name not in known:
        raise DefinitionErrors([unknown_store(name, "/online_store")])


def _faults(errors: tuple[DefinitionError, ...], given: Any) -> Iterator[Fault]:
    for error in errors:
        yield Fault(_pointer(error, given), error.message, error.code, error.remedy)


_FIELDS = ("owner", "version", "ttl")
"""Codes of what is wrong in the field of this name."""
_MEMBERS = {"computed column": "columns", "derived feature": "derived"}


def _pointer(error: DefinitionError, given: Any) -> str:
    """The place in the body of what a check names: "group user_orders@1, feature user_order_count_30d"."""
    if not error.where or error.where.startswith("/"):
        return error.where
    kind, _, name = error.where.partition(", ")[2].rpartition(" ")
    if kind == "feature":
        names = [feature["name"] for feature in given["features"]]
        return f"/features/{names.index(name)}"
    if kind in _MEMBERS:
        return f"/{_MEMBERS[kind]}/{name}"
    field = name or (error.code if error.code in _FIELDS else "")
    return f"/{field}" if field in given else ""
