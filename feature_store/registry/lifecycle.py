"""What the status of a version means: who may still read what is deprecated, and when it may be retired.

ACTIVE and DEPRECATED are said in the definition and recorded by apply; RETIRED is an act of its own, and final.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta

from feature_store.duration import DAY, MILLISECOND, format_duration
from feature_store.errors import ConflictError
from feature_store.registry.changes import Detail
from feature_store.registry.model_records import ModelRecord
from feature_store.registry.records import GroupRecord, UsageRecord, ViewRecord
from feature_store.registry.tables import Status

UNUSED_FOR = 90 * DAY
"""How long no model must have said that it reads a version before it is retired (microseconds)."""


def refused_reads(view: ViewRecord, groups: Mapping[str, GroupRecord], recorded: Collection[str]) -> tuple[Detail, ...]:
    """Why a new view cannot be recorded: a breaking detail for each deprecated group it reads.

    A group that is not recorded either is no obstacle: a project is being recorded for the first time, as it is.
    """
    reason = "new views use the successor"
    return tuple(
        Detail(f"reads {group.id}, {group.deprecated}", None, None, True, reason)
        for group in (groups[name] for name in dict.fromkeys(view.groups))
        if group.status is not Status.ACTIVE and group.id in recorded
    )


def successors(view: ViewRecord, groups: Mapping[str, GroupRecord]) -> str:
    """What a view is to read instead of its deprecated groups: "user_orders@2"."""
    read = (groups[name].deprecated for name in dict.fromkeys(view.groups))
    return ", ".join(deprecated.successor for deprecated in read if deprecated is not None)


def check_training(
    view: GroupRecord | ViewRecord,
    groups: Sequence[GroupRecord],
    usage: Sequence[UsageRecord],
    model: str,
    refused: str = "new training is",
) -> None:
    """Refuses new training on what is deprecated; a model that is recorded as a user of the view goes on, warned.

    Args:
        view: or a group by itself.
        refused: what is, for the message.

    Raises:
        ConflictError: naming successor and removal date, or that the version is retired.
    """
    read: list[GroupRecord | ViewRecord] = [view, *groups]
    for record in read:
        if record.status is Status.RETIRED:
            raise retired_error(record)
    outdated = [record for record in read if record.status is Status.DEPRECATED]
    if not outdated:
        return
    said = "; ".join(f"{record.id} is {record.deprecated}" for record in outdated)
    if any(used.model == model for used in usage):
        warnings.warn(f"{view.id}: {said}", FutureWarning, stacklevel=3)
        return
    instead = ", ".join(record.deprecated.successor for record in outdated if record.deprecated is not None)
    raise ConflictError(
        f"{refused} refused: {said}",
        where=f"view {view.id}",
        remedy=f"train with {instead}, or give model= the name of a model that is recorded as a user of {view.id}",
        code="deprecated",
    )


def retired_error(record: GroupRecord | ViewRecord) -> ConflictError:
    """What a reader of a retired version is told."""
    instead = f"use {record.deprecated.successor}" if record.deprecated is not None else "use a newer version"
    return ConflictError(f"{record.id} is retired", remedy=instead, code="retired")


def check_retirement(
    record: GroupRecord | ViewRecord,
    readers: Sequence[ViewRecord],
    usage: Sequence[UsageRecord],
    *,
    defined: bool,
    unused_for: int = UNUSED_FOR,
    models: Sequence[ModelRecord] = (),
) -> None:
    """Refuses to retire what is not ready for it.

    Args:
        readers: the recorded views that read it.
        usage: by models, of it and of its readers.
        defined: whether the project still defines it.
        unused_for: how long no model must have said that it reads it (microseconds).
        models: those registered with it or with a reader of it that are not retired.

    Raises:
        ConflictError: with everything that stands against it.
    """
    reasons = [*_obstacles(record, readers, defined=defined), *_registered(models), *_recent(usage, unused_for)]
    if reasons:
        raise ConflictError(
            f"{record.id} cannot be retired: {'; '.join(reasons)}",
            remedy="deprecate it first, and retire it when its date has passed and nothing reads it",
            code="not-retired",
        )


def _obstacles(record: GroupRecord | ViewRecord, readers: Sequence[ViewRecord], *, defined: bool) -> Iterator[str]:
    if record.status is Status.RETIRED:
        yield "it is retired already"
        return
    if record.deprecated is None:
        yield "it is not deprecated"
    elif _today() < record.deprecated.removal_date:
        yield f"its removal date is {record.deprecated.removal}"
    if defined:
        yield "it is still defined: take it out of the definitions"
    reading = [view.id for view in readers if view.status is not Status.RETIRED]
    if reading:
        yield f"{', '.join(reading)} read{'s' if len(reading) == 1 else ''} it"


def _registered(models: Sequence[ModelRecord]) -> Iterator[str]:
    for model in models:
        yield f"the model {model.id} of {model.owner} is registered with {model.view}: ./fs retire {model.id} --model"


def _recent(usage: Sequence[UsageRecord], unused_for: int) -> Iterator[str]:
    since = datetime.now(UTC) - timedelta(milliseconds=unused_for // MILLISECOND)
    for used in usage:
        if used.last_used_at > since:
            yield (
                f"the model {used.model} used {used.used} for {used.purpose} on {used.last_used_at.date()}, "
                f"within the last {format_duration(unused_for)}"
            )


def _today() -> date:
    return datetime.now(UTC).date()
