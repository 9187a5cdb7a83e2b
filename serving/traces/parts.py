"""The parts of a server that make spans, in the place of those that make none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import grpc
from starlette.applications import Starlette
from starlette.types import ASGIApp, Message

from feature_store.online.read.decoding import UNREACHABLE, StoredValue
from feature_store.online.read.store import Keys, OnlineStore
from feature_store.online.vectors import OnlineVectors
from feature_store.registry.access.tokens import Token
from feature_store.registry.records import Kind
from serving.calls import Admission, OnlineCall, OnlineCore
from serving.grpc.service import OnlineService
from serving.parts import Parts
from serving.redis_metrics import RedisWaits, TimedStore
from serving.rest.online import Answer, Begun, OnlineRoutes, Receive, Scope, Send
from serving.traces.spans import Traces, describe, fail, is_traced

_PROBES = ("/health", "/ready", "/metrics")


class TracedCore(OnlineCore):
    """Says what a request reads, and how many rows."""

    def admit(self, call: OnlineCall, token: Token | None) -> Admission:
        admission = super().admit(call, token)
        describe(target=admission.served.id)
        return admission

    def note(
        self, call: OnlineCall, admission: Admission, vectors: OnlineVectors, headers: Mapping[bytes, bytes]
    ) -> None:
        super().note(call, admission, vectors, headers)
        describe(rows=len(vectors))


class TracedStore(TimedStore):
    """Makes a span of each round."""

    def __init__(self, store: OnlineStore, waits: RedisWaits, traces: Traces) -> None:
        super().__init__(store, waits)
        self._traces = traces

    async def values(self, keys: Keys, packed: bytes | None = None) -> Sequence[StoredValue]:
        if not is_traced():
            return await super().values(keys, packed)
        with self._traces.round(len(keys)) as span:
            values = await super().values(keys, packed)
            if lost := sum(value is UNREACHABLE for value in values):
                span.set_attribute("feature_store.unavailable", lost)
                fail(span)
            return values


class TracedRoutes(OnlineRoutes):
    """Makes a span of each request for vectors."""

    def __init__(self, core: OnlineCore, seconds: float, traces: Traces) -> None:
        super().__init__(core, seconds)
        self._traces = traces

    async def answer(
        self,
        call: OnlineCall,
        method: str,
        query_string: bytes,
        headers: Mapping[bytes, bytes],
        receive: Receive | None = None,
        begun: Begun | None = None,
    ) -> Answer:
        about = {"http.request.method": method, "http.route": call.route}
        with self._traces.request(f"{method} {call.route}", headers, about) as span:
            answer = await super().answer(call, method, query_string, headers, receive, begun)
            span.set_attribute("http.response.status_code", answer.status)
            span.set_attribute("feature_store.request_id", dict(answer.headers)[b"x-request-id"].decode("latin-1"))
            if answer.status >= 500:
                fail(span)
            return answer


class TracedService(OnlineService):
    """Makes a span of each call over gRPC."""

    def __init__(self, core: OnlineCore, traces: Traces) -> None:
        super().__init__(core)
        self._traces = traces

    async def _answer(
        self, route: str, kind: Kind | None, message: bytes, context: grpc.aio.ServicerContext[Any, Any]
    ) -> bytes:
        headers = {
            name.encode(): value.encode() for name, value in context.invocation_metadata() if isinstance(value, str)
        }
        service, _, method = route.strip("/").rpartition("/")
        about = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method}
        with self._traces.request(route.strip("/"), headers, about) as span:
            code = grpc.StatusCode.CANCELLED.value[0]
            try:
                answer = await super()._answer(route, kind, message, context)
                code = 0
                return answer
            except grpc.aio.AbortError:
                code = _number(context.code())
                raise
            finally:
                span.set_attribute("rpc.grpc.status_code", code)
                if code in _FAILURES:
                    fail(span)


_FAILURES = [code.value[0] for code in (grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE)]


def _number(code: grpc.StatusCode | int) -> int:
    return code if isinstance(code, int) else int(code.value[0])


class TracedRest:
    """Makes a span of each request that a framework answers, but for probes."""

    def __init__(self, app: ASGIApp, traces: Traces) -> None:
        self._app = app
        self._traces = traces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in _PROBES:
            await self._app(scope, receive, send)
            return
        method = scope["method"]
        with self._traces.request(method, dict(scope["headers"]), {"http.request.method": method}) as span:

            async def sent(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.set_attribute("http.response.status_code", message["status"])
                    if message["status"] >= 500:
                        fail(span)
                await send(message)

            await self._app(scope, receive, sent)
            if (route := scope.get("route")) is not None:
                span.update_name(f"{method} {route.path}")
                span.set_attribute("http.route", route.path)


class TracedParts(Parts):
    """The parts of a server process whose requests are traced."""

    core = TracedCore

    def __init__(self) -> None:
        self._traces = Traces()

    def store(self, store: OnlineStore, waits: RedisWaits) -> OnlineStore:
        return TracedStore(store, waits, self._traces)

    def routes(self, core: OnlineCore, seconds: float) -> OnlineRoutes:
        return TracedRoutes(core, seconds, self._traces)

    def direct(self, core: OnlineCore, routes: OnlineRoutes, waits: RedisWaits) -> None:
        """Nothing answers without the routes, which make the spans."""

    def service(self, core: OnlineCore) -> OnlineService:
        return TracedService(core, self._traces)

    def rest(self, app: Starlette) -> ASGIApp:
        return TracedRest(app, self._traces)

    def close(self) -> None:
        self._traces.close()
