"""The route that records a group given as JSON, and tells Dagster of it."""

from __future__ import annotations

from collections.abc import Collection

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from feature_store.errors import InputError
from serving.auth import Gate
from serving.dagster import DagsterServer
from serving.mirror import RegistryMirror
from serving.registrar.orders import Order
from serving.registrar.registrar import Registrar
from serving.rest.bodies import media_type, read_body
from serving.rest.documents import RegistrationAnswer
from serving.rest.json_answers import json_answer


class RegistrationRoutes:
    """Registers groups; what is wrong becomes a problem.

    Args:
        seconds: how long a body may take to arrive.
        online_stores: the names of online stores that groups may name.
    """

    def __init__(
        self,
        registrar: Registrar,
        mirror: RegistryMirror,
        gate: Gate,
        dagster: DagsterServer,
        seconds: float,
        online_stores: Collection[str] = (),
    ) -> None:
        self._seconds = seconds
        self._registrar = registrar
        self._online_stores = frozenset(online_stores)
        self._mirror = mirror
        self._gate = gate
        self._dagster = dagster

    @property
    def routes(self) -> list[Route]:
        """The routes, for the application."""
        return [Route("/feature-groups", self.register, methods=["POST"])]

    async def register(self, request: Request) -> Response:
        """Records the group in the body; with `plan=true` it says what that would change."""
        token = request.state.token
        only_plan = _flag(request, "plan")
        body = await read_body(request.receive, self._seconds)
        media_type(request.headers.get("content-type", ""), "application/json")
        order = Order(body, token, self._gate.grants, only_plan, self._online_stores)
        return await self._answer(await self._registrar.register(order))

    async def _answer(self, done: RegistrationAnswer) -> Response:
        created = False
        if done.plan is not None:
            created = done.outcome == "created"
            await self._mirror.follow(done.plan)
            done.dagster = await self._dagster.reload()
            done.to_code = f"./fs export {done.id} prints it for feature_defs/"
        headers = {"location": done.url} if created else None
        return json_answer(done, 201 if created else 200, headers)


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
