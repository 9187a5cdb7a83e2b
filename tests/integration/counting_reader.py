"""Readers of the online store: one whose round trips are counted, one with the native core."""

from __future__ import annotations

from typing import Any

from redis import Redis

from feature_store.compile.function_calls import FunctionCalls
from feature_store.online.native.core import NativeCore
from feature_store.online.read.steps import GetLayouts, GetValues, ViewReading
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


class NativeReader(OnlineReader):
    """Reads with the native core."""

    def __init__(self, redis: Redis, core: NativeCore) -> None:
        super().__init__(redis)
        self._core = core

    def _reading(self, view: ViewSchema) -> ViewReading:
        known = self._views.get(view.id)
        if known is None or known.view != view:
            known = self._views[view.id] = ViewReading(view, core=self._core)
        return known
