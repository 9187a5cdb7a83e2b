"""How far the updates of a group are in Redis: the place and the marks of each Kafka partition, kept beside the rows.

Both are written after the rows that they stand for, so a Redis that has lost rows (it was killed before they were on
disk, a replica that lagged took over, somebody emptied it) has lost them too, and tells from where to read again.
Kafka's own committed offsets would be past the lost rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from feature_store.errors import ConflictError
from feature_store.online.connection import redis_errors
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
            found = self._redis.mget([self._key(partition) for partition in wanted]) if wanted else []
        return {partition: int(place) for partition, place in zip(wanted, found, strict=True) if place is not None}

    def write(self, places: Mapping[int, int]) -> None:
        """Sets the places of some partitions, before which nothing is known of marks."""
        with redis_errors(self._redis):
            self._redis.mset(self._stored(places, {partition: PartitionMarks() for partition in places}))

    def marks(self, partitions: Iterable[int]) -> dict[int, PartitionMarks]:
        """The marks of some partitions before their places, whoever loaded them; of an unknown place there are none."""
        wanted = list(partitions)
        with redis_errors(self._redis):
            found = self._redis.mget([self._marks_key(partition) for partition in wanted]) if wanted else []
        return {
            p: PartitionMarks() if text is None else PartitionMarks(text) for p, text in zip(wanted, found, strict=True)
        }

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

        keys = [self._key(partition) for partition in before]
        with redis_errors(self._redis), self._redis.pipeline() as connection:
            connection.watch(*keys)  # type: ignore[no-untyped-call]
            found = connection.mget(keys)
            if [None if place is None else int(place) for place in found] != list(before.values()):
                raise self._changed()
            yield
            connection.multi()
            connection.mset(self._stored(after, marks or {}))
            try:
                connection.execute()
            except WatchError as error:
                raise self._changed() from error

    def _stored(self, places: Mapping[int, int], marks: Mapping[int, PartitionMarks]) -> dict[str, int | str]:
        texts = {self._marks_key(partition): found.text() for partition, found in marks.items()}
        return {self._key(partition): place for partition, place in places.items()} | texts

    def _key(self, partition: int) -> str:
        return f"{self._group.id}:loaded:{partition}"

    def _marks_key(self, partition: int) -> str:
        return f"{self._group.id}:marks:{partition}"

    def _changed(self) -> ConflictError:
        return ConflictError(
            "Redis is not as the loader left it: it was restarted or emptied, or another loader is at work",
            where=f"group {self._group.id}",
            remedy="nothing: it is read again from where Redis is",
            code="places-changed",
        )
