"""When requests are traced, and that a collector that does not answer keeps no process from ending."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Mapping

import pytest

from feature_store.errors import StackError
from serving.parts import Parts
from serving.traces.settings import traces_wanted
from serving.traces.spans import Traces, describe, is_traced
from tests.conftest import PATIENCE_SECONDS

HERE = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}
OTLP = {"OTEL_TRACES_EXPORTER": "otlp"}
VARIABLES = ("OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG", "OTEL_SDK_DISABLED", "OTEL_EXPORTER_OTLP_HEADERS")


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({}, False),
        (HERE, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c/v1/traces"}, True),
        (OTLP, True),
        ({**HERE, "OTEL_TRACES_EXPORTER": "none"}, False),
        ({**HERE, "OTEL_SDK_DISABLED": "true"}, False),
        ({**HERE, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, True),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, False),
    ],
)
def test_the_variables_of_opentelemetry_say_whether_requests_are_traced(
    environ: Mapping[str, str], wanted: bool
) -> None:
    assert traces_wanted(environ) is wanted


@pytest.mark.parametrize(
    ("environ", "where"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER"),
        ({**HERE, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_PROTOCOL"),
        ({**OTLP, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json"}, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"),
    ],
)
def test_what_cannot_be_done_is_refused(environ: Mapping[str, str], where: str) -> None:
    with pytest.raises(StackError) as error:
        traces_wanted(environ)
    assert (error.value.code, error.value.where) == ("traces-exporter", where)


def test_a_collector_that_never_answers_does_not_keep_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "4")  # longer than the process waits
        traces = Traces()
        assert not is_traced()
        with traces.request("GET /", {b"traceparent": "é".encode("latin-1")}, {}):
            assert is_traced()
            describe(rows=1)
            with traces.round(3) as span:
                assert span.is_recording()
        assert not is_traced()
        began = time.monotonic()
        traces.close()
        assert time.monotonic() - began < PATIENCE_SECONDS
    for thread in threading.enumerate():
        if thread.name.startswith("Otel"):
            thread.join()  # what it does is nothing for the next test


def test_without_traces_nothing_has_to_be_closed() -> None:
    Parts().close()
