"""What reads of a server ask: one node, a cluster, or whatever an address turns out to be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from feature_store.online.native.core import NativeCommand
from feature_store.online.read.decoding import StoredValue, Unreachable

if TYPE_CHECKING:
    from feature_store.online.read.node import RedisNode

Keys = Sequence[str] | NativeCommand


class OnlineStore(Protocol):
    """An online store in one event loop.

    Every method raises NodeBusyError if too many commands wait for a node that it would ask.
    """

    async def values(self, keys: Keys, packed: bytes | None = None) -> Sequence[StoredValue]:
        """The values under some keys: None where there is none, UNREACHABLE where nobody can be asked in time.

        Args:
            packed: the MGET of these keys as Redis takes it, if it is made already: it saves a single node the work.
        """

    async def hash(self, key: str) -> Mapping[bytes, bytes] | Unreachable:
        """The hash under a key; empty if there is none, UNREACHABLE if nobody can be asked in time."""

    async def command(self, name: str, key: str, *arguments: Any) -> Any:
        """The answer to a command on one key.

        Raises:
            NodeError: if nobody answers it, or it is refused.
        """

    @property
    def node(self) -> RedisNode | None:
        """The node that has all keys; None if there are several, or nobody knows yet."""

    @property
    def is_up(self) -> bool:
        """Whether every key can be asked for."""

    @property
    def troubles(self) -> Mapping[str, str]:
        """What is wrong with which node."""
