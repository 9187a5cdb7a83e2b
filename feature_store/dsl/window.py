"""Windows: the span of events a feature looks back on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer

from feature_store.duration import format_duration, parse_duration


@dataclass(frozen=True)
class Window:
    """The events in `[T - size, T)`, or all events before T when size is None (microseconds)."""

    size: int | None

    def __str__(self) -> str:
        return "all_time" if self.size is None else format_duration(self.size)


def parse_window(text: str | Window) -> Window:
    """The window written as "all_time" or as a duration such as "90d".

    Raises:
        ValueError: if it is neither, or empty.
    """
    if isinstance(text, Window):
        return text
    if text == "all_time":
        return Window(None)
    size = parse_duration(text)
    if size == 0:
        raise ValueError("a window of length 0 never holds an event")
    return Window(size)


WindowField = Annotated[Window, BeforeValidator(parse_window), PlainSerializer(str, return_type=str)]
