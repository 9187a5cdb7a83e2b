"""A reader of the online store whose round trips are counted."""

from __future__ import annotations

from typing import Any

from redis import Redis

from feature_store.compile.function_calls import FunctionCalls
from feature_store.online.read.steps import GetLayouts, GetValues
from feature_store.online.reader import OnlineReader
from feature_store.plan.schema import ViewSchema


class CountingReader(OnlineReader):
    """Remembers the keys that it asked Redis for, round trip by round trip."""

    def __init__(self, redis: Redis) -> None:
        super().__init__(redis)
        self.asked: list[list[str]] = []

    def _answer(self, view: ViewSchema, command: GetValues | GetLayouts | FunctionCalls) -> Any:
        if isinstance(command, GetValues):
            self.asked.append([*command.keys])
        return super()._answer(view, command)
