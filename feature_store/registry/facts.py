"""A definition taken apart into named texts, so that two versions of it can be laid side by side."""

from __future__ import annotations

import json
from textwrap import dedent
from typing import Any, NamedTuple

from feature_store.dsl.group import FeatureGroup
from feature_store.dsl.source import BatchSource
from feature_store.duration import format_duration, parse_duration
from feature_store.registry.records import EntityRecord, ViewRecord

NONE = "none"
_PARTS = ("name", "version", "entity", "source", "sources", "features", "derived", "columns", "tags")


class Fact(NamedTuple):
    """The place of one text: a field of the group itself (`item` empty), or of one of its parts."""

    scope: str
    item: str
    field: str

    def __str__(self) -> str:
        part = f"{self.scope} {self.item}" if self.item else "source" if self.scope == "source" else ""
        return ": ".join(text for text in (part, self.field) if text)


def entity_facts(entity: EntityRecord) -> dict[Fact, str]:
    """Every field of an entity that is set, and its type."""
    facts = {Fact("entity", "", name): _shown(value) for name, value in entity.definition.items() if name != "name"}
    return facts | {Fact("entity", "", "dtype"): entity.dtype}


def view_facts(view: ViewRecord) -> dict[Fact, str]:
    """Every field of a view that is set, and the groups it reads."""
    known = ("name", "version", "groups")
    facts = {Fact("view", "", name): _shown(value) for name, value in view.definition.items() if name not in known}
    return facts | {Fact("group", group, ""): "read" for group in view.groups}


def group_facts(group: FeatureGroup, dtypes: dict[str, str]) -> dict[Fact, str]:
    """Every field of a group that is set, defaults in force included; `dtypes` are the types of its derived features.

    A field that this module does not know is in it too, so nothing that differs goes unseen.
    """
    data = group.to_json()
    facts = {Fact("group", "", name): _shown(value) for name, value in data.items() if name not in _PARTS}
    facts |= {Fact("group", "", name): value for name, value in _in_force(group).items()}
    facts |= {Fact("tag", name, ""): value for name, value in group.tags.items()}
    facts |= {Fact("computed column", name, ""): text for name, text in group.columns.items()}
    for source in group.all_sources:
        # a query names its sources; the only source of a group may change its name
        facts |= _source_facts(source, item="" if group.query is None else source.name)
    for feature in data["features"]:
        facts |= {
            Fact("feature", feature["name"], field): _shown(value)
            for field, value in feature.items()
            if field != "name"
        }
    for feature in group.features:
        if feature.agg is not None:
            facts[Fact("feature", feature.name, "aggregation")] = str(feature.agg)
            del facts[Fact("feature", feature.name, "agg")]
        if feature.default is not None:
            facts[Fact("feature", feature.name, "default")] = json.dumps(
                feature.to_json()["default"], ensure_ascii=False
            )
    for name, text in group.derived.items():
        facts[Fact("derived feature", name, "expression")] = text
        facts[Fact("derived feature", name, "dtype")] = dtypes.get(name, NONE)
    return facts


def _in_force(group: FeatureGroup) -> dict[str, str]:
    """The fields that mean something when they are not given, and durations in one spelling."""
    return {
        "entity": group.entity.name,
        "refresh": group.refresh,
        "slide": format_duration(group.slide_size),
        "emit": group.emits,
        "ttl": NONE if group.ttl_size is None else format_duration(group.ttl_size),
        "availability_delay": format_duration(parse_duration(group.availability_delay)),
        "freshness": format_duration(group.freshness_size),
        "start": group.start,
        "buckets": str(group.buckets),
    }


def _source_facts(source: BatchSource, item: str) -> dict[Fact, str]:
    data = source.to_json()
    places = ("schema", "table", "path", "jdbc")
    facts = {Fact("source", item, name): _shown(value) for name, value in data.items() if name not in places}
    facts[Fact("source", item, "location")] = source.location
    for column, dtype in data["schema"].items():
        facts[Fact("source column", f"{item}.{column}" if item else column, "")] = dtype
    return facts


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_shown(part)}" for key, part in value.items())
    if isinstance(value, list):
        return f"[{', '.join(_shown(part) for part in value)}]"
    if not isinstance(value, str):
        return str(value)
    return dedent(value).strip() or repr(value)
