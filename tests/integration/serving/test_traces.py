"""Traces of a real server, as a collector gets them over HTTP: which requests, what of them, in whose trace."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from feature_store.registry.store import Registry
from feature_store.remote.online_pb2 import Column, Input, ReadRequest
from tests.conftest import PATIENCE_SECONDS
from tests.integration.serving.conftest import address_of
from tests.integration.serving.grpc_client import stub_of
from tests.integration.serving.server_process import ServerProcess
from tests.integration.serving.shop import Shop

ROOTS = 60
"""Requests without a trace, of which half is traced."""
PARENT = "00f067aa0ba902b7"
RANKING = "/feature-views/{id}/online"


@dataclass(frozen=True)
class Span:
    """A span as it came."""

    trace: str
    id: str
    parent: str
    name: str
    failed: bool
    attributes: dict[str, Any]


class Collector(ThreadingHTTPServer):
    """Takes what it is sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.spans: list[Span] = []
        self.services: set[str] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def take(self, body: bytes) -> None:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.services.add(_attributes(resource.resource.attributes)["service.name"])
            for span in (span for scope in resource.scope_spans for span in scope.spans):
                assert span.start_time_unix_nano < span.end_time_unix_nano
                identity = span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex()
                self.spans.append(Span(*identity, span.name, span.status.code == 2, _attributes(span.attributes)))

    def of(self, trace: int) -> list[Span]:
        return [span for span in self.spans if span.trace == f"{trace:032x}"]


def _attributes(given: Sequence[Any]) -> dict[str, Any]:
    found = {}
    for each in given:
        kind = each.value.WhichOneof("value")
        value = getattr(each.value, kind)
        found[each.key] = [item.string_value for item in value.values] if kind == "array_value" else value
    return found


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        assert self.path == "/v1/traces"
        self.server.take(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Says nothing."""


@contextmanager
def collecting() -> Iterator[Collector]:
    with Collector() as collector:
        thread = threading.Thread(target=collector.serve_forever)
        thread.start()
        try:
            yield collector
        finally:
            collector.shutdown()
            thread.join()


def parent(trace: int, *, sampled: bool = True) -> dict[str, str]:
    return {"traceparent": f"00-{trace:032x}-{PARENT}-{int(sampled):02x}"}


def server_of(registry: Registry, folder: Any, endpoint: str) -> ServerProcess:
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
                 "OTEL_TRACES_SAMPLER_ARG": "0.5"}  # fmt: skip
    return ServerProcess(folder, address_of(registry), environment=variables)


@pytest.fixture(scope="module")
def collected(serving_registry: Registry, shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Collector:
    """Everything that a server has sent when it has ended."""
    assert shop.views
    with collecting() as collector:
        server = server_of(serving_registry, tmp_path_factory.mktemp("traces"), collector.url)
        server.start()
        try:
            ask(server)
        finally:
            server.stop()
    return collector


def ask(server: ServerProcess) -> None:
    """Requests of every kind, those of a trace each with a number of its own."""
    rows = {"rows": [{"user_id": "a", "item_id": 1}] * 3, "request": {"budget": 1.0, "asked_at": None}}
    ranking, users = "/feature-views/ranking/online", "/feature-groups/user_facts/online"
    sellers = "/feature-groups/seller_facts/online?entity_ids=a"
    found = [
        server.post(ranking, rows, parent(1) | {"X-Request-Id": "mine"}),
        server.post(ranking, rows, parent(2, sampled=False)),
        *(server.get(f"{users}?entity_ids=a", {"traceparent": each}) for each in ("nonsense", "00-0-0-01", "\xe9")),
        *(server.get(sellers, {"X-Request-Id": f"r{i}"}) for i in range(ROOTS)),
        server.get("/feature-groups/user_facts", parent(6)),
        server.get("/health", parent(7)),
        server.get("/feature-views/matching/online?item_id=1&buyer_id=a", parent(8)),
    ]
    assert {answer.status for answer in found} == {200}
    assert server.get("/feature-groups/nothing/online?entity_ids=a", parent(4)).status == 404
    assert server.get(users, parent(5)).status == 422
    with stub_of(server) as stub:
        keys = [Input(name="user_id", column=Column(strings=["a", "b"]))]
        stub.ReadGroup(ReadRequest(id="user_facts", keys=keys), timeout=PATIENCE_SECONDS, metadata=[*parent(9).items()])
        with pytest.raises(grpc.RpcError):
            stub.ReadGroup(
                ReadRequest(id="nothing", keys=keys), timeout=PATIENCE_SECONDS, metadata=[*parent(10).items()]
            )


def test_a_request_is_a_span_of_the_callers_trace_with_those_of_what_it_does(collected: Collector) -> None:
    request, *parts = sorted(collected.of(1), key=lambda span: span.parent != PARENT)
    assert (request.name, request.parent, request.failed) == (f"POST {RANKING}", PARENT, False)
    assert request.attributes == {
        "http.request.method": "POST",
        "http.route": RANKING,
        "http.response.status_code": 200,
        "feature_store.target": "ranking@1",
        "feature_store.rows": 3,
        "feature_store.request_id": "mine",
    }
    assert {span.parent for span in parts} == {request.id}
    by_name = {span.name: span.attributes for span in parts}
    assert by_name["on-demand"] == {"feature_store.features": ["rest", "until"], "feature_store.rows": 3}
    assert by_name["redis"] == {"db.system.name": "redis", "feature_store.keys": 6}
    assert collected.services == {"feature-store"}


def test_each_round_to_redis_is_a_span(collected: Collector) -> None:
    assert sorted(span.name for span in collected.of(8)) == [f"GET {RANKING}", "redis", "redis"]


def test_what_the_caller_does_not_trace_is_not_traced(collected: Collector) -> None:
    assert collected.of(2) == []


def test_of_others_as_many_are_traced_as_the_variables_say(collected: Collector) -> None:
    roots = [span for span in collected.spans if span.attributes.get("feature_store.target") == "seller_facts@1"]
    assert 0 < len(roots) < ROOTS
    assert {span.parent for span in roots} == {""}
    assert len({span.trace for span in roots}) == len(roots)
    assert len({span.attributes["feature_store.request_id"] for span in roots}) == len(roots)


def test_errors_of_callers_are_spans_that_have_not_failed(collected: Collector) -> None:
    for trace, status in ((4, 404), (5, 422)):
        (span,) = collected.of(trace)
        assert (span.name, span.failed) == ("GET /feature-groups/{id}/online", False)
        assert span.attributes["http.response.status_code"] == status


def test_other_routes_are_traced_but_not_probes(collected: Collector) -> None:
    (span,) = collected.of(6)
    assert (span.name, span.parent) == ("GET /feature-groups/{id}", PARENT)
    assert span.attributes["http.response.status_code"] == 200
    assert collected.of(7) == []


def test_calls_over_grpc_are_traced(collected: Collector) -> None:
    request = next(span for span in collected.of(9) if span.parent == PARENT)
    assert request.name == "feature_store.v1.Online/ReadGroup"
    assert request.attributes == {
        "rpc.system": "grpc",
        "rpc.service": "feature_store.v1.Online",
        "rpc.method": "ReadGroup",
        "rpc.grpc.status_code": 0,
        "feature_store.target": "user_facts@1",
        "feature_store.rows": 2,
    }
    assert {span.name for span in collected.of(9)} == {request.name, "redis"}
    (refused,) = collected.of(10)
    assert (refused.attributes["rpc.grpc.status_code"], refused.failed) == (grpc.StatusCode.NOT_FOUND.value[0], False)
