"""What must hold in every group, whatever its rows are computed from: names, owner, windows, ttl, sources."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import date

from feature_store.dsl.feature import Feature
from feature_store.dsl.group import FeatureGroup
from feature_store.dsl.source import BatchSource, StreamSource
from feature_store.dtypes import TIMESTAMP
from feature_store.duration import MINUTE, format_duration
from feature_store.errors import choices
from feature_store.plan.naming import (
    LOG_COLUMNS,
    RESERVED,
    TAKEN_COLUMNS,
    TAKEN_KEYS,
    TAKEN_SOURCES,
    is_owner,
    is_snake_case,
    is_table_name,
    suggested_name,
)
from feature_store.plan.problems import Problem
from feature_store.plan.stream import settings_problems, stream_problems

_BUCKETED = ("STRING", "INT", "TIMESTAMP")  # what Iceberg can put into buckets


def group_problems(group: FeatureGroup) -> Iterator[Problem]:
    """Everything that is wrong in a group but its expressions, aggregations and query."""
    yield from _identity(group)
    yield from _schedule(group)
    yield from _ttl(group)
    if group.online_store and not is_snake_case(group.online_store):
        yield Problem("online-store-name", f"online_store {group.online_store!r} is not snake_case",
                      "use lower case letters, digits and _, as in FS_ONLINE_STORES")  # fmt: skip
    for source in group.all_sources:
        if not is_snake_case(source.name) or source.name in TAKEN_SOURCES:
            yield Problem("source-name", f"source {source.name!r} cannot have this name", "use another snake_case name")
        yield from _location(source)
        if group.stream is None:
            yield from _columns(group, source)
            yield from _states(group, source)
    for name, count in Counter(source.name for source in group.sources).items():
        if count > 1:
            yield Problem("duplicate-name", f"{count} sources have the name {name!r}", "rename one of them", "query")
    if group.stream is not None:
        yield from _columns(group, group.stream)
        yield from stream_problems(group, group.stream)
    else:
        yield from settings_problems(group)
    yield from _feature_names(group)


def _identity(group: FeatureGroup) -> Iterator[Problem]:
    if not is_snake_case(group.name):
        yield Problem("name", f"the name {group.name!r} is not snake_case", "use lower case letters, digits and _")
    if not is_owner(group.owner):
        yield Problem("owner", f"owner {group.owner!r} is not an owner", "write 'team:name' or an e-mail address")
    if group.version < 1 or group.version > 9999:
        yield Problem("version", f"version {group.version} is not a version", "count versions from 1")
    if not is_snake_case(group.entity.name):
        yield Problem("name", f"the name {group.entity.name!r} is not snake_case, and features begin with it",
                      "use lower case letters, digits and _", f"entity {group.entity.name}")  # fmt: skip
    for key, dtype in group.entity.keys.items():
        if key.lower() in TAKEN_KEYS | TAKEN_COLUMNS:
            yield Problem("reserved-name", f"{key!r} is a reserved name", "rename the join key")
        if dtype.kind not in _BUCKETED:
            yield Problem("key-type", f"a key cannot be {dtype}", "use STRING, INT or TIMESTAMP")
    if not group.features:
        yield Problem("no-feature", "the group has no features", "add at least one Feature")
    if not 1 <= group.buckets <= 4096:
        yield Problem("buckets", f"buckets={group.buckets} is out of range", "use 1 to 4096")


def _schedule(group: FeatureGroup) -> Iterator[Problem]:
    try:
        date.fromisoformat(group.start)
    except ValueError:
        yield Problem("start", f"start={group.start!r} is not a date", "write it as 2026-01-31")
    slide = group.slide_size
    if slide == 0 or group.partition_size % slide:
        yield Problem(
            "slide",
            f"slide {group.slide!r} does not divide a {group.refresh} partition",
            f"use a slide that fits a whole number of times into {format_duration(group.partition_size)}",
        )
    if group.cache_size is not None and not 0 < group.cache_size <= MINUTE:
        yield Problem("cache", f"cache {group.cache!r} is out of range", "use '1ms' to '1m', or leave it out")
    for feature in group.features:
        window = feature.window
        if window is not None and window.size is not None and slide and window.size % slide:
            yield Problem("slide", f"the slide {format_duration(slide)} does not divide the window {window}",
                          "use a window that is a whole number of slides", feature)  # fmt: skip


def _ttl(group: FeatureGroup) -> Iterator[Problem]:
    """A change-emitting row holds until the next change, so a ttl within the window would erase true values."""
    if group.emits != "changes" or group.ttl_size is None:
        return
    windows = [feature.window for feature in group.features if feature.window is not None]
    longest = max((w for w in windows), key=lambda w: float("inf") if w.size is None else w.size, default=None)
    if longest is not None and (longest.size is None or group.ttl_size <= longest.size):
        yield Problem(
            "ttl",
            f"ttl {group.ttl!r} is not longer than the longest window ({longest}), and rows are written only "
            "when a value changes: values that still hold would expire",
            "use ttl=None, or emit='snapshot' to write every entity at every slide",
        )


def _times(source: BatchSource | StreamSource) -> Iterator[Problem]:
    where = f"source {source.name!r}"
    time = source.schema.get(source.event_timestamp)
    if time is None:
        yield Problem("event-timestamp", f"{where} has no column {source.event_timestamp!r} in its schema",
                      f"add '{source.event_timestamp}': TIMESTAMP to the schema")  # fmt: skip
    elif time != TIMESTAMP:
        yield Problem("event-timestamp", f"{where}: {source.event_timestamp!r} is {time}, not TIMESTAMP",
                      "declare the event time as TIMESTAMP")  # fmt: skip


def _columns(group: FeatureGroup, source: BatchSource | StreamSource) -> Iterator[Problem]:
    where = f"source {source.name!r}"
    yield from _times(source)
    if source.event_id is not None and source.event_id not in source.schema:
        yield Problem("event-id", f"{where} has no column {source.event_id!r}", "add the event id to the schema")
    taken = TAKEN_COLUMNS if isinstance(source, BatchSource) else TAKEN_COLUMNS | LOG_COLUMNS
    for name in sorted(source.schema):
        if name.lower() in taken:
            yield Problem("reserved-name", f"{where}: {name!r} is a name that the compiled SQL uses itself",
                          "leave the column out, or rename it in the source")  # fmt: skip
    for name in group.columns:
        if name.lower() in TAKEN_COLUMNS:
            yield Problem("reserved-name", f"{name!r} is a name that the compiled SQL uses itself",
                          "choose another name", f"computed column {name}")  # fmt: skip
    for names in _alike([*source.schema, *group.columns]):
        yield Problem("duplicate-name", f"{where}: the columns {names} differ in upper and lower case only, which "
                      "Spark does not tell apart", "leave one out, or rename it in the source")  # fmt: skip
    if group.source is not None:
        yield from _join_key(group, source)


def _location(source: BatchSource) -> Iterator[Problem]:
    for kind in ("table", "jdbc"):
        location = getattr(source, kind)
        for name in location.split(".") if location is not None else ():
            if not is_table_name(name):
                yield Problem("table-name", f"source {source.name!r}: {name!r} in {kind}={location!r} is not a name",
                              "use letters, digits, _, -, $ and single spaces between them")  # fmt: skip


def _states(group: FeatureGroup, source: BatchSource) -> Iterator[Problem]:
    """What is wrong in a source that is a log of changes or a series of copies."""
    where = f"source {source.name!r}"
    if group.query is None and source.holds_states:
        yield Problem("states", f"the rows of {where} are states, and an aggregation would count every version of each",
                      "write query=, which sees how things are at each instant; or leave changes_of and copies out, if "
                      "the changes themselves are the events")  # fmt: skip
    for name in source.changes_of:
        if name not in source.schema:
            yield Problem("unknown-column", f"{where} has no column {name!r}", choices(name, source.schema))


def _join_key(group: FeatureGroup, source: BatchSource | StreamSource) -> Iterator[Problem]:
    entity, where = group.entity, f"source {source.name!r}"
    for key, dtype in entity.keys.items():
        found = source.schema.get(key)
        if found is None:
            yield Problem("join-key", f"{where} has no column {key!r}, the join key of {entity.name}",
                          f"add it to the source's schema; {choices(key, source.schema)}")  # fmt: skip
        elif found != dtype:
            yield Problem("join-key", f"{where}: {key!r} is {found}, as the join key of {entity.name} it is {dtype}",
                          "make the types equal")  # fmt: skip


def _alike(names: Iterable[str]) -> Iterator[str]:
    """The names that differ in case only, each set of them as a text."""
    spelt: dict[str, dict[str, None]] = {}
    for name in names:
        spelt.setdefault(name.lower(), {})[name] = None
    yield from (" and ".join(map(repr, found)) for found in spelt.values() if len(found) > 1)


def _feature_names(group: FeatureGroup) -> Iterator[Problem]:
    entity = group.entity
    subjects: list[tuple[str, Feature | str]] = [(feature.name, feature) for feature in group.features]
    subjects += [(name, f"derived feature {name}") for name in group.derived]
    for name, count in Counter(name for name, _ in subjects).items():
        if count > 1:
            last = [subject for other, subject in subjects if other == name][-1]
            yield Problem("duplicate-name", f"the name {name!r} is used {count} times", "give each feature its own",
                          last)  # fmt: skip
    for name, subject in subjects:
        if name in RESERVED | TAKEN_KEYS or name in entity.keys:
            yield Problem("reserved-name", f"{name!r} is a reserved name", "choose another name", subject)
    for feature in group.features:
        yield from _convention(feature, entity.name)
    for name in group.derived:
        if not (is_snake_case(name) and name.startswith(f"{entity.name}_")):
            yield Problem("feature-name", f"the name {name!r} does not start with {entity.name + '_'!r}",
                          f"name it {entity.name + '_' + name!r}", f"derived feature {name}")  # fmt: skip


def _convention(feature: Feature, entity: str) -> Iterator[Problem]:
    suggestion = suggested_name(feature, entity)
    if feature.name == suggestion:
        return
    is_session = feature.window is not None and feature.window.session
    if not feature.rename_ok:
        yield Problem(
            "feature-name",
            f"the name {feature.name!r} is not of the form {{entity}}_{{what}}_{{aggregation}}_{{window}}"
            + (", with the word session for the window" if is_session else ""),
            f"name it {suggestion!r}, or say rename_ok='why'",
            feature,
        )
    elif not is_snake_case(feature.name):
        yield Problem("feature-name", f"the name {feature.name!r} is not snake_case, which rename_ok does not excuse",
                      f"name it {suggestion!r}, or use lower case letters, digits and _", feature)  # fmt: skip
