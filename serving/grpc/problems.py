"""Errors as statuses of gRPC: the table is that of the problems over HTTP."""

from __future__ import annotations

import grpc

from feature_store.errors import FeatureStoreError
from serving.rest.problems import headers_of, status_of

_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    409: grpc.StatusCode.FAILED_PRECONDITION,
    410: grpc.StatusCode.FAILED_PRECONDITION,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
}
"""By the HTTP status."""
_MOST_DETAILS, _MOST_WHERE, _MOST_REMEDY = 1_000, 500, 2_000
"""Bytes: clients take 8 KiB of metadata in all, and details are sent with up to three bytes for each."""

Metadata = tuple[tuple[str, str | bytes], ...]


def code_of(error: FeatureStoreError) -> grpc.StatusCode:
    """The gRPC status of an error."""
    if error.code == "busy":
        return grpc.StatusCode.RESOURCE_EXHAUSTED
    return _CODES.get(status_of(error), grpc.StatusCode.INTERNAL)


def details_of(error: FeatureStoreError) -> str:
    """What people are told: place, message, remedy and code."""
    return _cut(str(error), _MOST_DETAILS).decode()


def trailers_of(error: FeatureStoreError, request_id: str) -> Metadata:
    """What programs are told."""
    wait = headers_of(error).get("retry-after")
    return (
        ("x-request-id", request_id),
        ("code", error.code),
        ("http-status", str(status_of(error))),
        *((("retry-after", wait),) if wait else ()),
        ("where-bin", _cut(error.where, _MOST_WHERE)),
        ("remedy-bin", _cut(error.remedy, _MOST_REMEDY)),
    )


def _cut(text: str, size: int) -> bytes:
    """The beginning of a text as UTF-8."""
    return text.encode(errors="replace")[:size].decode(errors="ignore").encode()
