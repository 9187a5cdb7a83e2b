"""Heads and bodies of requests, with limits of size and time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Literal

from feature_store.errors import InputError

MOST_BYTES = 1 << 20
"""Of a head, and of a body."""
SECONDS = 10
"""How long a head may take to arrive, and a body after it."""
Part = Literal["head", "body"]


async def read_body(receive: Callable[[], Awaitable[MutableMapping[str, Any]]], seconds: float = SECONDS) -> bytes:
    """The whole body of a request.

    Args:
        seconds: how long all of it may take to arrive.

    Raises:
        InputError: if it is larger than `MOST_BYTES`, or does not arrive in time.
    """
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(seconds):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise slow_request("body", seconds)
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if size > MOST_BYTES:
                    raise large_request("body")
                if not message.get("more_body"):
                    return parts[0] if len(parts) == 1 else b"".join(parts)
    except TimeoutError:
        raise slow_request("body", seconds) from None


def media_type(content_type: str, *taken: str) -> str:
    """What a body is by its header; empty where that is not said.

    Raises:
        InputError: if it is none of those that are taken.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind and kind not in taken:
        raise InputError(
            f"a body of type {kind!r} cannot be read",
            where="Content-Type",
            remedy=f"send {' or '.join(taken)}",
            code="media-type",
        )
    return kind


def large_request(part: Part) -> InputError:
    """What is said of a head or a body that is too large."""
    return InputError(
        f"the {part} has more than {MOST_BYTES} bytes", where=part, remedy="send less at once", code="large-request"
    )


def slow_request(part: Part, seconds: float) -> InputError:
    """What is said of a head or a body that does not arrive."""
    return InputError(
        f"the {part} did not arrive within {seconds:g} s", where=part, remedy="send it again", code="slow-request"
    )
