"""What Redis remembers of a group: up to when it is complete, and which snapshot of the offline table it has.

It is kept beside the rows it speaks of, so it is lost with them: an emptied Redis is filled again from the start.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from feature_store.errors import StackError
from feature_store.online.connection import redis_errors
from feature_store.online.keys import last_updated_key, progress_key
from feature_store.online.shards import shards_of
from feature_store.plan.schema import GroupSchema

if TYPE_CHECKING:
    from redis import Redis


@dataclass(frozen=True)
class LastUpdated:
    """The newest instant at which a group was complete (microseconds), and its newest row (None: no row yet).

    Complete at an instant: all rows that were due by then are in the store. A batch group is complete at the end of
    its last partition without a hole before it, however often and whenever rows are written.
    """

    complete_at: int
    newest: int | None


@dataclass(frozen=True)
class Progress:
    """How far the offline table was materialized.

    Attributes:
        snapshot: the Iceberg snapshot whose rows are online.
        known_until: greatest feature timestamp (microseconds) that was available to serving then.
        held: how many rows after `known_until` the snapshot has; they become available without a new snapshot.
        rules: the settings that rows were written under; others make every row be written again.
    """

    snapshot: int
    known_until: int
    held: int
    rules: str


def rules_of(group: GroupSchema) -> str:
    """The settings of a group that decide which row is online and for how long."""
    return f"ttl={group.ttl} availability_delay={group.availability_delay}"


def parse_last_updated(text: bytes | str | None, key: str) -> LastUpdated | None:
    """The value of a group's `last_updated` key; None if the group was never complete.

    Raises:
        StackError: if somebody else wrote the key.
    """
    if text is None:
        return None
    complete_at, _, newest = (text.decode() if isinstance(text, bytes) else text).partition(" ")
    try:
        return LastUpdated(int(complete_at), int(newest) if newest else None)
    except ValueError:
        raise StackError(
            f"{text!r} is not an instant at which the group was complete",
            where=f"Redis key {key!r}",
            remedy="delete it and materialize",
            code="unreadable-value",
        ) from None


def last_updated(redis: Redis, group: GroupSchema) -> LastUpdated | None:
    """Up to when the group is complete; None if it never was."""
    key = last_updated_key(group)
    with redis_errors(redis):
        return parse_last_updated(redis.get(key), key)


def load_progress(redis: Redis, group: GroupSchema) -> Progress | None:
    """What the last materialization recorded; None if there was none, or its record is unusable or lost somewhere."""
    with redis_errors(redis):
        records: list[dict[Any, Any]] = [redis.hgetall(each.key(progress_key(group))) for each in shards_of(redis)]
    fields = records[0]
    if any(record != fields for record in records):
        return None
    try:
        return Progress(
            int(fields[b"snapshot"]), int(fields[b"known_until"]), int(fields[b"held"]), fields[b"rules"].decode()
        )
    except (KeyError, ValueError):
        return None


def save_progress(redis: Redis, group: GroupSchema, progress: Progress) -> None:
    """Records a finished materialization."""
    fields: dict[Any, Any] = {
        "snapshot": progress.snapshot,
        "known_until": progress.known_until,
        "held": progress.held,
        "rules": progress.rules,
    }
    with redis_errors(redis):
        for each in shards_of(redis):
            redis.hset(each.key(progress_key(group)), mapping=fields)
