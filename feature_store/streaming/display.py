"""The state of stream jobs as a table for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from feature_store.streaming.offsets import message_gap

if TYPE_CHECKING:
    from rich.table import Table

    from feature_store.streaming.jobs import Streams
    from feature_store.streaming.progress import JobState


def explained(streams: Streams, state: JobState) -> JobState:
    """A job's state with a note of what keeps it from running, and what to do, if it does not run as it should."""
    if state.is_good or state.note:
        return state
    if state.progress is None:
        note = "ended" if state.starts else "not started yet"
        return replace(state, note=f"{note}; Dagster's sensor starts it, and so does ./fs stream start")
    gap = message_gap(streams.topics, streams.wanted[state.name])
    failure = streams.flink.cluster_of(state.name).last_failure(state.progress.job_id)
    return replace(state, note=gap.message if gap is not None else failure)


def status_table(states: Sequence[JobState]) -> Table:
    """One row for each job; times as ages."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("job", "state", "watermark", "lag", "in", "out", "checkpoint", "state size", "starts", "note"):
        table.add_column(heading, justify="left" if heading in ("job", "state", "note") else "right", no_wrap=True)
    now = datetime.now(UTC)
    for state in states:
        progress = state.progress
        colour = "green" if state.is_good else "red"
        shown = [state.name, f"[{colour}]{state.state}[/]"]
        if progress is None:
            table.add_row(*shown, *[""] * 6, str(state.starts), state.note)
            continue
        table.add_row(
            *shown,
            _age(progress.watermark, now),
            "" if progress.lag is None else f"{progress.lag:,}",
            f"{progress.records_in:,}",
            f"{progress.records_out:,}",
            _age(progress.checkpoint, now) + (f" ({progress.checkpoint_ms} ms)" if progress.checkpoint else ""),
            f"{progress.checkpoint_bytes / 1024:,.0f} KiB" if progress.checkpoint else "",
            str(state.starts),
            state.note,
        )
    return table


def _age(instant: datetime | None, now: datetime) -> str:
    """How long ago: "1.2 s", "4 min"; empty if never."""
    if instant is None:
        return ""
    seconds = (now - instant).total_seconds()
    if abs(seconds) < 120:
        return f"{seconds:.1f} s ago"
    return f"{seconds / 60:,.0f} min ago" if seconds < 7200 else f"{seconds / 3600:,.0f} h ago"
