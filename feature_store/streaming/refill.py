"""Filling a Redis that lacks rows of a streaming group: its table first, then the updates since the last commit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyiceberg.catalog import Catalog
from pyiceberg.table import Table

from feature_store.duration import MINUTE
from feature_store.offline.snapshots import FLINK_JOB, summary_entry
from feature_store.online.materialize import materialize
from feature_store.plan.schema import GroupSchema
from feature_store.settings import DEFAULT_MATERIALIZE_ROWS

if TYPE_CHECKING:
    from redis import Redis

MARGIN = 15 * MINUTE
"""How long before its commit a row can have been sent as an update (microseconds), beside the commit interval: a
checkpoint that takes longer than 10 minutes fails, and after a failure the rows that are not committed come again."""


def refill(
    catalog: Catalog,
    redis: Redis,
    schema: GroupSchema,
    commit_interval: int,
    *,
    full: bool,
    rows_at_once: int = DEFAULT_MATERIALIZE_ROWS,
) -> int | None:
    """Writes the newest row of every entity in a group's table.

    Args:
        commit_interval: of the stream (microseconds).
        full: the whole table, else what is new in it.
        rows_at_once: as `materialize` has it.

    Returns:
        The instant (microseconds) from which on updates may not be in the table; None if the stream has committed
        nothing yet, so that all updates have to be read.
    """
    committed = _last_commit(catalog.load_table(schema.table))
    materialize(catalog, redis, schema, full=full, rows_at_once=rows_at_once)
    return None if committed is None else committed - commit_interval - MARGIN


def _last_commit(table: Table) -> int | None:
    """When (microseconds) the stream made its newest snapshot; batch makes some, too."""
    times = [s.timestamp_ms for s in table.snapshots() if summary_entry(s, FLINK_JOB) is not None]
    return max(times) * 1000 if times else None
