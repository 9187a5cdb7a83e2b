"""Spans of requests and of what they wait for, sent to a collector in the background."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from feature_store.online.read.observation import COMPUTATION
from feature_store.plan.schema import ViewSchema

_CLOSE_SECONDS = 2.0
"""How long the last spans may take when the process ends."""
_PROPAGATOR = TraceContextTextMapPropagator()
Attributes = Mapping[str, str | int]


class Traces:
    """The traces of one server process; made in the process itself, as it starts a thread.

    Where they are sent, how many requests are traced, and in what batches is said by OpenTelemetry's variables.
    """

    def __init__(self) -> None:
        named = "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "") or "OTEL_SERVICE_NAME" in os.environ
        resource = Resource.create({} if named else {SERVICE_NAME: "feature-store"})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("feature_store.serving")

    @contextmanager
    def request(self, name: str, headers: Mapping[bytes, bytes], attributes: Attributes) -> Iterator[Span]:
        """A span of a request, of the trace that its `traceparent` names."""
        given = {of: headers[of.encode()].decode("latin-1") for of in _PROPAGATOR.fields if of.encode() in headers}
        parent = _PROPAGATOR.extract(given, Context())
        with self._tracer.start_as_current_span(
            name, parent, SpanKind.SERVER, dict(attributes), record_exception=False, set_status_on_exception=False
        ) as span:
            observed = COMPUTATION.set(self._computation if span.is_recording() else None)
            try:
                yield span
            finally:
                COMPUTATION.reset(observed)

    @contextmanager
    def round(self, keys: int) -> Iterator[Span]:
        """A span of a round to Redis in that of the request."""
        with self._tracer.start_as_current_span(
            "redis", kind=SpanKind.CLIENT, attributes={"db.system.name": "redis", "feature_store.keys": keys}
        ) as span:
            yield span

    @contextmanager
    def _computation(self, view: ViewSchema, rows: int) -> Iterator[None]:
        """A span of the on-demand features of a view in that of the request."""
        names = [column.name for column in view.on_demand]
        span = self._tracer.start_span(
            "on-demand", attributes={"feature_store.features": names, "feature_store.rows": rows}
        )
        try:
            yield
        finally:
            span.end()

    def close(self) -> None:
        """Sends what there is, within some seconds."""
        ending = threading.Thread(target=self._provider.shutdown, daemon=True)
        ending.start()
        ending.join(_CLOSE_SECONDS)


def is_traced() -> bool:
    """Whether the request at hand is one of those that are traced."""
    return get_current_span().is_recording()


def describe(**attributes: str | int) -> None:
    """Adds to the span of the request at hand."""
    get_current_span().set_attributes({f"feature_store.{name}": value for name, value in attributes.items()})


def fail(span: Span) -> None:
    """Marks a span of a request whose failure is the server's."""
    span.set_status(Status(StatusCode.ERROR))
