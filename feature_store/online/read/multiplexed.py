"""Reads of views for a server: many at once in one event loop over one connection to each node.

Where Redis does not answer, entities are UNAVAILABLE and have their defaults; the request succeeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from feature_store.compile.function_calls import FunctionCalls
from feature_store.online.connection import unknown_store_error
from feature_store.online.read.cache import ValueCache
from feature_store.online.read.decoding import StoredValue
from feature_store.online.read.functions import FunctionThreads
from feature_store.online.read.routing import RoutedStore
from feature_store.online.read.steps import GetValues, ViewReading
from feature_store.online.read.store import OnlineStore
from feature_store.online.vectors import OnlineVectors
from feature_store.plan.schema import ViewSchema


class MultiplexedReader:
    """Reads views.

    Args:
        store: the default one, that is being kept connected.
        named: likewise the other ones, by the names that groups have for them.
        cache: what is remembered of groups that allow it; None: nothing is.
        functions: runs the functions of on-demand features.
    """

    def __init__(
        self,
        store: OnlineStore,
        named: Mapping[str, OnlineStore] | None = None,
        cache: ValueCache | None = None,
        functions: FunctionThreads | None = None,
    ) -> None:
        self._store = store
        self._named = {"": store, **(named or {})}
        self._routes: dict[str, tuple[ViewSchema, OnlineStore]] = {}
        self._cache = cache
        self._functions = functions or FunctionThreads()

    async def read(
        self,
        reading: ViewReading,
        rows: Sequence[Mapping[str, Any]],
        request: Mapping[str, Any],
        instant: int,
        *,
        packed: bool = False,
        values: Sequence[StoredValue] | None = None,
    ) -> OnlineVectors:
        """The vectors of the entities in `rows`, as `OnlineReader.read`.

        Args:
            reading: of the view; it keeps the layouts it has met.
            request: request values for all rows.
            instant: the request's time, in microseconds.
            packed: as for `ViewReading.steps`.
            values: what is stored of these rows, if it was read already: what the first command of the steps asks for.

        Raises:
            NodeBusyError: if too many commands wait for Redis.
            InputError, StackError, ConflictError: as there, but for a Redis that does not answer; StackError if a group
                is in an online store that is not among those of this reader.
        """
        cache, view = self._cache, reading.view
        store = self.store_of(view)
        steps = reading.steps(rows, request, instant, packed=packed)
        command = next(steps)
        try:
            if values is not None:
                command = steps.send(values)
            while True:
                if isinstance(command, GetValues):
                    if cache is not None and command.seconds:
                        keys = cast("Sequence[str]", command.keys)  # the native core makes no commands of such views
                        values = await cache.values(keys, command.seconds, store.values)
                    else:
                        values = await store.values(command.keys, command.packed)
                    command = steps.send(values)
                elif isinstance(command, FunctionCalls):
                    command = steps.send(await self._functions.run(command.calls))
                else:
                    command = steps.send(await store.hash(command.key))
        except StopIteration as done:
            return cast("OnlineVectors", done.value)

    def store_of(self, view: ViewSchema) -> OnlineStore:
        """What is asked for the values of a view.

        Raises:
            StackError: as `read`, of an online store that is not among those of this reader.
        """
        return self._store if not view.named_stores else self._store_of(view)

    def _store_of(self, view: ViewSchema) -> OnlineStore:
        """The store of a view's groups, or the route to several; made when this definition of it is read first."""
        known = self._routes.get(view.id)
        if known is None or known[0] is not view:
            for viewed in view.groups:
                if viewed.group.online_store not in self._named:
                    raise unknown_store_error(viewed.group)
            stores = {viewed.group.id: self._named[viewed.group.online_store] for viewed in view.groups}
            route = RoutedStore(stores) if len(view.named_stores) > 1 else next(iter(stores.values()))
            known = self._routes[view.id] = view, route
        return known[1]
