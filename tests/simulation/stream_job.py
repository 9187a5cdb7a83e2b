"""A streaming group's Flink job as its kernel and its sinks behave, with the kernel in its harness in place of Flink.

The job reads messages (events and heartbeats) of one Kafka partition in their order, emits rows at least once to the
topic of updates, and commits them exactly once to the offline table at its checkpoints.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa
from pyiceberg.catalog import Catalog

from feature_store.compile.flink import KAFKA_OFFSET, KAFKA_PARTITION, RECORDED_AT
from feature_store.compile.kernel_spec import in_kernel_order, kernel_spec
from feature_store.dsl.source import StreamSource
from feature_store.dtypes import TIMESTAMP, from_micros
from feature_store.offline.snapshots import FLINK_JOB
from feature_store.plan.event_inputs import event_inputs
from feature_store.plan.nodes import GroupPlan, WindowedRows
from feature_store.streaming.tables import ensure_log
from tests.integration.kernel_harness import KernelHarness
from tests.integration.kernel_play import kernel_event
from tests.simulation.group_store import GroupStore
from tests.simulation.oracle import Row, StoredRow


@dataclass(frozen=True)
class Message:
    """A message of the source's topic: an event, or a heartbeat (no `row`); `at` is its time (microseconds)."""

    at: int
    row: Row | None = None


@dataclass
class EventLog:
    """The event log of a topic, as its own job commits it: an Iceberg table."""

    catalog: Catalog
    stream: StreamSource
    topic: list[Message]
    position: int = 0

    def commit(self, messages: int) -> None:
        """Adds the events among the next messages in one snapshot."""
        table = ensure_log(self.catalog, self.stream)
        batch = self.topic[self.position : self.position + messages]
        rows = [
            {**message.row, KAFKA_PARTITION: 0, KAFKA_OFFSET: offset, RECORDED_AT: None}
            for offset, message in enumerate(batch, self.position)
            if message.row is not None
        ]
        if rows:
            table.append(pa.Table.from_pylist(rows, schema=table.schema().as_arrow()))
        self.position += len(batch)

    def has_all_before(self, instant: int) -> bool:
        """Whether the log has all events that the topic has from before an instant (microseconds)."""
        return all(message.row is None or message.at >= instant for message in self.topic[self.position :])


@dataclass(frozen=True)
class Checkpoint:
    """Where a job can go on: the next message, the kernel's steps so far, and how many rows it had emitted."""

    position: int = 0
    steps: tuple[dict[str, Any], ...] = ()
    emitted: int = 0


@dataclass
class StreamJob:
    """The job of one group, and the topics that it reads and writes."""

    harness: KernelHarness
    store: GroupStore
    plan: GroupPlan
    topic: list[Message] = field(default_factory=list)
    updates: list[StoredRow] = field(default_factory=list)
    checkpoints: list[Checkpoint] = field(default_factory=lambda: [Checkpoint()])
    state: Checkpoint = Checkpoint()
    pending: list[StoredRow] = field(default_factory=list)
    newest: int | None = None
    """The greatest time of a message since the job's start: its watermark follows it."""

    def process(self, messages: int) -> None:
        """Reads some messages; their rows go to the topic of updates at once."""
        assert isinstance(self.plan.rows, WindowedRows)
        stream = self.plan.stream
        assert stream is not None
        steps = [{"clock": self.store.now}]
        batch = self.topic[self.state.position : self.state.position + messages]
        for message in batch:
            self.newest = max(message.at, message.at if self.newest is None else self.newest)
            step: dict[str, Any] = {"watermark": (self.newest - stream.out_of_orderness_size) // 1000 - 1}
            event = None if message.row is None else kernel_event(self.plan, event_inputs(self.plan.rows), message.row)
            steps.append(step if event is None else {"event": event, **step})
        steps_so_far = (*self.state.steps, *steps)
        answer = self.harness.run(kernel_spec(self.plan), steps_so_far, ends=False)
        assert answer.error is None, answer.error
        rows = [self._row(*row) for row in answer.rows[self.state.emitted :]]
        self.state = Checkpoint(self.state.position + len(batch), steps_so_far, len(answer.rows))
        self.updates += rows
        self.pending += rows

    def checkpoint(self) -> None:
        """Completes a checkpoint: its rows are committed to the offline table in one snapshot."""
        if self.pending:
            self.store.table().append(self.store.arrow(self.pending), snapshot_properties={FLINK_JOB: "simulated"})
            self.store.note_written()
        self.pending = []
        self.checkpoints.append(self.state)

    def restore(self, back: int) -> None:
        """The job fails and goes on from a checkpoint, `back` before the newest one; its watermark is unknown then."""
        state = self.checkpoints[max(0, len(self.checkpoints) - 1 - back)]
        self.state = replace(state, steps=(*state.steps, {"restore": True}))
        self.pending = []
        self.newest = None

    def _row(self, key: str, at: int, created: int, values: tuple[Any, ...]) -> StoredRow:
        assert isinstance(self.plan.rows, WindowedRows)
        types = {feature.name: feature.dtype for feature in self.store.schema.features}
        named = zip([aggregate.name for aggregate in in_kernel_order(self.plan.rows)], values, strict=True)
        right = {n: from_micros(v) if types[n] == TIMESTAMP and v is not None else v for n, v in named}
        return StoredRow(key, at, created, False, {name: right[name] for name in types})
