"""Names and owners: the rules every definition keeps, and a name to use instead of a wrong one."""

from __future__ import annotations

import re

from feature_store.dsl.feature import Feature

_SNAKE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_TABLE = re.compile(r"\w([\w $-]*[\w$-])?")
_OWNER = re.compile(r"team:[\w.\-]+|[\w.+\-]+@[\w\-]+(\.[\w\-]+)+")
RESERVED = frozenset(
    [
        "feature_timestamp",
        "created_timestamp",
        "retracted",
        "event_timestamp",
        "label_timestamp",
        "as_of",
        "request_time",
        "available_at",
    ]
)

TAKEN_COLUMNS = frozenset(
    ["_at", "_copy", "_created", "_feature", "_newest", "_offset", "_partition", "_payload", "_t", "_ts"]
)
"""Columns that the compiled SQL has beside those of a source."""
TAKEN_KEYS = frozenset(["t", "tile_end", "enters"])
"""Columns that it has beside the key and the features."""
TAKEN_SOURCES = frozenset(["cleaned", "grid", "answers", "vectors"])
"""Steps that it has beside the sources of a query."""
LOG_COLUMNS = frozenset(["kafka_partition", "kafka_offset", "recorded_at"])
"""Columns that an event log has beside those of its stream."""


def is_snake_case(name: str) -> bool:
    """Whether a name is snake_case, with digits allowed after the first letter."""
    return _SNAKE.fullmatch(name) is not None


def is_table_name(name: str) -> bool:
    """Whether a name can be that of a table or of what holds it: letters and digits of any script, _, $, -, spaces."""
    return _TABLE.fullmatch(name) is not None


def is_owner(owner: str) -> bool:
    """Whether an owner is "team:name" or an e-mail address, the forms Dagster takes."""
    return _OWNER.fullmatch(owner) is not None


def suggested_name(feature: Feature, entity: str) -> str:
    """The feature's name in the form `{entity}_{what}_{aggregation}_{window}`; for a session the word session."""
    name = re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", feature.name).lower()).strip("_")
    name = name if name.startswith(f"{entity}_") else f"{entity}_{name}"
    window = feature.window
    if window is None or ("session" in name.split("_") if window.session else name.endswith(f"_{window}")):
        return name
    suffix = "session" if window.session else str(window)
    return f"{re.sub(r'_([0-9]+(ms|[smhdw])|all_time|session)$', '', name)}_{suffix}"
