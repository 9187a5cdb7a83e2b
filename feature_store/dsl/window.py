"""Windows: the span of events a feature looks back on."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

from feature_store.duration import format_duration, parse_duration


@dataclass(frozen=True)
class Window:
    """The events that count at T (sizes in microseconds).

    Args:
        size: of a sliding window, its length: events in `[T - size, T)`; None: all events before T.
        session: `size` is a gap, and the window is the session that goes on at T: the latest event before T, if it is
            in `[T - size, T)`, and all events before it, each at most `size` before the next one.
    """

    size: int | None
    session: bool = False

    def __str__(self) -> str:
        if self.size is None:
            return "all_time"
        return f"session({format_duration(self.size)})" if self.session else format_duration(self.size)


_SESSION = re.compile(r"session\((.*)\)")


def session(gap: str) -> Window:
    """The session that goes on: events at most `gap` (a duration) apart; it ends a gap after its last event.

    Raises:
        ValueError: if the gap is not a duration, or empty.
    """
    return Window(_length(gap), session=True)


def parse_window(text: str | Window) -> Window:
    """The window written as "all_time", as a duration such as "90d", or as "session(30m)".

    Raises:
        ValueError: if it is none of them, or empty.
    """
    if isinstance(text, Window):
        return text
    if not isinstance(text, str):
        raise ValueError("a window is a text, such as '30d'")
    if text == "all_time":
        return Window(None)
    if match := _SESSION.fullmatch(text):
        return session(match[1])
    return Window(_length(text))


def _length(text: str) -> int:
    size = parse_duration(text)
    if size == 0:
        raise ValueError("a window of length 0 never holds an event")
    return size


_JSON = {"type": "string", "pattern": r"^(all_time|\d+(ms|[smhdw])|session\(\d+(ms|[smhdw])\))$"}
WindowField = Annotated[
    Window, BeforeValidator(parse_window), PlainSerializer(str, return_type=str), WithJsonSchema(_JSON)
]
