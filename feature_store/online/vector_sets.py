"""Vectors of pre-joined views: the rows of an entity in several groups under one key, which one read fetches.

The groups of a view that are read by the same key columns are a set. Beside the values of its groups an entity has a
vector, a copy of these values as they are: a MessagePack array of one bin for each group, in order of the groups' ids,
nil where there is none. So what readers say of a row (its features, EXPIRED, NOT_FOUND) follows from the same bytes.

    vector_sets                         the sets that are registered: name -> token and ids of the groups
    ranking@1:user_id:{u1}              a vector; it goes when the last of its parts would
    ranking@1:user_id:last_updated      the ids and the `last_updated` of each group; there if the vectors are complete

Why a vector that is read is never older than the values of the groups, nor lacks one:
- A registered set's vectors are made anew by every call of the guard that changes a value, in the same atomic call,
  whoever makes it: the guard looks the sets up in Redis, not in definitions.
- Filling, after the registration, makes the vectors anew of all entities that have a value or a vector. What SCAN does
  not show was not there when it began, and so was made after the registration.
- Only then the set's `last_updated` appears, and only if the set was registered all the time: under the same token.
  Readers get it with the vectors by one MGET, and take vectors for nothing without it. So a crash between any two steps
  leaves vectors that nobody reads, and filling begins again.
- An emptied or restored Redis has registration, completeness and vectors of one moment.

What changes values past the guard makes vectors wrong: versions of this package from before there were vectors, keys
that are deleted by hand, a Redis that evicts keys without a time to live. `keep_sets(..., again=True)`, which a full
materialization calls, makes all vectors anew.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from feature_store.duration import MINUTE
from feature_store.online.batches import call_rows
from feature_store.online.calls import Call, call
from feature_store.online.cluster_sets import DROPPED, ClusterSet
from feature_store.online.connection import cluster_of, redis_errors
from feature_store.online.keys import VECTOR_SETS_KEY, key_part
from feature_store.plan.schema import ViewSchema

if TYPE_CHECKING:
    from redis import Redis

LEFT_FOR = 10 * MINUTE
"""How long vectors of a dropped set are left (microseconds): somebody may have just seen that they are complete."""
_KEYS_PER_SCAN = 1_000


@dataclass(frozen=True)
class VectorSet:
    """Groups of a view whose rows of an entity are kept together.

    Attributes:
        name: such as "ranking@1:user_id".
        groups: the ids of the groups, in the order of a vector's parts.
    """

    name: str
    groups: tuple[str, ...]

    @property
    def prefix(self) -> str:
        """What the keys of its vectors begin with, before the tags of entities."""
        return f"{self.name}:"

    @property
    def ids(self) -> str:
        """Its groups as Redis has them."""
        return " ".join(self.groups)

    @property
    def last_updated_key(self) -> str:
        """Key of up to when its groups are complete; there only if its vectors are."""
        return f"{self.name}:last_updated"


def vector_set(view: ViewSchema, places: Collection[int]) -> VectorSet:
    """The set of some groups of a view (one of `view.prejoined`)."""
    groups = [view.groups[i].group for i in places]
    columns = "|".join(key_part(key.name) for key in groups[0].keys)
    return VectorSet(f"{view.id}:{columns}", tuple(sorted({group.id for group in groups})))


def vector_sets(views: Iterable[ViewSchema]) -> tuple[VectorSet, ...]:
    """All sets of some views."""
    return tuple(vector_set(view, places) for view in views for places in view.prejoined)


def registered_sets(redis: Redis) -> dict[str, VectorSet]:
    """The sets that Redis knows, by name; those that are being dropped, too.

    Raises:
        StackError: if Redis does not answer.
    """
    with redis_errors(redis):
        entries = cast("dict[bytes, bytes]", redis.hgetall(VECTOR_SETS_KEY))
    found = ((name.decode(), entry.decode().split(" ")) for name, entry in entries.items())
    return {name: VectorSet(name, tuple(parts[1:])) for name, parts in found}


def keep_sets(redis: Redis, sets: Iterable[VectorSet], groups: Collection[str], *, again: bool = False) -> None:
    """Has Redis keep some sets, and of those with these groups no other. Doing it again is harmless and cheap.

    A new set is filled: all keys of the database are looked at once, and each entity's vector is made in a
    few microseconds of Redis.

    Args:
        redis: from `connect`.
        sets: all that the definitions have with one of the groups.
        groups: ids.
        again: whether to make the vectors of complete sets anew, too.

    Raises:
        StackError: if Redis does not answer.
    """
    wanted = {each.name: each for each in sets}
    for each in registered_sets(redis).values():
        if each.name not in wanted and not set(groups).isdisjoint(each.groups):
            _drop(redis, each)
    for each in wanted.values():
        _keep(redis, each, again=again)


def _in_cluster(redis: Redis, each: VectorSet) -> ClusterSet | None:
    if cluster_of(redis) is None:
        return None
    return ClusterSet(redis, each, lambda node: tags_of(node, each), lambda tags: join_vectors(redis, each, tags))


def _keep(redis: Redis, kept: VectorSet, *, again: bool) -> None:
    keys = [VECTOR_SETS_KEY, kept.last_updated_key]
    with redis_errors(redis):
        if (in_cluster := _in_cluster(redis, kept)) is not None:
            in_cluster.keep(again=again)
            return
        token, complete = call(redis, Call("register", keys, [kept.name, uuid.uuid4().hex, kept.ids]))
        if complete and not again:
            return
        _join_all(redis, kept)
        # Without effect if the set was dropped meanwhile: writes may have gone past it, and who registers it fills it.
        call(redis, Call("complete", keys, [kept.name, token]))


def _drop(redis: Redis, dropped: VectorSet) -> None:
    keys = [VECTOR_SETS_KEY, dropped.last_updated_key]
    with redis_errors(redis):
        if (in_cluster := _in_cluster(redis, dropped)) is not None:
            in_cluster.drop()
            return
        call(redis, Call("drop", keys, [dropped.name, uuid.uuid4().hex]))
        _join_all(redis, dropped)
        call(redis, Call("complete", keys, [dropped.name, DROPPED]))


def _join_all(redis: Redis, joined: VectorSet) -> None:
    """Makes the vectors of a set what is registered, of all entities that have a value or a vector."""
    for tags in tags_of(redis, joined):
        join_vectors(redis, joined, tags)


def join_vectors(redis: Redis, joined: VectorSet, tags: Sequence[bytes]) -> None:
    """Makes the vectors of some entities what is registered."""
    keys = [joined.prefix + tag.decode() for tag in tags]
    for _ in call_rows(redis, "join", keys, [joined.name, str(LEFT_FOR // 1000), ""], lambda _: ()):
        pass


def tags_of(redis: Redis, joined: VectorSet) -> Iterator[list[bytes]]:
    """The tags of all entities that have a value or a vector on a node; some more than once."""
    prefixes = {joined.prefix.encode(), *(f"{group}:".encode() for group in joined.groups)}
    cursor = 0
    while True:
        cursor, keys = cast("tuple[int, list[bytes]]", redis.scan(cursor, match="*:{*", count=_KEYS_PER_SCAN))
        parts = (key.partition(b"{") for key in keys)
        found = dict.fromkeys(b"{" + tag for prefix, _, tag in parts if prefix in prefixes)
        if found:
            yield [*found]
        if cursor == 0:
            return
