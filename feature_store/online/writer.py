"""Guarded bulk writes: many rows per call of a Redis Function that keeps the newest row of every entity.

Rules, each checked inside Redis so that any number of batch, stream and backfill writers agree:
- rows are ordered by (feature_timestamp, created_timestamp): an older row never replaces a newer one and is counted as
  stale. A correction (same feature_timestamp, newer created_timestamp) replaces the row that it corrects; the same row
  written again changes nothing. Rows of old values without a created_timestamp are the oldest of their time;
- a row that was taken back does not come back: tombstones beside the row of an entity keep out what is not newer than
  the retraction, such as updates that the loader reads again. Up to 16 of them are exact. More become one range, which
  may keep out rows that stand; those are named as unsure, and the offline table decides;
- a row that has expired is stored without its features: it replaces the older row that must not be served any more,
  and readers can tell EXPIRED from NOT_FOUND;
- Redis deletes a row at feature_timestamp + ttl + grace, one that had expired when it was written not before
  created_timestamp + grace. The grace (as long as the ttl, one day at most) is how long EXPIRED is told; readers decide
  by the timestamps, to the microsecond, and not by the deletion;
- what is written, settled or deleted is so in the vectors of pre-joined views too, in the same call (vector_sets.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from feature_store.dtypes import Value, to_micros
from feature_store.duration import DAY
from feature_store.online.batches import call_rows
from feature_store.online.calls import Call, call
from feature_store.online.codec import Codec, pack_header, pack_instant
from feature_store.online.connection import cluster_of, redis_errors
from feature_store.online.keys import VECTOR_SETS_KEY, last_updated_key
from feature_store.online.layout import layout_of, register_layout
from feature_store.plan.schema import GroupSchema

if TYPE_CHECKING:
    from datetime import datetime

    from redis import Redis

MOST_TOMBSTONES = 16
"""More of one entity become a range; the same number is in the guard."""
TOMBSTONES_KEPT = 30 * DAY
"""How long tombstones of an entity without a row are kept (microseconds after the retraction) if the group has no ttl:
longer than updates are in Kafka. With a ttl they are kept as long as the rows that were taken back would be."""


Tombstone = tuple[int, int, int]
"""First and last feature_timestamp and the created_timestamp up to which rows between them were taken back."""


@dataclass(frozen=True)
class Written:
    """What became of the rows handed to a writer; every row is in one of the counts, or unsure.

    Attributes:
        unsure: the positions of rows that a range of tombstones keeps out, perhaps wrongly; they were not written.
    """

    written: int = 0
    stale: int = 0
    expired: int = 0
    deleted: int = 0
    unsure: tuple[int, ...] = ()

    def __add__(self, other: Written) -> Written:
        return Written(
            self.written + other.written,
            self.stale + other.stale,
            self.expired + other.expired,
            self.deleted + other.deleted,
            self.unsure + other.unsure,
        )


def is_expired(group: GroupSchema, feature_timestamp: int, now: int) -> bool:
    """Whether a row may not be used any more at `now` (microseconds); at exactly timestamp + ttl it still may."""
    return group.ttl is not None and feature_timestamp + group.ttl < now


def grace_of(group: GroupSchema) -> int:
    """For how long EXPIRED is told of a row (microseconds)."""
    return 0 if group.ttl is None else min(group.ttl, DAY)


def is_forgotten(group: GroupSchema, feature_timestamp: int, created_timestamp: int, now: int) -> bool:
    """Whether the grace of a row is over at `now` (microseconds): it counts as not found."""
    if group.ttl is None:
        return False
    return max(feature_timestamp + group.ttl, created_timestamp) + grace_of(group) < now


class GuardedWriter:
    """Writes rows of one group.

    Args:
        redis: from `connect`.
        group: its layout is registered on construction.

    Raises:
        ConflictError: if the online store knows a feature of the group under another type.
        StackError: if Redis does not answer; also from every method.
    """

    def __init__(self, redis: Redis, group: GroupSchema) -> None:
        with redis_errors(redis):
            self.codec = Codec(layout_of(group), register_layout(redis, group))
        self.group = group
        self._redis = redis
        ttl = b"" if group.ttl is None else _milliseconds(group.ttl)
        self._kept = (ttl, _milliseconds(grace_of(group)), _milliseconds(TOMBSTONES_KEPT))

    def encode(self, feature_timestamp: int, created_timestamp: int, values: Sequence[Value], now: int) -> bytes:
        """The stored form of a row (times in microseconds): without its features if it has expired at `now`.

        Raises:
            InputError: if a value is not of its feature's type.
        """
        if is_expired(self.group, feature_timestamp, now):
            return pack_header(self.codec.number, feature_timestamp, created_timestamp)
        return self.codec.encode(feature_timestamp, created_timestamp, values)

    def write(self, keys: Sequence[str], values: Sequence[bytes]) -> Written:
        """Writes stored forms under their keys, each unless a newer row is there or it was taken back."""
        return self._put("write", keys, lambda rows: [values[i] for i in rows])

    def settle(
        self,
        keys: Sequence[str],
        values: Sequence[bytes | None],
        tombstones: Sequence[Sequence[Tombstone]],
        lost: Sequence[Sequence[Tombstone]],
        known: Sequence[int],
    ) -> Written:
        """Writes what the whole offline table has of entities: the row that stands, and what was taken back.

        Args:
            keys: of the entities.
            values: stored form of the newest row that stands, None where none does.
            tombstones: of the newer rows that were taken back.
            lost: the rows that the table has no longer; they are taken back, but may come again.
            known: the newest created_timestamp (microseconds) that the table has of the entity.
        """

        def arguments(rows: Sequence[int]) -> Sequence[bytes]:
            given = [values[i] or b"" for i in rows]
            given += [_pack(tombstones[i], MOST_TOMBSTONES) for i in rows]
            given += [_pack(lost[i], 1) for i in rows]
            return given + [pack_instant(known[i]) for i in rows]

        return self._put("settle", keys, arguments)

    def touch(self, complete_at: datetime, newest: int | None) -> None:
        """Notes that the group was complete at an instant: all rows that were due by then are in the store.

        Args:
            newest: the newest feature timestamp (microseconds) in it.
        """
        with redis_errors(self._redis):
            # In a cluster readers of vectors ask for this key, too: what sets say of it would be on another node.
            keys = [last_updated_key(self.group), *([VECTOR_SETS_KEY] if cluster_of(self._redis) is None else [])]
            moved = [str(to_micros(complete_at)), "" if newest is None else str(newest)]
            call(self._redis, Call("touch", keys, moved))

    def _put(
        self, function: str, keys: Sequence[str], arguments: Callable[[Sequence[int]], Sequence[bytes]]
    ) -> Written:
        """Calls a function for all rows; `arguments` are those of some of them."""
        total = Written()
        with redis_errors(self._redis):
            for rows, answer in call_rows(self._redis, function, keys, self._kept, arguments, self.group.id):
                written, stale, expired, deleted, unsure, _ = answer
                total += Written(written, stale, expired, deleted, tuple(rows[place - 1] for place in unsure))
        return total


def _milliseconds(microseconds: int) -> bytes:
    return str(-(-microseconds // 1000)).encode()


def _pack(tombstones: Sequence[Tombstone], most: int) -> bytes:
    """Tombstones as the guard reads them; one range if they are too many to be sent and stored one by one."""
    if len(tombstones) > most:
        firsts, lasts, created = zip(*tombstones, strict=True)
        tombstones = [(min(firsts), max(lasts), max(created))]
    return b"".join(map(pack_instant, chain.from_iterable(tombstones)))
