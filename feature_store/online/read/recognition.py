"""What is at an address of Redis: one node or a cluster. Only the server itself can say."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

from feature_store.online.native.core import NativeCore
from feature_store.online.read.cluster import RedisCluster, Replicas
from feature_store.online.read.connection import NodeError
from feature_store.online.read.decoding import UNREACHABLE, StoredValue, Unreachable
from feature_store.online.read.node import DEADLINE_SECONDS, MOST_WAITING, NodeAddress, RedisNode
from feature_store.online.read.store import Keys, OnlineStore

_PAUSE_SECONDS = 0.1


class RedisStore:
    """The node or the cluster at some addresses; made and used in one event loop.

    Until one of them has answered for the first time, everything is UNREACHABLE.

    Args:
        addresses: of one node, or of some nodes of a cluster.
        deadline, most_waiting: as those of `RedisNode`.
        replicas, core: as those of `RedisCluster`.
    """

    def __init__(
        self,
        addresses: Sequence[NodeAddress],
        *,
        deadline: float = DEADLINE_SECONDS,
        most_waiting: int = MOST_WAITING,
        replicas: Replicas = "never",
        core: NativeCore | None = None,
    ) -> None:
        self._addresses = addresses
        self._nodes = [RedisNode(each, deadline=deadline, most_waiting=most_waiting) for each in addresses]
        self._cluster = RedisCluster(
            addresses, deadline=deadline, most_waiting=most_waiting, replicas=replicas, core=core
        )
        self._store: OnlineStore = _Unknown(self._nodes)
        self._held = AsyncExitStack()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> RedisStore:
        await asyncio.gather(*map(self._held.enter_async_context, self._nodes))
        if not await self._recognize():
            self._task = asyncio.create_task(self._keep_recognizing())
        return self

    async def __aexit__(self, *error: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._held.aclose()

    @property
    def node(self) -> RedisNode | None:
        """As `OnlineStore.node`."""
        return self._store.node

    @property
    def is_up(self) -> bool:
        """As `OnlineStore.is_up`."""
        return self._store.is_up

    @property
    def troubles(self) -> Mapping[str, str]:
        """As `OnlineStore.troubles`."""
        return self._store.troubles

    def values(self, keys: Keys, packed: bytes | None = None) -> Coroutine[Any, Any, Sequence[StoredValue]]:
        """As `OnlineStore.values`."""
        return self._store.values(keys, packed)

    def hash(self, key: str) -> Coroutine[Any, Any, Mapping[bytes, bytes] | Unreachable]:
        """As `OnlineStore.hash`."""
        return self._store.hash(key)

    def command(self, name: str, key: str, *arguments: Any) -> Coroutine[Any, Any, Any]:
        """As `OnlineStore.command`."""
        return self._store.command(name, key, *arguments)

    async def _keep_recognizing(self) -> None:
        while not await self._recognize():
            await asyncio.sleep(_PAUSE_SECONDS * random.uniform(0.5, 1.5))

    async def _recognize(self) -> bool:
        """Whether it is known now what is there."""
        for node in self._nodes:
            try:
                is_cluster = b"cluster_enabled:1" in await node.ask("INFO", "cluster")
            except NodeError:
                continue
            if is_cluster:
                self._store = await self._held.enter_async_context(self._cluster)
                await asyncio.gather(*(each.close() for each in self._nodes))
                return True
            if len(self._nodes) == 1:
                self._store = node
                return True
            node.trouble = "it belongs to no cluster, so it has to be the only address"
        return False


class _Unknown:
    """What nobody has told anything of yet."""

    is_up = False
    node = None

    def __init__(self, nodes: Sequence[RedisNode]) -> None:
        self._nodes = nodes

    @property
    def troubles(self) -> Mapping[str, str]:
        return {str(node.address): node.trouble for node in self._nodes}

    async def values(self, keys: Keys, packed: bytes | None = None) -> Sequence[StoredValue]:  # noqa: ARG002
        return [UNREACHABLE] * len(keys)

    async def hash(self, _: str) -> Mapping[bytes, bytes] | Unreachable:
        return UNREACHABLE

    async def command(self, name: str, key: str, *_: Any) -> Any:
        raise NodeError(f"no node of Redis has answered yet: {name} of {key!r}")
