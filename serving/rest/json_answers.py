"""Answers as JSON."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from starlette.responses import Response


def json_answer(content: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An answer whose body is the content as JSON."""
    return Response(msgspec.json.encode(content), status, dict(headers or {}), media_type="application/json")
