"""How long requests wait for Redis."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from time import perf_counter
from typing import Any

from feature_store.online.read.decoding import StoredValue, Unreachable
from feature_store.online.read.node import RedisNode
from feature_store.online.read.store import Keys, OnlineStore
from serving.families import Family, Latencies


class RedisWaits:
    """The times of all stores of a server."""

    def __init__(self) -> None:
        self.latencies = Latencies()

    def families(self) -> Iterator[Family]:
        """The metric at the moment."""
        yield Family(
            "feature_store_redis_seconds",
            "Time that a request waits for the values of a round; what is remembered waits for none",
            "histogram",
            (),
            latencies={(): self.latencies},
        )


class TimedStore(OnlineStore):
    """A store whose answers are timed."""

    def __init__(self, store: OnlineStore, waits: RedisWaits) -> None:
        self._store = store
        self._note = waits.latencies.note

    async def values(self, keys: Keys, packed: bytes | None = None) -> Sequence[StoredValue]:
        """As `OnlineStore.values`."""
        began = perf_counter()
        try:
            return await self._store.values(keys, packed)
        finally:
            self._note(perf_counter() - began)

    async def hash(self, key: str) -> Mapping[bytes, bytes] | Unreachable:
        """As `OnlineStore.hash`."""
        return await self._store.hash(key)

    async def command(self, name: str, key: str, *arguments: Any) -> Any:
        """As `OnlineStore.command`."""
        return await self._store.command(name, key, *arguments)

    @property
    def node(self) -> RedisNode | None:
        return self._store.node

    @property
    def is_up(self) -> bool:
        return self._store.is_up

    @property
    def troubles(self) -> Mapping[str, str]:
        return self._store.troubles
