"""The route that records a group given as JSON, and tells Dagster of it."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from feature_store.errors import DefinitionError, DefinitionErrors, InputError
from feature_store.plan.online_stores import unknown_store
from feature_store.registry.access.decision import Decision, Guarded
from feature_store.registry.access.tokens import Action, Token
from feature_store.registry.registration import Registration, register_group
from feature_store.registry.store import Registry
from serving.auth import Gate
from serving.dagster import DagsterServer
from serving.mirror import RegistryMirror
from serving.rest.bodies import read_body
from serving.rest.documents import Outcome, RegistrationAnswer
from serving.rest.problems import Fault, FaultyBodyError

_ANONYMOUS = "rest"
"""Who registers where no token is needed."""
_OUTCOMES: dict[str, Outcome] = {"create": "created", "update": "updated"}


class RegistrationRoutes:
    """Registers groups, one at a time; what is wrong becomes a problem.

    Args:
        seconds: how long a body may take to arrive.
        online_stores: the names of online stores that groups may name.
    """

    def __init__(
        self,
        registry: Registry,
        mirror: RegistryMirror,
        gate: Gate,
        dagster: DagsterServer,
        seconds: float,
        online_stores: Collection[str] = (),
    ) -> None:
        self._seconds = seconds
        self._registry = registry
        self._online_stores = online_stores
        self._mirror = mirror
        self._gate = gate
        self._dagster = dagster
        self._turn = asyncio.Lock()

    @property
    def routes(self) -> list[Route]:
        """The routes, for the application."""
        return [Route("/feature-groups", self.register, methods=["POST"])]

    async def register(self, request: Request) -> Response:
        """Records the group in the body; with `plan=true` it says what that would change."""
        token = request.state.token
        only_plan = _flag(request, "plan")
        given = _definition(await read_body(request.receive, self._seconds), request.headers.get("content-type", ""))
        async with self._turn:  # planning takes time of the interpreter, which reads of vectors want, too
            done = await asyncio.to_thread(self._register, given, token, only_plan)
        return await self._answer(done, only_plan)

    def _register(self, given: Any, token: Token | None, only_plan: bool) -> Registration:
        def decide(action: Action, asked: Guarded) -> Decision:
            return self._gate.decide(token, action, asked)

        by = _ANONYMOUS if token is None else f"{token.principal} (token {token.name})"
        try:
            self._check_store(given)
            return register_group(self._registry, given, by, decide, only_plan=only_plan)
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

    def _check_store(self, given: Any) -> None:
        name = given.get("online_store") if isinstance(given, dict) else None
        if isinstance(name, str) and name and name not in self._online_stores:
            raise DefinitionErrors([unknown_store(name, "/online_store")])

    async def _answer(self, done: Registration, only_plan: bool) -> Response:
        group, change = done.group, done.change
        content = RegistrationAnswer(
            id=group.id,
            url=f"/feature-groups/{group.id}",
            outcome="planned" if only_plan else _OUTCOMES[change.action] if change else "unchanged",
            changes=[each.to_json() | {"breaking": each.breaking, "remedy": each.remedy} for each in done.plan.changes],
            definition={**group.to_json(), "entity": group.entity.name},
        )
        created = False
        if done.plan_id is not None:
            created = change is not None and change.action == "create"
            await self._mirror.follow(done.plan_id)
            content.plan = done.plan_id
            content.dagster = await self._dagster.reload()
            content.to_code = f"./fs export {group.id} prints it for feature_defs/"
        headers = {"location": content.url} if created else None
        return Response(msgspec.json.encode(content), 201 if created else 200, headers, media_type="application/json")


def _flag(request: Request, name: str) -> bool:
    said = request.query_params.get(name, "false")
    if said not in ("true", "false"):
        raise InputError(
            f"{name} is true or false, not {said[:80]!r}",
            where="query",
            remedy=f"write {name}=true, or leave it out",
            code="malformed-request",
        )
    return said == "true"


def _definition(body: bytes, content_type: str) -> Any:
    """The JSON in a body.

    Raises:
        InputError: if there is none, or a text in it cannot be stored.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind not in ("", "application/json"):
        raise InputError(
            f"a body of type {kind!r} cannot be read",
            where="Content-Type",
            remedy="send application/json",
            code="media-type",
        )
    try:
        given = msgspec.json.decode(body)
        if any("\0" in text for text in texts_in(given)):
            raise ValueError("a text has the character U+0000")
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"the body cannot be read: {error or type(error).__name__}",
            where="body",
            remedy="send the definition as JSON; GET /feature-groups/{id} shows one",
            code="malformed-request",
        ) from None
    return given


def texts_in(value: Any) -> Iterator[str]:
    """All texts in a JSON value, the names of fields among them."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, item in value.items():
            yield name
            yield from texts_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts_in(item)


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
