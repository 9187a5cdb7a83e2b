"""A definition taken apart into named texts, so that two versions of it can be laid side by side."""

from __future__ import annotations

import json
from textwrap import dedent
from typing import Any, NamedTuple

import sqlglot

from feature_store.dsl.group import FeatureGroup
from feature_store.dsl.source import BatchSource, StreamSource
from feature_store.duration import format_duration
from feature_store.registry.records import EntityRecord, ViewRecord

NONE = "none"
ALL = "all"
DEFAULT_STORE = "the default one"
OWN_KEY = "the entity's"
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
    """Every field of a view that is set, how it reads its groups, its request values and its on-demand features."""
    known = ("name", "version", "groups", "request", "on_demand")
    facts = {Fact("view", "", name): _shown(value) for name, value in view.definition.items() if name not in known}
    facts[Fact("view", "", "access")] = view.access
    facts[Fact("view", "", "prejoin")] = str(view.definition.get("prejoin", False))
    for reading in view.readings:
        facts[Fact("group", reading.id, "")] = "read"
        facts[Fact("group", reading.id, "features")] = ALL if reading.features is None else ", ".join(reading.features)
        facts[Fact("group", reading.id, "key")] = OWN_KEY if reading.key is None else ", ".join(reading.key)
    facts |= {Fact("request value", name, ""): dtype for name, dtype in view.definition.get("request", {}).items()}
    for feature in view.on_demand:
        facts |= {
            Fact("on-demand feature", feature["name"], field): _on_demand_fact(field, value)
            for field, value in feature.items()
            if field != "name"
        }
    return facts


def group_facts(group: FeatureGroup, dtypes: dict[str, str]) -> dict[Fact, str]:
    """Every field of a group that is set, defaults in force included; `dtypes` are the types of its derived features.

    A field that this module does not know is in it too, so nothing that differs goes unseen.
    """
    data = group.to_json()
    facts = {Fact("group", "", name): _shown(value) for name, value in data.items() if name not in _PARTS}
    facts |= {Fact("group", "", name): value for name, value in _in_force(group).items()}
    facts |= {Fact("tag", name, ""): value for name, value in group.tags.items()}
    facts |= {Fact("computed column", name, ""): text for name, text in group.columns.items()}
    for source in group.all_sources if group.stream is None else (group.stream,):
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


def _on_demand_fact(field: str, value: Any) -> str:
    """A field's text; an expression in one spelling, so that blanks and letters' case are no difference."""
    if field == "expression":
        return sqlglot.parse_one(value, read="duckdb").sql(dialect="duckdb")
    return json.dumps(value, ensure_ascii=False) if field == "default" else _shown(value)


def _in_force(group: FeatureGroup) -> dict[str, str]:
    """The fields that mean something when they are not given, and durations in one spelling."""
    streaming = {"commit_interval": format_duration(group.commit_size), "parallelism": str(group.parallelism)}
    return {
        **(streaming if group.stream is not None else {}),
        "entity": group.entity.name,
        "refresh": group.refresh,
        "slide": format_duration(group.slide_size),
        "emit": group.emits,
        "ttl": NONE if group.ttl_size is None else format_duration(group.ttl_size),
        "availability_delay": format_duration(group.availability_delay_size),
        "freshness": format_duration(group.freshness_size),
        "cache": NONE if group.cache_size is None else format_duration(group.cache_size),
        "start": group.start,
        "buckets": str(group.buckets),
        "access": group.access,
        "online_store": group.online_store or DEFAULT_STORE,
    }


def _source_facts(source: BatchSource | StreamSource, item: str) -> dict[Fact, str]:
    data = source.to_json()
    places = ("schema", "table", "path", "jdbc", "topic", "history")
    facts = {Fact("source", item, name): _shown(value) for name, value in data.items() if name not in places}
    facts[Fact("source", item, "location")] = source.location
    facts[Fact("source", item, "deduplicate_within")] = format_duration(source.deduplicate_size)
    if isinstance(source, StreamSource):
        facts[Fact("source", item, "event log")] = source.log.location
        facts[Fact("source", item, "format")] = source.format
        facts[Fact("source", item, "time_format")] = source.time_format
        facts[Fact("source", item, "max_out_of_orderness")] = format_duration(source.out_of_orderness_size)
        facts[Fact("source", item, "allowed_lateness")] = format_duration(source.lateness_size)
        facts[Fact("source", item, "heartbeats")] = str(source.heartbeats)
        facts[Fact("source", item, "dead_letter_rate")] = str(source.dead_letter_rate)
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
