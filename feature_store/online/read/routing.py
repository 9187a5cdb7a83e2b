"""Reads of a view whose groups are in several online stores: each key goes to the store of its group."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from feature_store.online.read.decoding import StoredValue, Unreachable
from feature_store.online.read.store import Keys, OnlineStore

S = TypeVar("S")


def by_store(keys: Sequence[str], stores: Mapping[str, S]) -> list[tuple[S, list[int]]]:
    """The places of the keys of each store.

    Args:
        stores: the store of each group, by its id: what a key begins with.
    """
    found: dict[int, tuple[S, list[int]]] = {}
    for i, key in enumerate(keys):
        store = stores[key[: key.index(":")]]
        found.setdefault(id(store), (store, []))[1].append(i)
    return [*found.values()]


class RoutedStore:
    """The online stores of the groups of a view, as one.

    Args:
        stores: the store of each group, by its id.
    """

    def __init__(self, stores: Mapping[str, OnlineStore]) -> None:
        self._stores = stores

    @property
    def node(self) -> None:
        """As `OnlineStore.node`."""

    @property
    def is_up(self) -> bool:
        """As `OnlineStore.is_up`."""
        return all(store.is_up for store in self._stores.values())

    @property
    def troubles(self) -> Mapping[str, str]:
        """As `OnlineStore.troubles`."""
        return {name: text for store in self._stores.values() for name, text in store.troubles.items()}

    async def values(self, keys: Keys, packed: bytes | None = None) -> Sequence[StoredValue]:  # noqa: ARG002
        """As `OnlineStore.values`."""
        keys = [*keys]
        parts = by_store(keys, self._stores)
        answers = await asyncio.gather(*(store.values([keys[i] for i in places]) for store, places in parts))
        found: list[StoredValue] = [None] * len(keys)
        for (_, places), values in zip(parts, answers, strict=True):
            for place, value in zip(places, values, strict=True):
                found[place] = value
        return found

    async def hash(self, key: str) -> Mapping[bytes, bytes] | Unreachable:
        """As `OnlineStore.hash`."""
        return await self._stores[key[: key.index(":")]].hash(key)

    async def command(self, name: str, key: str, *arguments: Any) -> Any:
        """As `OnlineStore.command`."""
        return await self._stores[key[: key.index(":")]].command(name, key, *arguments)
