"""Batch over a streaming group: recompute a span from the event log, compare it with what stands, correct it.

The same run backfills (nothing is there yet) and reconciles (the stream wrote it). It adds to the table's history as
any other run does, while the stream commits to the same table.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from pyiceberg.catalog import Catalog

from feature_store.errors import ConflictError
from feature_store.offline.audit import Audit
from feature_store.offline.history import Consistency
from feature_store.offline.materialize import Materialization, materialize_span
from feature_store.plan.nodes import GroupPlan
from feature_store.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def settled_at(plan: GroupPlan, end: datetime) -> datetime:
    """When all events before `end` and the rows they change have been committed, by the clock: events come out of order
    and late, and logs and groups are committed at intervals."""
    assert plan.stream is not None
    wait = plan.stream.out_of_orderness_size + plan.stream.lateness_size + plan.group.commit_size
    return end + timedelta(microseconds=wait)


def reconcile_span(
    spark: SparkSession,
    settings: Settings,
    catalog: Catalog,
    plan: GroupPlan,
    start: datetime,
    end: datetime,
    audit: Audit | None = None,
    *,
    now: datetime | None = None,
) -> tuple[Materialization, Consistency]:
    """Makes the rows that the events of `[start, end)` make known what batch says they are.

    Running it again adds nothing.

    Args:
        audit: looks at the rows that will stand, before they do.
        now: refuse a span that is not settled by then, for what the log does not have yet would be taken back from the
            stream's rows. Without it the span is computed from what the log has: a backfill that was asked for.

    Raises:
        ConflictError: if the span is not settled yet.
        InputError: if the event log does not fit its definition.
        QualityError: from the audit; nothing is added then.
    """
    if now is not None and now < settled_at(plan, end):
        raise ConflictError(
            f"events before {end:%Y-%m-%d %H:%M} can still arrive until {settled_at(plan, end):%Y-%m-%d %H:%M:%S} UTC",
            where=f"group {plan.group.id}",
            remedy="reconcile it then; to compute it from what is there, backfill the offline asset",
            code="unsettled",
        )
    done = materialize_span(spark, settings, catalog, plan, start, end, audit)
    return done, done.consistency
