"""What is recorded, for people: all groups and views, or one of them with everything about it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from feature_store.duration import SECOND, format_duration
from feature_store.registry.lineage import Lineage
from feature_store.registry.model_records import ModelRecord
from feature_store.registry.records import GroupRecord, UsageRecord, ViewRecord
from feature_store.registry.tables import Status


def render_all(
    groups: tuple[GroupRecord, ...], views: tuple[ViewRecord, ...], models: tuple[ModelRecord, ...] = ()
) -> RenderableType:
    """Every recorded group, view and model, a line each."""
    if not groups and not views:
        return Text("Nothing is recorded yet: run ./fs apply")
    group_table = table("Feature group", "Entity", "Features", "TTL", "Owner", "Status", "Since")
    for group in groups:
        count, since = str(len(group.features)), _day(group.created_at)
        add_row(group_table, group.id, group.entity, count, _ttl(group), group.owner, _short_status(group), since)
    view_table = table("Feature view", "Reads", "Owner", "Status", "Since")
    for view in views:
        reads = ", ".join(map(str, view.readings))
        add_row(view_table, view.id, reads, view.owner, _short_status(view), _day(view.created_at))
    model_table = table("Model", "Reads", "Features", "Owner", "Status", "Since")
    for model in models:
        count, since = str(len(model.features)), _day(model.created_at)
        add_row(model_table, model.id, model.view, count, model.owner, _model_status(model), since)
    tables = ((group_table, groups), (view_table, views), (model_table, models))
    return Group(*(table for table, found in tables if found))


def render_group(group: GroupRecord) -> RenderableType:
    """One group: what is known of it, and its features in the order of their columns."""
    personal = [("personal data", ", ".join(each.name for each in group.features if each.pii))] if group.pii else []
    kept = [("kept in", f"the registry: ./fs export {group.id} prints it as code")] if group.posted else []
    facts = [("entity", group.entity), ("ttl", _ttl(group)), *personal, *kept, *_circumstances(group)]
    features = table("Feature", "Type", "Default", "Description")
    for feature in group.features:
        add_row(features, feature.name, feature.dtype, _json(feature.default), feature.description)
    return Group(*_head(group.id, "feature group", group.description, facts), features)


def render_view(view: ViewRecord, groups: tuple[GroupRecord, ...], usage: tuple[UsageRecord, ...]) -> RenderableType:
    """One view: what is known of it, the features it reads, its models; `groups` has one for each of its readings."""
    features = table("Feature", "Type", "Default", "Feature group")
    for reading, group in zip(view.readings, groups, strict=True):
        columns = {feature.name: feature for feature in group.features}
        for name in columns if reading.features is None else reading.features:
            feature = columns[name]
            add_row(features, f"{reading.prefix}{name}", feature.dtype, _json(feature.default), reading.id)
    parts = [*_head(view.id, "feature view", view.description, _view_facts(view, groups)), features]
    if view.on_demand:
        computed = table("On-demand feature", "Type", "Default", "Computed as")
        for each in view.on_demand:
            how = each.get("expression") or each["function"]
            add_row(computed, each["name"], each["dtype"], _json(each.get("default")), how)
        parts.append(computed)
    if usage:
        models = table("Used by", "For", "First", "Last")
        for used in usage:
            add_row(models, used.model, used.purpose, _day(used.first_used_at), _day(used.last_used_at))
        parts.append(models)
    return Group(*parts)


def render_model(model: ModelRecord) -> RenderableType:
    """One version of a model: what is known of it, and the features that it reads in its order."""
    facts = [
        ("reads", model.view),
        *([("training set", model.dataset)] if model.dataset is not None else []),
        *([("lies at", model.uri)] if model.uri else []),
        ("owner", model.owner),
        ("status", _model_status(model)),
        ("registered", f"{instant(model.created_at)} by {model.created_by}"),
    ]
    features = table("Feature", "Type", "Comes from")
    for feature in model.features:
        add_row(features, feature.name, feature.dtype, feature.origin or "on demand")
    return Group(*_head(model.id, "model", "", facts), features)


def render_lineage(lineage: Lineage) -> RenderableType:
    """What something comes from and what comes from it, from the source to the models."""
    training = (
        f"{made.id}: {made.name}, {made.row_count:,} rows, {_day(made.created_at)}" for made in lineage.training
    )
    parts = {
        "source columns": lineage.columns,
        "features": lineage.features,
        "on-demand features": lineage.on_demand,
        "views": lineage.views,
        "training sets": tuple(training),
        "models": lineage.models,
        "registered models": lineage.registered,
    }
    grid = Table.grid(padding=(0, 2))
    for kind, names in parts.items():
        if names:
            grid.add_row(Text(kind, style="dim"), Text("\n".join(names)))
    return Group(Text(lineage.subject, style="bold"), Text(), grid)


def _view_facts(view: ViewRecord, groups: tuple[GroupRecord, ...]) -> list[tuple[str, str]]:
    request = ", ".join(f"{name} {dtype}" for name, dtype in view.definition.get("request", {}).items())
    reads = ", ".join(map(str, view.readings))
    facts = [("reads", reads), *([("request values", request)] if request else []), *_circumstances(view)]
    outdated = {group.id: _status(group) for group in groups if group.status is not Status.ACTIVE}
    return [*facts, *((f"reads {group}", status) for group, status in outdated.items())]


def _head(title: str, kind: str, description: str, facts: list[tuple[str, str]]) -> list[RenderableType]:
    grid = Table.grid(padding=(0, 2))
    for name, value in facts:
        grid.add_row(Text(name, style="dim"), Text(value))
    head: list[RenderableType] = [Text.assemble((title, "bold"), (f"  {kind}", "dim"))]
    return [*head, *([Text(description)] if description else []), Text(), grid]


def _circumstances(record: GroupRecord | ViewRecord) -> list[tuple[str, str]]:
    return [
        ("owner", record.owner),
        *([("online store", record.definition["online_store"])] if "online_store" in record.definition else []),
        *([("access", record.access)] if record.access != "public" else []),
        ("status", _status(record)),
        ("fingerprint", record.fingerprint),
        ("created", f"{instant(record.created_at)} by {record.created_by}"),
        ("updated", instant(record.updated_at)),
    ]


def _model_status(model: ModelRecord) -> str:
    return "ACTIVE" if model.retired_at is None else f"RETIRED on {_day(model.retired_at)}"


def _short_status(record: GroupRecord | ViewRecord) -> str:
    """The status with the day from which it may be retired: "DEPRECATED until 2027-01-31"."""
    if record.status is not Status.DEPRECATED or record.deprecated is None:
        return record.status
    return f"{record.status} until {record.deprecated.removal}"


def _status(record: GroupRecord | ViewRecord) -> str:
    """The status with what comes after it and why."""
    if record.deprecated is None:
        return record.status
    reason = f": {record.deprecated.reason}" if record.deprecated.reason else ""
    return f"{_short_status(record)}, successor {record.deprecated.successor}{reason}"


def table(first: str, *others: str) -> Table:
    """A table for a terminal with these titles; the first column is never broken."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column(first, no_wrap=True)
    for title in others:
        table.add_column(title, overflow="fold", justify="right" if title == "Features" else "left")
    return table


def add_row(table: Table, *cells: str) -> None:
    """Adds a row of plain text: a default such as ["a"] is not markup."""
    table.add_row(*map(Text, cells))


def _ttl(group: GroupRecord) -> str:
    return "none" if group.ttl_seconds is None else format_duration(group.ttl_seconds * SECOND)


def _json(value: Any) -> str:
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def _day(instant: datetime | None) -> str:
    return "" if instant is None else instant.astimezone(UTC).date().isoformat()


def instant(moment: datetime | None) -> str:
    """An instant to the second, as UTC."""
    return "" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
