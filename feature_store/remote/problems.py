"""What a server refuses or cannot do, as the store's own errors."""

from __future__ import annotations

import msgspec

from feature_store.errors import (
    AccessError,
    ConflictError,
    FeatureStoreError,
    InputError,
    NotFoundError,
    StackError,
    TokenError,
)
from feature_store.remote.address import ServerAddress
from feature_store.remote.messages import Response

_KINDS: dict[int, type[FeatureStoreError]] = {
    401: TokenError,
    403: AccessError,
    404: NotFoundError,
    405: NotFoundError,
    409: ConflictError,
    410: ConflictError,
}


class _Problem(msgspec.Struct):
    """The body of an error (RFC 9457), as the server writes it."""

    detail: str
    code: str
    instance: str = ""
    where: str = ""
    remedy: str = ""


_read = msgspec.json.Decoder(_Problem).decode


def error_of(response: Response, server: ServerAddress) -> FeatureStoreError:
    """The error that an answer is: of the kind, code and remedy that the server has given."""
    try:
        problem = _read(response.body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return unexpected(f"status {response.status} without a problem in it", server)
    kind = _KINDS.get(response.status, InputError if 400 <= response.status < 500 else StackError)
    where = problem.where
    if response.status >= 500:  # the server's log has more of it
        where = f"{where}, request {problem.instance}" if where else f"request {problem.instance}"
    return kind(problem.detail, where=where, remedy=problem.remedy, code=problem.code)


def unexpected(what: str, server: ServerAddress) -> StackError:
    """The error of an answer that no server of vectors gives."""
    return StackError(
        f"an answer that is none of a server of vectors: {what}",
        where=str(server),
        remedy="look whether the address is that of the server, and what is between it and here",
        code="unexpected-answer",
    )


def retry_after(response: Response) -> float | None:
    """The seconds that a server wants to be left alone; None if it does not say."""
    text = response.headers.get(b"retry-after", b"")
    return float(text) if text.isdigit() and len(text) < 10 else None
