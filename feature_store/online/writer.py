"""Guarded bulk writes: many rows per call of a Redis Function that keeps the newest row of every entity.

Rules, each checked inside Redis so that any number of batch, stream and backfill writers agree:
- a row with an older feature_timestamp never replaces a newer one: it is counted as stale;
- an equal feature_timestamp overwrites. That is how a correction (same timestamp, newer created_timestamp) arrives, and
  a backfill that writes the same row again changes nothing. A writer that read the row before its correction can put
  the old one back for as long as the correction is not yet in the offline table; the materialization that reads it
  there writes it again;
- a row that has expired is stored without its features: it replaces the older row that must not be served any more,
  and readers can tell EXPIRED from NOT_FOUND;
- Redis deletes a row at feature_timestamp + ttl + grace. The grace (as long as the ttl, one day at most) is how long
  EXPIRED is told; readers decide by the feature_timestamp, to the microsecond, and not by the deletion.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from feature_store.dtypes import Value, to_micros
from feature_store.duration import DAY
from feature_store.errors import StackError
from feature_store.online.codec import OFFSET, Codec, pack_header
from feature_store.online.connection import redis_errors
from feature_store.online.keys import last_updated_key
from feature_store.online.layout import layout_of, register_layout
from feature_store.plan.schema import GroupSchema

if TYPE_CHECKING:
    from datetime import datetime

    from redis import Redis

ROWS_PER_CALL = 500
_LOAD_ATTEMPTS = 5


@dataclass(frozen=True)
class Written:
    """What became of the rows handed to a writer; every row is in one of the counts."""

    written: int = 0
    stale: int = 0
    expired: int = 0
    deleted: int = 0

    def __add__(self, other: Written) -> Written:
        return Written(
            self.written + other.written,
            self.stale + other.stale,
            self.expired + other.expired,
            self.deleted + other.deleted,
        )


def is_expired(group: GroupSchema, feature_timestamp: int, now: int) -> bool:
    """Whether a row may not be used any more at `now` (microseconds); at exactly timestamp + ttl it still may."""
    return group.ttl is not None and feature_timestamp + group.ttl < now


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
        self._keep = b"" if group.ttl is None else str(-(-(group.ttl + min(group.ttl, DAY)) // 1000)).encode()

    def encode(self, feature_timestamp: int, values: Sequence[Value], now: int) -> bytes:
        """The stored form of a row (times in microseconds): without its features if it has expired at `now`.

        Raises:
            InputError: if a value is not of its feature's type.
        """
        if is_expired(self.group, feature_timestamp, now):
            return pack_header(self.codec.number, feature_timestamp)
        return self.codec.encode(feature_timestamp, values)

    def write(self, keys: Sequence[str], values: Sequence[bytes]) -> Written:
        """Writes stored forms under their keys, each unless a newer row is there."""
        total = Written()
        with redis_errors(self._redis):
            for rows in self._calls(keys):
                total += self._put("write", [keys[i] for i in rows], [values[i] for i in rows])
        return total

    def retract(self, keys: Sequence[str], values: Sequence[bytes | None], limits: Sequence[int]) -> Written:
        """Replaces rows that were taken back from the offline table by the newest that is left, or by nothing.

        Args:
            keys: of the entities.
            values: stored form of the newest row that is left, None where there is none.
            limits: feature timestamp (microseconds) of the newest row taken back; newer rows stay.
        """
        total = Written()
        with redis_errors(self._redis):
            for rows in self._calls(keys):
                bounds = [(limits[i] + OFFSET).to_bytes(8, "big") for i in rows]
                total += self._put("retract", [keys[i] for i in rows], [values[i] or b"" for i in rows], bounds)
        return total

    def touch(self, now: datetime, newest: int | None) -> None:
        """Notes that the group is up to date at `now` and the newest feature timestamp (microseconds) in it."""
        with redis_errors(self._redis):
            key = last_updated_key(self.group)
            _call(self._redis, "touch", [key], [str(to_micros(now)), "" if newest is None else str(newest)])

    def _put(self, function: str, keys: list[str], values: list[bytes], limits: Sequence[bytes] = ()) -> Written:
        return Written(*_call(self._redis, function, keys, [self._keep, *values, *limits]))

    def _calls(self, keys: Sequence[str]) -> Iterator[Sequence[int]]:
        """Positions of the rows of each call: in a cluster all keys of a call must share a slot."""
        slot_of = getattr(self._redis, "keyslot", None)
        if slot_of is None:
            yield from (range(i, min(i + ROWS_PER_CALL, len(keys))) for i in range(0, len(keys), ROWS_PER_CALL))
            return
        slots: dict[int, list[int]] = {}
        for i, key in enumerate(keys):
            slots.setdefault(slot_of(key), []).append(i)
        for rows in slots.values():
            yield from (rows[i : i + ROWS_PER_CALL] for i in range(0, len(rows), ROWS_PER_CALL))


@cache
def _library() -> tuple[str, str]:
    """Source of the Redis Functions and the version in their names, so that a changed source is never mistaken."""
    source = files("feature_store.online").joinpath("guard.lua").read_text()
    version = hashlib.sha256(source.encode()).hexdigest()[:12]
    return source.replace("VERSION", version), version


def _call(redis: Redis, function: str, keys: Sequence[str], arguments: Sequence[bytes | str]) -> list[int]:
    """Calls a function of the library, loading it if it is not there: Redis is new, emptied, or of another version.

    The library's name is fixed, so an upgrade replaces the old one. While two versions of this package run side by
    side they replace each other's library and each loads its own again.
    """
    from redis.exceptions import ResponseError

    source, version = _library()
    for _ in range(_LOAD_ATTEMPTS):
        try:
            name = f"feature_store_{function}_{version}"
            return redis.fcall(name, len(keys), *keys, *arguments)  # type: ignore[no-any-return]
        except ResponseError as error:
            if "Function not found" not in str(error):
                raise
            redis.function_load(source, replace=True)
    raise StackError(
        "another client keeps replacing the Redis Function library 'feature_store_online'",
        remedy="run one version of the feature store against this Redis",
        code="redis-function",
    )
