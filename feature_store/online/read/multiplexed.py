"""Reads of views for a server: many at once in one event loop over one connection, with parts of answers if need be.

Where Redis does not answer, entities are UNAVAILABLE and have their defaults; the request succeeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from feature_store.online.read.decoding import UNREACHABLE
from feature_store.online.read.node import NodeBusyError, NodeError, RedisNode
from feature_store.online.read.steps import GetLayouts, GetValues, ViewReading
from feature_store.online.vectors import OnlineVectors


class MultiplexedReader:
    """Reads views over one node.

    Args:
        node: that is being kept connected.
    """

    def __init__(self, node: RedisNode) -> None:
        self._node = node

    async def read(
        self,
        reading: ViewReading,
        rows: Sequence[Mapping[str, Any]],
        request: Mapping[str, Any],
        instant: int,
        *,
        packed: bool = False,
    ) -> OnlineVectors:
        """The vectors of the entities in `rows`, as `OnlineReader.read`.

        Args:
            reading: of the view; it keeps the layouts it has met.
            request: request values for all rows.
            instant: the request's time, in microseconds.
            packed: as for `ViewReading.steps`.

        Raises:
            NodeBusyError: if too many commands wait for Redis.
            InputError, StackError, ConflictError: as there, but for a Redis that does not answer.
        """
        steps = reading.steps(rows, request, instant, packed=packed)
        command = next(steps)
        try:
            while True:
                command = steps.send(await self._answer(command))
        except StopIteration as done:
            return cast("OnlineVectors", done.value)

    async def _answer(self, command: GetValues | GetLayouts) -> Any:
        try:
            if isinstance(command, GetLayouts):
                entries = iter(await self._node.ask("HGETALL", command.key))
                return dict(zip(entries, entries, strict=True))
            return await self._node.ask("MGET", *command.keys) if command.keys else []
        except NodeBusyError:
            raise
        except NodeError:
            return UNREACHABLE if isinstance(command, GetLayouts) else [UNREACHABLE] * len(command.keys)
