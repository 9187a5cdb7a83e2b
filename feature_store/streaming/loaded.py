"""How far the updates of a group are in Redis: the place and the marks of each Kafka partition, kept beside the rows.

Both are written after the rows that they stand for, so a Redis that has lost rows (it was killed before they were on
disk, a replica that lagged took over, somebody emptied it) has lost them too, and tells from where to read again.
Kafka's own committed offsets would be past the lost rows. In a cluster they are beside the rows of every primary, and
the least place holds: nothing is known of a partition of which one primary knows nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from feature_store.errors import ConflictError
from feature_store.online.connection import redis_errors
from feature_store.online.shards import Shard, shards_of
from feature_store.plan.schema import GroupSchema
from feature_store.streaming.marks import PartitionMarks

if TYPE_CHECKING:
    from redis import Redis


class LoadedPlaces:
    """The places of one group: of each Kafka partition the offset of the first update that is not in Redis.

    Args:
        redis: from `connect`.
        group: whose updates.

    All methods raise StackError when Redis does not answer.
    """

    def __init__(self, redis: Redis, group: GroupSchema) -> None:
        self._redis = redis
        self._group = group

    def read(self, partitions: Iterable[int]) -> dict[int, int]:
        """The places of some partitions, without those that Redis does not know."""
        wanted = list(partitions)
        with redis_errors(self._redis):
            found = [self._found(self._redis, shard, wanted) for shard in shards_of(self._redis)] if wanted else []
        least = dict(zip(wanted, _least(found), strict=True)) if found else {}
        return {partition: place for partition, place in least.items() if place is not None}

    def write(self, places: Mapping[int, int]) -> None:
        """Sets the places of some partitions, before which nothing is known of marks."""
        with redis_errors(self._redis):
            for shard in shards_of(self._redis):
                self._redis.mset(self._stored(shard, places, {partition: PartitionMarks() for partition in places}))

    def marks(self, partitions: Iterable[int]) -> dict[int, PartitionMarks]:
        """The marks of some partitions before their places, whoever loaded them; of an unknown place there are none."""
        wanted = list(partitions)
        if not wanted:
            return {}
        with redis_errors(self._redis):
            shards = shards_of(self._redis)
            places = [self._found(self._redis, shard, wanted) for shard in shards]
            texts = [self._redis.mget([self._marks_key(shard, partition) for partition in wanted]) for shard in shards]
        found = {}
        for i, (partition, least) in enumerate(zip(wanted, _least(places), strict=True)):
            text = next(of[i] for of, known in zip(texts, places, strict=True) if known[i] == least)
            found[partition] = PartitionMarks() if text is None or least is None else PartitionMarks(text)
        return found

    @contextmanager
    def moving(
        self, before: Mapping[int, int], after: Mapping[int, int], marks: Mapping[int, PartitionMarks] | None = None
    ) -> Iterator[None]:
        """Moves places once the block has written the rows between them; and marks with them, where some were passed.

        The connection that looks at the places before the block is the one that moves them after it, if nobody changed
        them meanwhile: where Redis was not the same all the time, the block's rows may be gone, and nothing is moved.

        Raises:
            ConflictError: if the places are not `before`, or Redis was restarted, emptied or replaced meanwhile.
        """
        from redis.exceptions import WatchError

        with redis_errors(self._redis), ExitStack() as stack:
            looked = [(shard, stack.enter_context(shard.client.pipeline())) for shard in shards_of(self._redis)]
            for shard, connection in looked:
                connection.watch(*(self._key(shard, partition) for partition in before))  # type: ignore[no-untyped-call]
            if _least([self._found(connection, shard, before) for shard, connection in looked]) != [*before.values()]:
                raise self._changed()
            yield
            for shard, connection in looked:
                connection.multi()
                connection.mset(self._stored(shard, after, marks or {}))
                try:
                    connection.execute()
                except WatchError as error:
                    raise self._changed() from error

    def _found(self, redis: Redis, shard: Shard, partitions: Iterable[int]) -> list[int | None]:
        """The places of some partitions that a primary has."""
        found: Any = redis.mget([self._key(shard, partition) for partition in partitions])
        return [None if place is None else int(place) for place in found]

    def _stored(
        self, shard: Shard, places: Mapping[int, int], marks: Mapping[int, PartitionMarks]
    ) -> dict[str, int | str]:
        texts = {self._marks_key(shard, partition): found.text() for partition, found in marks.items()}
        return {self._key(shard, partition): place for partition, place in places.items()} | texts

    def _key(self, shard: Shard, partition: int) -> str:
        return shard.key(f"{self._group.id}:loaded:{partition}")

    def _marks_key(self, shard: Shard, partition: int) -> str:
        return shard.key(f"{self._group.id}:marks:{partition}")

    def _changed(self) -> ConflictError:
        return ConflictError(
            "Redis is not as the loader left it: it was restarted or emptied, or another loader is at work",
            where=f"group {self._group.id}",
            remedy="nothing: it is read again from where Redis is",
            code="places-changed",
        )


def _least(found: Sequence[Sequence[int | None]]) -> list[int | None]:
    """Of each partition the least place that any primary has; None if one has none."""
    return [None if None in places else min(places) for places in zip(*found, strict=True)]
