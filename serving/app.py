"""The server as one ASGI application: online reads directly, everything else by Starlette."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route

from feature_store.errors import FeatureStoreError, InputError, NotFoundError, StackError, TokenError
from feature_store.online.connection import node_urls
from feature_store.online.native.core import NativeCore
from feature_store.online.native.loader import CoreState, open_core
from feature_store.online.read.cache import ValueCache
from feature_store.online.read.functions import FunctionThreads
from feature_store.online.read.multiplexed import MultiplexedReader
from feature_store.online.read.node import NodeAddress
from feature_store.online.read.recognition import RedisStore
from feature_store.registry.store import Registry
from serving.auth import Gate
from serving.cache_metrics import CacheMetrics
from serving.calls import request_id_of, server_failure
from serving.certificates import ServerCertificate
from serving.dagster import DagsterServer
from serving.freshness_metrics import FreshnessMetrics
from serving.function_metrics import FunctionMetrics
from serving.grpc.server import GrpcServer
from serving.metrics import ServingMetrics
from serving.mirror import RegistryMirror
from serving.parts import parts_of
from serving.rate import RateLimits
from serving.redis_metrics import RedisWaits
from serving.registrar.registrar import Registrar
from serving.rest.catalog import CatalogRoutes
from serving.rest.json_answers import json_answer
from serving.rest.models import ModelRoutes
from serving.rest.online import Receive, Scope, Send, call_of
from serving.rest.openapi import docs_page, openapi_document
from serving.rest.problems import PROBLEM_JSON, encode_problem
from serving.rest.registration import RegistrationRoutes
from serving.rest.skew import SkewRoutes
from serving.rest.training import TrainingRoutes
from serving.samples import ServedSamples
from serving.settings import DRAIN_SECONDS, ServingSettings
from serving.usage import UsageCounts
from serving.workers.place import WorkerPlace

_log = logging.getLogger(__name__)
_COLLECT_AFTER = 20_000
"""Objects that may be made before circles of them are looked for."""
_OPEN = ("/health", "/ready", "/docs", "/openapi.json", "/errors/")
"""Paths that need no token."""


class ServingApp:
    """The application of one server process.

    Args:
        settings: where its services are.
        place: of this process among several of one server.
    """

    def __init__(self, settings: ServingSettings, place: WorkerPlace | None = None) -> None:
        self._place = place
        self._core = CoreState() if settings.native is None else open_core(settings.native)
        registry = Registry(settings.registry_url)
        self._mirror = RegistryMirror(registry, settings.snapshot, settings.packages, self._core.core)
        self._store = _store_at(settings.redis_url, settings, self._core.core)
        self._named = {name: _store_at(url, settings, self._core.core) for name, url in settings.online_stores.items()}
        self._usage = UsageCounts(registry)
        self._samples = ServedSamples(self._store)
        self._cache = cache = ValueCache(settings.cache) if settings.cache else None
        functions = FunctionThreads(settings.function_limit)
        self._metrics = ServingMetrics(lambda: all(store.is_up for store in self._stores), lambda: self._mirror.age)
        self._parts = parts = parts_of(settings)
        waits = RedisWaits()
        for part in (waits, FunctionMetrics(functions), FreshnessMetrics(lambda: self._mirror.definitions)):
            self._metrics.add(part)
        if cache is not None:
            self._metrics.add(CacheMetrics(cache))
        limits = RateLimits(settings.rate, processes=settings.processes)
        self._gate = Gate(lambda: self._mirror.access, required=settings.tokens_required, limits=limits)
        timed = {name: parts.store(store, waits) for name, store in self._named.items()}
        core = parts.core(
            MultiplexedReader(parts.store(self._store, waits), timed, cache, functions),
            lambda: self._mirror.definitions,
            self._metrics,
            self._usage,
            self._samples,
            self._gate,
            self._core.core,
        )
        self.online = parts.routes(core, settings.request_seconds)
        self.direct = parts.direct(core, self.online, waits)
        self.certificate = None if settings.tls is None else ServerCertificate(settings.tls)
        if self.certificate is not None:
            self._metrics.add(self.certificate)
        self._grpc = GrpcServer(
            parts.service(core),
            settings.serving_host,
            settings.serving_grpc_port,
            self.certificate,
            lambda: self._is_ready,
            is_shared=place is not None,
        )
        self._is_draining = False
        models = ModelRoutes(lambda: self._mirror.definitions)
        catalog = CatalogRoutes(lambda: self._mirror.definitions, registry)
        self._registrar = Registrar(settings.registry_url)
        registration = RegistrationRoutes(
            self._registrar,
            self._mirror,
            self._gate,
            DagsterServer(settings.dagster_url),
            settings.request_seconds,
            self._named,
        )
        skew = SkewRoutes(lambda: self._mirror.definitions, registry, self._gate)
        self._training = TrainingRoutes(
            registry,
            lambda: self._mirror.definitions,
            self._gate,
            settings.request_seconds,
            settings.training.at(settings.dagster_url),
            settings.packages,
        )
        own = [Route("/health", self._health), Route("/ready", self._ready), Route("/metrics", self._show_metrics)]
        own += [Route("/openapi.json", _openapi), Route("/docs", _docs)]
        self._rest = parts.rest(
            Starlette(
                routes=[
                    *own,
                    *registration.routes,
                    *self._training.routes,
                    *skew.routes,
                    *catalog.routes,
                    *models.routes,
                ],
                lifespan=self._lifespan,
                exception_handlers={FeatureStoreError: _problem, HTTPException: _problem, Exception: _problem},
            )
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (call := call_of(scope["path"])) is not None:
            answer = await self.online.answer(
                call, scope["method"], scope["query_string"], dict(scope["headers"]), receive
            )
            await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
            await send({"type": "http.response.body", "body": answer.body})
        elif scope["type"] == "http" and not scope["path"].startswith(_OPEN):
            await self._rest_for_callers(scope, receive, send)
        else:
            await self._rest(scope, receive, send)

    def drain(self) -> None:
        """Is called once, when the process is to end: from now on it is not ready, and takes no calls over gRPC."""
        self._is_draining = True
        self._grpc.drain(DRAIN_SECONDS)

    @property
    def _stores(self) -> tuple[RedisStore, ...]:
        return (self._store, *self._named.values())

    @property
    def _is_ready(self) -> bool:
        return self._mirror.is_loaded and not self._is_draining

    async def _rest_for_callers(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers who has a token, where one is needed, and does not ask too often."""
        try:
            token = self._gate.caller(dict(scope["headers"]))
        except (TokenError, StackError) as error:
            self._metrics.shed.note(error)
            await _problem(Request(scope), error)(scope, receive, send)
            return
        scope.setdefault("state", {})["token"] = token  # asked for once: each time counts for its limit
        await self._rest(scope, receive, send)

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as held:
            await asyncio.gather(*map(held.enter_async_context, self._stores))
            await asyncio.to_thread(self._mirror.refresh)
            await self._grpc.start()
            gc.collect()
            gc.freeze()  # what lives as long as the process need not be looked at again
            gc.set_threshold(_COLLECT_AFTER)  # requests leave no cycles: looking for some took 5 % of the CPU
            tasks = [
                asyncio.create_task(each.run()) for each in (self._mirror, self._usage, self._samples, self._training)
            ]
            if self.certificate is not None:
                tasks.append(asyncio.create_task(self.certificate.run()))
            if self._place is not None:
                tasks.append(asyncio.create_task(self._place.run(self._metrics)))
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
                with suppress(asyncio.CancelledError):
                    await asyncio.gather(*tasks)
                await self._grpc.stop()
                await self._registrar.close()
                await self._usage.flush()
                await self._samples.flush()
                await asyncio.to_thread(self._parts.close)

    async def _health(self, _: Request) -> Response:
        """Whether the process works, and what it misses; always 200 while it can answer."""
        mirror, are_up = self._mirror, all(store.is_up for store in self._stores)
        certificate = None if self.certificate is None else self.certificate.health
        is_whole = are_up and not mirror.trouble and not (certificate and certificate["trouble"])
        return json_answer(
            {
                "status": "ok" if is_whole else "degraded",
                "redis": _health_of(self._store),
                "online_stores": {name: _health_of(store) for name, store in self._named.items()},
                "native": {"used": self._core.core is not None, "trouble": self._core.trouble},
                "registry": {"up": not mirror.trouble, "trouble": mirror.trouble, "age": mirror.age},
                "certificate": certificate,
                "cache": None if self._cache is None else self._cache.summary,
                "definitions": {
                    "plan": mirror.definitions.snapshot.plan_id,
                    "served": len(mirror.definitions.served),
                    "refused": {name: str(error) for (_, name), error in mirror.definitions.refused.items()},
                },
                **self._workers(),
            }
        )

    async def _ready(self, _: Request) -> Response:
        """Whether requests should be sent here."""
        if self._is_ready:
            return json_answer({"ready": True, **self._workers()})
        reason = self._mirror.trouble or "it is shutting down"
        return json_answer({"ready": False, "reason": reason, **self._workers()}, 503)

    def _workers(self) -> dict[str, Any]:
        return {"workers": self._place.health()} if self._place is not None else {}

    async def _show_metrics(self, _: Request) -> Response:
        if self._place is not None:
            text = await asyncio.to_thread(self._place.text, self._metrics)
        else:
            text = self._metrics.text()
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


def _store_at(url: str, settings: ServingSettings, core: NativeCore | None) -> RedisStore:
    return RedisStore(
        [NodeAddress.parse(each) for each in node_urls(url)],
        deadline=settings.deadline,
        most_waiting=settings.most_waiting,
        replicas=settings.replicas,
        core=core,
    )


def _health_of(store: RedisStore) -> dict[str, Any]:
    troubles = store.troubles
    return {"up": store.is_up, "trouble": "; ".join(troubles.values()), "down": troubles}


async def _openapi(_: Request) -> Response:
    return json_answer(openapi_document())


async def _docs(request: Request) -> Response:
    return Response(docs_page(str(request.base_url).rstrip("/")), media_type="text/html")


def _problem(request: Request, error: Exception) -> Response:
    """Any error as a problem."""
    request_id, headers = request_id_of(dict(request.scope["headers"])), dict[str, str]()
    if isinstance(error, HTTPException):
        headers = {"allow": _methods_of(request)} if error.status_code == 405 else {}
        error = _route_error(request, error)
    elif not isinstance(error, FeatureStoreError):
        _log.error("request %s to %s failed", request_id, request.url.path, exc_info=error)
        error = server_failure()
    assert isinstance(error, FeatureStoreError)
    status, body, extra = encode_problem(error, request_id)
    return Response(body, status, {"x-request-id": request_id, **extra, **headers}, PROBLEM_JSON)


def _methods_of(request: Request) -> str:
    """The methods that are answered at an address; several routes may have it."""
    routes = (route for route in request.app.routes if route.matches(request.scope)[0] is not Match.NONE)
    return ", ".join(sorted({method for route in routes for method in route.methods}))


def _route_error(request: Request, error: HTTPException) -> FeatureStoreError:
    where = f"{request.method} {request.url.path[:200]}"
    if error.status_code == 404:
        return NotFoundError("there is nothing at this address", where=where, remedy="see /docs", code="no-route")
    if error.status_code == 405:
        return NotFoundError("this method is not answered here", where=where, remedy="see /docs", code="wrong-method")
    return InputError(error.detail, where=where, code="malformed-request")
