"""Groups, rows and labels for tests of the join: a few entities and a few instants, so that collisions are common."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

from feature_store.dtypes import BOOL, EMBEDDING, FLOAT, INT, LIST, STRING, TIMESTAMP, DType, arrow_type
from feature_store.duration import DAY
from feature_store.pit.content_hash import content_hash
from feature_store.pit.gathering import Labels
from feature_store.pit.label_sources import LabelSource
from feature_store.pit.labels import open_labels
from feature_store.pit.semantics import LABEL_TIMESTAMP, KnownBy, Row, reference_join
from feature_store.plan.schema import (
    CREATED_TIMESTAMP,
    FEATURE_TIMESTAMP,
    RETRACTED,
    Column,
    GroupSchema,
    ViewedSchema,
    ViewSchema,
)

NOON = datetime(2025, 3, 1, 12, tzinfo=UTC)
USER, ITEM = Column("user_id", STRING), Column("item_id", INT)

EVERY_TYPE: dict[str, tuple[DType, Any, Any]] = {  # type, a value, a default
    "count": (INT, 7, 0),
    "mean": (FLOAT, 2.5, -1.0),
    "last": (STRING, "é", "none"),
    "is_new": (BOOL, True, False),
    "seen_at": (TIMESTAMP, NOON, datetime(1970, 1, 2, tzinfo=UTC)),
    "vector": (EMBEDDING(2), [0.5, 1.5], [0.0, 0.0]),
    "top": (LIST(STRING), ["b", "a"], []),
}


def at(micros: int) -> datetime:
    """So many microseconds after noon."""
    return NOON + timedelta(microseconds=micros)


def group(
    name: str = "orders",
    *,
    keys: tuple[Column, ...] = (USER,),
    features: tuple[Column, ...] | None = None,
    ttl: int | None = None,
    delay: int = 0,
    buckets: int = 4,
) -> GroupSchema:
    """A group with one INT feature named after it, if no others are given."""
    features = (Column(f"{name}_value", INT),) if features is None else features
    return GroupSchema(name, 1, keys, features, ttl, delay, DAY, buckets)


def view(*groups: GroupSchema | ViewedSchema) -> ViewSchema:
    """A view of roles, and of groups that stand for themselves."""
    return ViewSchema("ranking", 1, tuple(map(viewed, groups)))


def viewed(group: GroupSchema | ViewedSchema) -> ViewedSchema:
    return group if isinstance(group, ViewedSchema) else ViewedSchema(group)


def reference(
    labels: Sequence[Row],
    groups: Sequence[tuple[GroupSchema | ViewedSchema, Sequence[Row]]],
    known_by: KnownBy = None,
) -> list[Row]:
    """What the reference joins to the labels."""
    return reference_join(labels, [(viewed(group), rows) for group, rows in groups], known_by)


def row(
    feature_micros: int,
    value: Any = 1,
    *,
    created: int | None = None,
    user: str | None = "u",
    name: str = "orders",
    retracted: bool | None = None,
) -> Row:
    """A row of `group(name)`, created as soon as it describes its entity unless said otherwise."""
    created = feature_micros if created is None else created
    return {
        "user_id": user,
        FEATURE_TIMESTAMP: at(feature_micros),
        CREATED_TIMESTAMP: at(created),
        RETRACTED: retracted,
        f"{name}_value": value,
    }


def read_labels(source: LabelSource, reads: ViewSchema) -> Labels:
    """The labels of a source in memory, checked."""
    stream = open_labels(source, reads)
    table = pa.concat_tables([stream.schema.empty_table(), *stream.tables])
    return Labels(table, content_hash(table))


def label(micros: int, user: str | None = "u") -> Row:
    return {"user_id": user, LABEL_TIMESTAMP: at(micros)}


def rows_table(schema: GroupSchema, rows: Sequence[Row]) -> pa.Table:
    """Rows as the columns of the group's offline table."""
    columns = {key.name: arrow_type(key.dtype) for key in schema.keys}
    columns |= dict.fromkeys((FEATURE_TIMESTAMP, CREATED_TIMESTAMP), arrow_type(TIMESTAMP))
    columns |= {RETRACTED: arrow_type(BOOL)}
    columns |= {feature.name: arrow_type(feature.dtype) for feature in schema.features}
    return pa.table({name: pa.array([r.get(name) for r in rows], dtype) for name, dtype in columns.items()})


instants = st.integers(-12, 12).map(at)
far_instants = st.sampled_from([-40 * DAY, -DAY, -1, 0, 1, DAY, 3 * DAY, 40 * DAY]).map(at)
users = st.sampled_from([None, "", "a", "b", "ä", "a b"])
items = st.sampled_from([None, 0, 1, -5, 2**62])
durations = st.sampled_from([0, 1, 3, 8, DAY, 3 * DAY])

_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "STRING": st.sampled_from(["", "x", "ü"]),
    "INT": st.sampled_from([0, -(2**63), 2**63 - 1, 5]),
    "FLOAT": st.sampled_from([0.0, -1.5, 1e300]),
    "BOOL": st.booleans(),
    "TIMESTAMP": instants,
    "EMBEDDING": st.sampled_from([[0.0, 1.5], [-2.0, 0.25]]),
    "LIST": st.sampled_from([[], ["a"], ["b", "a"]]),
}


@st.composite
def groups(draw: st.DrawFn, name: str, keys: tuple[Column, ...]) -> GroupSchema:
    """A group of some features of any type, half of them with a default."""
    kinds = draw(st.lists(st.sampled_from(sorted(EVERY_TYPE)), min_size=1, max_size=3, unique=True))
    features = []
    for kind in kinds:
        dtype, _, default = EVERY_TYPE[kind]
        features.append(Column(f"{name}_{kind}", dtype, default if draw(st.booleans()) else None))
    return group(
        name,
        keys=keys,
        features=tuple(features),
        ttl=draw(st.none() | durations),
        delay=draw(durations),
        buckets=draw(st.sampled_from([1, 3, 4, 8])),
    )


@st.composite
def rows_of(draw: st.DrawFn, schema: GroupSchema, max_size: int = 25) -> list[Row]:
    """Rows in no order, with ties of either time, retractions, NULL keys and NULL values."""
    times = instants | far_instants
    columns: dict[str, st.SearchStrategy[Any]] = {key.name: _keys(key) for key in schema.keys}
    columns |= {FEATURE_TIMESTAMP: times, CREATED_TIMESTAMP: times, RETRACTED: st.sampled_from([None, False, True])}
    columns |= {feature.name: st.none() | _VALUES[feature.dtype.kind] for feature in schema.features}
    return draw(st.lists(st.fixed_dictionaries(columns), max_size=max_size))


@st.composite
def labels_of(draw: st.DrawFn, schema: ViewSchema, max_size: int = 25) -> list[Row]:
    """Labels in no order, with duplicates, NULL keys and a column of their own."""
    columns: dict[str, st.SearchStrategy[Any]] = {key.name: _keys(key) for key in schema.keys}
    columns |= {LABEL_TIMESTAMP: instants | far_instants, "bought": st.none() | st.booleans()}
    labels = draw(st.lists(st.fixed_dictionaries(columns), min_size=1, max_size=max_size))
    return labels + labels[: draw(st.integers(0, 3))]


def _keys(key: Column) -> st.SearchStrategy[Any]:
    return users if key.dtype == STRING else items


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[Row], list[tuple[GroupSchema, list[Row]]]]:
    """Labels and the groups of a view over two entities and their pair."""
    schemas = [
        draw(groups("orders", (USER,))),
        draw(groups("stats", (ITEM,))),
        draw(groups("visits", (USER,))),
        draw(groups("pairs", (USER, ITEM))),
    ]
    return draw(labels_of(view(*schemas))), [(schema, draw(rows_of(schema))) for schema in schemas]
