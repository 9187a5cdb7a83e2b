"""Dead letters: reading them, and counting them by source and reason. All reads are bounded by time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pyarrow.compute as pc
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.expressions import And, BooleanExpression, EqualTo, GreaterThanOrEqual
from pyiceberg.table import Table

from feature_store.dsl.source import StreamSource
from feature_store.streaming.tables import ensure_dead_letters

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.catalog import Catalog

LOOK_BACK = timedelta(days=7)
"""How far back letters are read unless told: the time for which Kafka keeps messages by default."""
COUNTED = timedelta(hours=1)
"""The time over which letters are counted for the alert."""


@dataclass(frozen=True)
class LetterCounts:
    """The dead letters of a source over the last hour.

    Args:
        by_reason: how many messages there are of each reason; one that several groups could not use counts once.
        events: how many events came into the source's log meanwhile.
        limit: the share of dead letters above which an alert is raised.
    """

    source: str
    by_reason: Mapping[str, int]
    events: int
    limit: float

    @property
    def rate(self) -> float:
        """The share of messages that are dead letters; malformed ones are not in the log."""
        letters = sum(self.by_reason.values())
        messages = self.events + self.by_reason.get("malformed", 0)
        return letters / max(messages, letters) if letters else 0.0

    @property
    def is_high(self) -> bool:
        """Whether there are more than the source allows."""
        return self.rate > self.limit

    def __str__(self) -> str:
        counts = ", ".join(f"{count:,} {reason}" for reason, count in sorted(self.by_reason.items())) or "none"
        return f"dead letters of {self.source} in the last hour: {counts} ({self.rate:.2%} of its messages)"


def read_dead_letters(catalog: Catalog, source: str, reason: str = "", since: datetime | None = None) -> pa.Table:
    """The dead letters of a source, of one reason if it is given, in Kafka's order.

    Args:
        since: the instant since which they were recorded, seven days ago unless given.
    """
    rows = _scan(ensure_dead_letters(catalog), source, since, reason)
    return rows.sort_by([("kafka_partition", "ascending"), ("kafka_offset", "ascending")])


def count_dead_letters(catalog: Catalog, stream: StreamSource, now: datetime) -> LetterCounts:
    """The dead letters of a source in the hour before an instant, and the events of that hour."""
    columns = ("reason", "kafka_partition", "kafka_offset")
    rows = _scan(ensure_dead_letters(catalog), stream.name, now - COUNTED, columns=columns)
    messages = rows.group_by(list(columns)).aggregate([])
    counts = {entry["values"].as_py(): entry["counts"].as_py() for entry in pc.value_counts(messages["reason"])}
    return LetterCounts(stream.name, counts, _events_since(catalog, stream, now - COUNTED), stream.dead_letter_rate)


def _scan(
    table: Table, source: str, since: datetime | None, reason: str = "", columns: tuple[str, ...] = ("*",)
) -> pa.Table:
    """Reads the days since an instant only: the table is partitioned by the day of `recorded_at`."""
    first = since if since is not None else datetime.now(UTC) - LOOK_BACK
    wanted: BooleanExpression = And(
        EqualTo(term="source", value=source), GreaterThanOrEqual(term="recorded_at", value=first.isoformat())
    )
    if reason:
        wanted = And(wanted, EqualTo(term="reason", value=reason))
    return table.scan(row_filter=wanted, selected_fields=columns).to_arrow()


def _events_since(catalog: Catalog, stream: StreamSource, since: datetime) -> int:
    """How many events the log's job has committed since an instant: the snapshots say so, no file is read."""
    try:
        table = catalog.load_table(str(stream.log.table))
    except NoSuchTableError:
        return 0
    recent = [s for s in table.metadata.snapshots if s.timestamp_ms >= since.timestamp() * 1000]
    added = [
        int(s.summary["added-records"] or 0)
        for s in recent
        if s.summary is not None and s.summary.operation.value == "append" and "added-records" in s.summary
    ]
    return sum(added)
