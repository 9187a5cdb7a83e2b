"""Whether requests are traced: what OpenTelemetry's standard variables say."""

from __future__ import annotations

from collections.abc import Mapping

from feature_store.errors import StackError

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")


def traces_wanted(environ: Mapping[str, str]) -> bool:
    """Whether a collector is named, or the exporter otlp; OTEL_TRACES_EXPORTER=none and OTEL_SDK_DISABLED win.

    Raises:
        StackError: if another exporter or protocol is asked for.
    """
    exporter = environ.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    if exporter == "none" or environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    if exporter not in ("", "otlp"):
        raise _unknown(exporter, "OTEL_TRACES_EXPORTER", "write otlp or none")
    if not exporter and not any(environ.get(name) for name in _ENDPOINTS):
        return False
    for name in _PROTOCOLS:
        protocol = environ.get(name, "").strip().lower()
        if protocol not in ("", "http/protobuf"):
            raise _unknown(protocol, name, "write http/protobuf, and the collector's port for HTTP, usually 4318")
    return True


def _unknown(value: str, where: str, remedy: str) -> StackError:
    return StackError(f"traces cannot be sent by {value!r}", where=where, remedy=remedy, code="traces-exporter")
