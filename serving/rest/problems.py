"""Errors as problem details (RFC 9457): what is wrong, where, what to do, and the code that `./fs errors` explains."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from feature_store.errors import (
    AccessError,
    ConflictError,
    DefinitionError,
    FeatureStoreError,
    InputError,
    NotFoundError,
    TokenError,
)
from feature_store.explanations.catalogue import explanation_of

PROBLEM_JSON = "application/problem+json"
_STATUSES = {
    "malformed-request": 400,
    "no-route": 404,
    "wrong-method": 405,
    "slow-request": 408,
    "retired": 410,
    "large-request": 413,
    "media-type": 415,
    "rate-limited": 429,
    "training-quota": 429,
    "server-failed": 500,
    "busy": 503,
}
"""Of codes that mean another status than their kind of error."""
_KINDS: tuple[tuple[type[FeatureStoreError], int], ...] = (
    (TokenError, 401),
    (AccessError, 403),
    (NotFoundError, 404),
    (ConflictError, 409),
    (InputError, 422),
    (DefinitionError, 503),  # recorded, but not to be had here: another server may have the function
)


_LATER, _LAST = {"retry-after": "1"}, {"connection": "close"}  # the rest of a request is not waited for
_HEADERS = {
    "busy": _LATER,
    "rate-limited": _LATER,
    "training-quota": {"retry-after": "30"},
    "slow-request": _LAST,
    "large-request": _LAST,
    "wrong-method": {"allow": "GET, HEAD, POST"},  # of the routes of vectors
}
_BY_STATUS = {401: {"www-authenticate": "Bearer"}}


class Fault(msgspec.Struct, omit_defaults=True):
    """One of several things that are wrong in a body.

    Attributes:
        pointer: the place in the body (RFC 6901).
    """

    pointer: str
    detail: str
    code: str
    remedy: str = ""


class Problem(msgspec.Struct, omit_defaults=True):
    """The body of an error.

    Attributes:
        type: where the code is explained.
        instance: the request's id, which is also in the server's log.
        errors: of a body with several faults, each of them.
    """

    type: str
    title: str
    status: int
    detail: str
    code: str
    instance: str
    where: str = ""
    remedy: str = ""
    errors: tuple[Fault, ...] = ()


class FaultyBodyError(InputError):
    """A body with faults, all of which the caller is told."""

    def __init__(self, error: InputError, faults: Sequence[Fault]) -> None:
        super().__init__(error.message, where=error.where, remedy=error.remedy, code=error.code)
        self.faults = tuple(faults)


def encode_problem(error: FeatureStoreError, request_id: str) -> tuple[int, bytes, dict[str, str]]:
    """An error as status and body of an answer, and the headers that only such an answer has."""
    problem = problem_of(error, request_id)
    return problem.status, msgspec.json.encode(problem), headers_of(error)


def headers_of(error: FeatureStoreError) -> dict[str, str]:
    """The headers that only the answer of this error has."""
    return _HEADERS.get(error.code, _BY_STATUS.get(status_of(error), {}))


def status_of(error: FeatureStoreError) -> int:
    """The HTTP status of an error."""
    if error.code in _STATUSES:
        return _STATUSES[error.code]
    return next((status for kind, status in _KINDS if isinstance(error, kind)), 503)


def problem_of(error: FeatureStoreError, request_id: str) -> Problem:
    """An error as the body of an answer."""
    try:
        title = explanation_of(error.code).title
    except NotFoundError:
        title = type(error).__name__
    return Problem(
        type=f"/errors/{error.code}",
        title=title,
        status=status_of(error),
        detail=error.message,
        code=error.code,
        instance=request_id,
        where=error.where,
        remedy=error.remedy,
        errors=error.faults if isinstance(error, FaultyBodyError) else (),
    )
