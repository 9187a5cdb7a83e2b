"""How fresh a streaming group is, as Redis tells: what readers get, whatever Flink says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from feature_store.dtypes import to_micros
from feature_store.duration import SECOND
from feature_store.online.progress import last_updated
from feature_store.plan.nodes import GroupPlan

if TYPE_CHECKING:
    from redis import Redis

OVERDUE = 2
"""A group is overdue after this many times its SLA."""

Verdict = Literal["unknown", "fresh", "late", "overdue"]


@dataclass(frozen=True)
class Freshness:
    """A group at one moment; ages in seconds, None if nothing is known of it yet.

    Args:
        group_id: "name@version".
        sla: the group's `freshness`.
        touched: age of the newest instant at which the group was complete.
        newest: age of the newest feature timestamp of which all rows are known: how far the watermark is behind.
        behind: for how long a row that is due has not come; 0 while none is due.
    """

    group_id: str
    sla: float
    touched: float | None
    newest: float | None
    behind: float

    @property
    def age(self) -> float | None:
        """What the SLA is about: the worse of `touched` and `behind`."""
        return None if self.touched is None else max(self.touched, self.behind)

    @property
    def verdict(self) -> Verdict:
        """Fresh within the SLA, late up to twice of it, then overdue; unknown before the first word of its progress."""
        if self.age is None:
            return "unknown"
        if self.age > OVERDUE * self.sla:
            return "overdue"
        return "fresh" if self.age <= self.sla else "late"

    def __str__(self) -> str:
        """For people: "user_activity@1 was up to date 75.2 s ago, its SLA is 30 s"."""
        if self.age is None:
            return f"{self.group_id} has not told yet how far it is"
        return f"{self.group_id} was up to date {self.age:.1f} s ago, its SLA is {self.sla:g} s"


def freshness(redis: Redis, plan: GroupPlan, now: datetime) -> Freshness:
    """How fresh a streaming group is at `now`.

    A row of T is due when the stream's `max_out_of_orderness` has passed after T. Of a stream without heartbeats
    nobody knows whether a row is due while no events come: only `touched` counts then.

    Raises:
        StackError: if Redis does not answer.
    """
    assert plan.stream is not None
    found, at = last_updated(redis, plan.schema), to_micros(now)
    touched = newest = None
    behind = 0.0
    if found is not None:
        touched = max(0.0, (at - found.complete_at) / SECOND)
        if found.newest is not None:
            newest = (at - found.newest) / SECOND
            due = found.newest + plan.slide + plan.stream.out_of_orderness_size
            behind = max(0.0, (at - due) / SECOND) if plan.stream.heartbeats else 0.0
    return Freshness(plan.group.id, plan.schema.freshness / SECOND, touched, newest, behind)
