"""Vectors of pre-joined views in a Redis Cluster, where an entity's keys are in one slot and all slots on many nodes.

A vector is in the slot of the values that it copies, so one call of the guard makes both. What vector_sets.py keeps in
one place is in three here, and no call sees them at one moment:

    vector_sets:{<number>}                            in each slot the sets that it registers: name, token, groups
    vector_sets:{ranking@1:user_id:last_updated}      the set's token, which each registration makes anew
    ranking@1:user_id:last_updated                    in the same slot: the groups and the token, once vectors are made

Each vector begins with the token of the registration that it was made under. Readers take a vector whose token is that
of `last_updated`, asked for in the same request, and read the groups of all other entities:
- A vector with a token says that the token is registered in its slot, as the slot's registration was written before it
  and goes where it goes: to replicas, and with the slot. From then on all writes in the slot make the vector anew.
- A set is dropped by taking its `last_updated` away before any registration. So a vector with the token that a reader
  finds there was right at some moment of the request, whichever of the two was read first.
- Tokens are never used twice, and older ones replace none: what a late filling registers is read by nobody.
- A primary that lost its rows has lost vectors and registrations with them; a vector that is not there says nothing.

While a slot is being moved, its keys are on two nodes. Rows of groups that are in no set are written where they are;
those of others wait, so that a set registered before is not overlooked. (A slot that was moved, stood still while a set
was registered and filled, and is moved again, all while one command was on its way, would overlook it.)
"""

from __future__ import annotations

import uuid
from itertools import islice
from typing import TYPE_CHECKING, cast

from feature_store.online.batches import call_rows, registrations_key
from feature_store.online.calls import Call, call
from feature_store.online.keys import VECTOR_SETS_KEY
from feature_store.online.read.topology import SLOTS
from feature_store.online.shards import Shard, shards_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from redis import Redis

    from feature_store.online.vector_sets import VectorSet

DROPPED = "-"
_TAGS_AT_ONCE = 20_000


class ClusterSet:
    """A set of a cluster.

    Args:
        redis: of the cluster.
        tags: gives the tags of all entities of a node that have a value or a vector.
        join: makes the vectors of some entities what is registered.
    """

    def __init__(
        self,
        redis: Redis,
        kept: VectorSet,
        tags: Callable[[Redis], Iterable[list[bytes]]],
        join: Callable[[Sequence[bytes]], None],
    ) -> None:
        self._redis, self._set = redis, kept
        self._tags, self._join = tags, join
        self._keys = [f"{VECTOR_SETS_KEY}:{{{kept.last_updated_key}}}", kept.last_updated_key]
        self._note = f"{kept.last_updated_key}:filled"

    def keep(self, *, again: bool) -> None:
        """Registers and fills it, where that is not so."""
        self._redis.hset(VECTOR_SETS_KEY, self._set.name, f"{DROPPED} {self._set.ids}")
        given = [self._set.name, uuid.uuid4().hex, self._set.ids]
        token, complete = cast("tuple[bytes, int]", call(self._redis, Call("register", self._keys, given)))
        if complete and not again and all(shard.client.get(shard.key(self._note)) == token for shard in self._shards()):
            return
        self._enlist(token, self._set.ids)
        self._join_all()
        for shard in self._shards():
            self._redis.set(shard.key(self._note), token)
        call(self._redis, Call("complete", self._keys, [self._set.name, token, "1"]))

    def drop(self) -> None:
        """Takes it away: readers first, then writers, then vectors."""
        newer = cast(bytes, call(self._redis, Call("drop", self._keys, [self._set.name, uuid.uuid4().hex])))
        self._enlist(newer, "")
        self._join_all()
        for shard in self._shards():
            self._redis.delete(shard.key(self._note))
        call(self._redis, Call("complete", self._keys, [self._set.name, DROPPED]))
        self._redis.hdel(VECTOR_SETS_KEY, self._set.name)

    def _shards(self) -> list[Shard]:
        return shards_of(self._redis)

    def _enlist(self, token: bytes, ids: str) -> None:
        """Has every slot register it, or no longer if there are no ids."""
        keys = [registrations_key(slot) for slot in range(SLOTS)]
        for _ in call_rows(self._redis, "enlist", keys, [self._set.name, token, ids], lambda _: ()):
            pass

    def _join_all(self) -> None:
        tags = self._all_tags()
        while some := [*islice(tags, _TAGS_AT_ONCE)]:
            self._join(some)

    def _all_tags(self) -> Iterator[bytes]:
        for shard in self._shards():
            for tags in self._tags(shard.client):
                yield from tags
