"""The primaries that rows are on, and keys that are beside the rows of each.

What is noted of the rows of a group (how far they were loaded, which snapshot they are from) has to be lost with them:
then it is seen that they have to be written again. One node has one such note. In a cluster each primary has one of its
own, written behind its rows, so that a primary that lost rows (a replica that lagged took over, it was started empty)
has lost its note, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import count
from typing import TYPE_CHECKING, Any

from feature_store.online.connection import cluster_of

if TYPE_CHECKING:
    from redis import Redis
    from redis.cluster import RedisCluster


@dataclass(frozen=True)
class Shard:
    """One primary.

    Attributes:
        client: of it alone.
        suffix: what makes a key one of its own; empty where there is no cluster.
    """

    client: Redis
    suffix: str = ""

    def key(self, name: str) -> str:
        """The key of a note beside the rows of this primary."""
        return f"{name}{self.suffix}"


def shards_of(redis: Redis) -> list[Shard]:
    """The one node of a client, or every primary of its cluster, as it knows them now."""
    cluster = cluster_of(redis)
    if cluster is None:
        return [Shard(redis)]
    return [Shard(client, f":{{{slot_texts()[slot]}}}") for client, slot in _primaries(cluster)]


def _primaries(cluster: RedisCluster) -> list[tuple[Redis, int]]:
    """Every primary and the first of its slots: failovers leave it where it is."""
    first: dict[str, tuple[Any, int]] = {}
    for slot, (primary, *_) in sorted(cluster.nodes_manager.slots_cache.items(), reverse=True):
        first[primary.name] = (primary, slot)
    return [(cluster.get_redis_connection(node), slot) for node, slot in first.values()]


@cache
def slot_texts() -> dict[int, str]:
    """For each slot of a cluster a text that lies in it."""
    from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

    found: dict[int, str] = {}
    for number in count():
        text = str(number)
        found.setdefault(key_slot(text.encode()), text)
        if len(found) == REDIS_CLUSTER_HASH_SLOTS:
            break
    return found
