"""Durations as users write them ("90d", "30m") and as the engine counts them (int64 microseconds)."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, WithJsonSchema

MILLISECOND = 1_000
SECOND = 1000 * MILLISECOND
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

_UNITS = {"ms": MILLISECOND, "s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY, "w": 7 * DAY}
_PATTERN = re.compile(r"(\d+)(ms|[smhdw])")


def parse_duration(text: str) -> int:
    """Microseconds of a duration such as "30m".

    Raises:
        ValueError: if the text is not a whole number followed by one of ms, s, m, h, d, w.
    """
    match = _PATTERN.fullmatch(text)
    if match is None:
        raise ValueError(
            f"{text!r} is not a duration: write a whole number and one of {', '.join(_UNITS)}, such as '90d'"
        )
    return int(match[1]) * _UNITS[match[2]]


def format_duration(microseconds: int) -> str:
    """The shortest text that `parse_duration` reads back as the same length (whole milliseconds)."""
    for unit, size in (("d", DAY), ("h", HOUR), ("m", MINUTE), ("s", SECOND)):
        if microseconds and microseconds % size == 0:
            return f"{microseconds // size}{unit}"
    return f"{microseconds // MILLISECOND}ms" if microseconds else "0s"


def _checked(text: str) -> str:
    parse_duration(text)
    return text


Duration = Annotated[
    str, AfterValidator(_checked), WithJsonSchema({"type": "string", "pattern": f"^{_PATTERN.pattern}$"})
]
