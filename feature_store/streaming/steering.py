"""Taking jobs in hand, by people and by Dagster's jobs: checked names, and no collision with the supervising sensor."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from feature_store.errors import ConflictError, NotFoundError
from feature_store.registry.streams import StreamJob
from feature_store.streaming.jobs import Outcome, Streams

PATIENCE_SECONDS = 240.0
"""Longer than it takes to start a job."""
_LOOK_SECONDS = 0.2


def chosen(streams: Streams, names: Sequence[str]) -> Sequence[str]:
    """The names of jobs as given, or all.

    Raises:
        NotFoundError: if a name is not that of a job.
    """
    for name in names:
        if name not in streams.wanted:
            known = ", ".join(repr(job) for job in streams.wanted)
            raise NotFoundError(
                f"there is no stream job {name!r}", remedy=f"jobs are: {known or 'none'}", code="unknown-job"
            )
    return names or tuple(streams.wanted)


def start(streams: Streams, name: str, accept_gap: bool = False) -> Outcome:
    """Lets a job run that was stopped or never started; finds it running otherwise.

    Args:
        accept_gap: whether a job may begin, or go on, although Kafka has deleted messages that it needs.

    Raises:
        ConflictError: if another process does not finish with the job, or for such a gap.
        StackError: if Flink refuses it.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        outcomes = streams.start(name, accept_gap)  # none while another process is at it
        if outcomes:
            return outcomes[0]
        _wait(name, deadline)


def stop(streams: Streams, name: str) -> StreamJob | None:
    """Stops a job with a savepoint; None if it was never started.

    Nobody else may look at it meanwhile: a sensor that finds it ended and not yet recorded as stopped would resume it.

    Raises:
        ConflictError: if another process does not finish with the job.
        StackError: if the savepoint fails; the job then goes on.
    """
    with _alone(streams, name):
        return streams.stop(name)


def restart(streams: Streams, name: str) -> Outcome:
    """Stops a job with a savepoint and goes on from it."""
    stop(streams, name)
    return start(streams, name)


@contextmanager
def _alone(streams: Streams, name: str) -> Iterator[None]:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        with streams.records.only_one(name) as alone:
            if alone:
                yield
                return
        _wait(name, deadline)


def _wait(name: str, deadline: float) -> None:
    if time.monotonic() > deadline:
        raise ConflictError(
            "another process is at the job and does not finish",
            where=f"job {name}",
            remedy="see its sensor in Dagster",
            code="job-busy",
        )
    time.sleep(_LOOK_SECONDS)
