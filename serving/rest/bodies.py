"""Bodies of requests, with limits of size and time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from feature_store.errors import InputError

MOST_BYTES = 1 << 20
SECONDS = 10.0


async def read_body(receive: Callable[[], Awaitable[MutableMapping[str, Any]]]) -> bytes:
    """The whole body of a request.

    Raises:
        InputError: if it is larger than `MOST_BYTES`, or does not arrive in time.
    """
    message = await _next(receive)
    if not message.get("more_body"):  # nearly always
        return _checked(message.get("body", b""))
    parts = [message.get("body", b"")]
    while message.get("more_body"):
        message = await _next(receive)
        parts.append(message.get("body", b""))
        if sum(map(len, parts)) > MOST_BYTES:
            break
    return _checked(b"".join(parts))


async def _next(receive: Callable[[], Awaitable[MutableMapping[str, Any]]]) -> MutableMapping[str, Any]:
    try:
        async with asyncio.timeout(SECONDS):
            message = await receive()
    except TimeoutError:
        raise _slow() from None
    if message["type"] == "http.disconnect":
        raise _slow()
    return message


def _checked(body: bytes) -> bytes:
    if len(body) > MOST_BYTES:
        raise InputError(
            f"the body has more than {MOST_BYTES} bytes",
            where="body",
            remedy="send less at once",
            code="large-request",
        )
    return body


def _slow() -> InputError:
    return InputError(
        f"the body did not arrive within {SECONDS:.0f} s",
        where="body",
        remedy="send it again",
        code="slow-request",
    )
