"""What a posted group may read: a definition in code is reviewed, this one only has to be of the right form."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import PurePosixPath

from feature_store.dsl.group import FeatureGroup
from feature_store.dsl.source import BatchSource
from feature_store.errors import AccessError, DefinitionError, DefinitionErrors
from feature_store.registry.access.decision import Decision, Guarded, guarded_group
from feature_store.registry.access.tokens import Action
from feature_store.registry.posted import sources_of
from feature_store.registry.records import GroupRecord

_OWN_DATABASES = ("registry", "iceberg", "dagster", "postgres")
_OWN_SCHEMAS = ("pg_catalog", "information_schema")
_TABLE_OF_GROUP = re.compile(r"features\.(\w+)_v(\d+)")


def check_sources(
    group: FeatureGroup, recorded: Iterable[GroupRecord], decide: Callable[[Action, Guarded], Decision]
) -> None:
    """Refuses sources that would give away what their reader may not have; those of recorded groups are known.

    Args:
        recorded: the groups that there are.

    Raises:
        DefinitionErrors: if a source is a database of the feature store itself, or files outside its data root.
        AccessError: if it reads another group's rows which `decide` does not let its author read.
    """
    groups = {record.id: record for record in recorded}
    known = {place for record in groups.values() for place in _places(record)}
    errors = []
    for source in group.all_sources:
        for before in _read_groups(source, groups):
            _check_rows(before, source, decide)
        if _place(group, source) not in known and (problem := _problem(group, source)):
            errors.append(
                DefinitionError(
                    f"source {source.name!r}: {problem}",
                    where=f"group {group.id}, source {source.name}",
                    remedy="read another place, or define the group in code",
                    code="posted-source",
                )
            )
    if errors:
        raise DefinitionErrors(errors)


Place = tuple[str | None, ...]
"""A topic, for an event log, which is written, or None; table, path and address in Postgres, of which one is given."""


def _place(group: FeatureGroup, source: BatchSource) -> Place:
    return None if group.stream is None else group.stream.topic, source.table, source.path, source.jdbc


def _places(record: GroupRecord) -> Iterator[Place]:
    for source in sources_of(record.definition):
        read = source.get("history", source)
        yield source.get("topic"), read.get("table"), read.get("path"), read.get("jdbc")


def _read_groups(source: BatchSource, groups: dict[str, GroupRecord]) -> list[GroupRecord]:
    """The groups whose rows a source is, as it says itself and as its table says."""
    ids = {source.of_group} if source.of_group else set()
    if source.table is not None and (match := _TABLE_OF_GROUP.fullmatch(source.table.lower())):
        ids.add(f"{match[1]}@{match[2]}")
    return [groups[name] for name in sorted(ids) if name in groups]


def _check_rows(before: GroupRecord, source: BatchSource, decide: Callable[[Action, Guarded], Decision]) -> None:
    masked = decide("read", guarded_group(before)).require().masked & source.schema.keys()
    if masked:
        raise AccessError(
            f"{', '.join(sorted(masked))} of {before.id} are personal data",
            where=f"source {source.name}",
            remedy=f"leave them out of the source's schema, or ask for the grant pii of {before.name}",
            code="access-denied",
        )


def _problem(group: FeatureGroup, source: BatchSource) -> str:
    if group.stream is not None and source.table != f"events.{group.stream.name}":
        return f"history is the table {source.table}, which no recorded stream writes"
    if source.jdbc is not None:
        database, schema, _ = source.jdbc.lower().split(".")
        if database in _OWN_DATABASES or schema in _OWN_SCHEMAS:
            return f"jdbc={source.jdbc!r} is a place of the feature store or of PostgreSQL itself"
    if source.path is not None:
        path = PurePosixPath(source.path)
        if "://" in source.path or path.is_absolute() or ".." in path.parts:
            return f"path={source.path!r} is not below the data root"
    return ""
