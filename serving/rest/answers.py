"""Vectors as answers: columns for programs, records for people, MessagePack and Arrow for clients that ask for them.

A columnar answer names the features once and has the values of each row in their order. Instants are integers in it,
microseconds since the epoch; in records they are RFC 3339 texts. A MessagePack answer has the rows of each group as
they are stored, once for each entity.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from itertools import chain, repeat, starmap
from operator import itemgetter
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from feature_store.dtypes import from_micros
from feature_store.online.codec import StoredRow, wire_of
from feature_store.online.native.core import NativeCore
from feature_store.online.packed import PackedAnswer, PackedGroup
from feature_store.online.vectors import EntityRows, OnlineVectors, Status, chosen_features
from feature_store.plan.schema import Column, ViewSchema
from serving.rest.native_answers import NativeAnswers
from serving.writers import in_micros

Shape = Literal["columns", "records", "msgpack", "arrow"]
JSON, MSGPACK, ARROW = "application/json", "application/msgpack", "application/vnd.apache.arrow.stream"
CONTENT_TYPES: dict[Shape, str] = {"columns": JSON, "records": JSON, "msgpack": MSGPACK, "arrow": ARROW}

_json = msgspec.json.Encoder().encode
_msgpack = msgspec.msgpack.Encoder().encode


class GroupColumns(msgspec.Struct):
    """A group in a columnar answer: per row a status and a feature_timestamp; whether the group is behind its SLA."""

    group: str
    stale: bool
    updated_at: int | None
    statuses: Sequence[Status]
    feature_timestamps: Sequence[int | None]


class ColumnarAnswer(msgspec.Struct, omit_defaults=True):
    """Names once, then the values of each row in the order of the names.

    Attributes:
        request_time: the instant at which rows must not have expired.
        overflowed: the features that do not fit 64 bits on some rows, and the places of these rows.
        masked: the features that the caller must not see: they are null.
        failed: why on-demand features could not be computed: they are null.
    """

    id: str
    request_time: int
    features: list[str]
    rows: Sequence[StoredRow]
    groups: list[GroupColumns]
    overflowed: dict[str, Sequence[int]] = {}
    masked: list[str] = []
    failed: dict[str, str] = {}


class GroupState(msgspec.Struct):
    """Whether a group is behind its SLA, and up to when its rows are in the store."""

    stale: bool
    updated_at: datetime | None


class Record(msgspec.Struct, omit_defaults=True):
    """One row of an answer for people: objects of the values by name; the statuses and timestamps of the groups."""

    keys: msgspec.Struct
    features: msgspec.Struct
    statuses: msgspec.Struct
    feature_timestamps: msgspec.Struct
    overflowed: tuple[str, ...] = ()


class RecordsAnswer(msgspec.Struct, omit_defaults=True):
    """A record for each row, the state of each group, and the features that the caller must not see."""

    id: str
    request_time: datetime
    records: list[Record]
    groups: dict[str, GroupState]
    masked: list[str] = []
    failed: dict[str, str] = {}


class AnswerWriter:
    """Writes the answers of one view with certain features; made once for each view and selection.

    Args:
        chosen: the names of the features, in whatever order; None: all.
        masked: the features whose values are withheld: they are null, and named as masked.
        core: writes the answers that it can; None: Python writes all of them.

    Raises:
        InputError: if the view has no feature of a name.
    """

    def __init__(
        self, view: ViewSchema, chosen: Sequence[str] | None, masked: frozenset[str], core: NativeCore | None = None
    ) -> None:
        wanted = chosen_features(view, chosen)
        self._stored = [_Projection(viewed.features, wanted, masked) for viewed in view.groups]
        self._computed = [(i, column) for i, column in enumerate(view.on_demand) if column.name in wanted]
        names = [name for part in self._stored for name in part.names]
        self._set_names([*names, *(column.name for _, column in self._computed)], masked)
        self._keys = [key.name for key in view.keys]
        self._key_object = _object_of(self._keys)
        self._group_object = _object_of([viewed.id for viewed in view.groups])
        self.native: NativeAnswers | None = None
        """Writes what it can; None: Python writes everything."""
        if core is not None and not self._computed:
            self.native = NativeAnswers(core, view, [part.names for part in self._stored], self._masked)

    def _set_names(self, names: list[str], masked: frozenset[str]) -> None:
        """Says what the features of an answer are, in their order."""
        self._names = names
        self._masked = [name for name in names if name in masked]
        self._feature_object = _object_of(names)

    def takes_packed(self, shape: Shape) -> bool:
        """Whether answers of this shape are made of rows that were left as they are stored."""
        if self.native is not None:
            return shape != "arrow"
        return shape == "msgpack" and all(part.is_whole for part in self._stored)

    def write(self, vectors: OnlineVectors, shape: Shape) -> bytes:
        """An answer's body."""
        if self.native is not None:
            body = self.native.write(vectors, shape, self._overflows(vectors))
            if body is not None:
                return body
            vectors = _decoded_vectors(vectors)
        if shape == "columns":
            return _json(self._columns(vectors))
        if shape == "records":
            return _json(self._records(vectors))
        return _msgpack(self._packed(vectors)) if shape == "msgpack" else self._arrow(vectors)

    def _columns(self, vectors: OnlineVectors) -> ColumnarAnswer:
        parts = [
            part.spread(stored.json_rows(part.entities.rows), stored.json_row(part.absent))
            for part, stored in zip(vectors.groups, self._stored, strict=True)
            if stored.names
        ]
        if self._computed:
            parts.append([*zip(*self._computed_columns(vectors), strict=True)])
        rows = parts[0] if len(parts) == 1 else [[*chain.from_iterable(row)] for row in zip(*parts, strict=True)]
        rows = self._in_order(rows)
        groups = [
            GroupColumns(part.group.id, vectors.is_stale(i), vectors.complete_at[i], part.statuses, part.timestamps)
            for i, part in enumerate(vectors.groups)
        ]
        overflowed = self._overflows(vectors)
        return ColumnarAnswer(
            vectors.view.id,
            vectors.instant,
            self._names,
            rows,
            groups,
            overflowed,
            self._masked,
            self._failures(vectors),
        )

    def _records(self, vectors: OnlineVectors) -> RecordsAnswer:
        size = len(vectors)
        parts = [
            part.spread(stored.value_rows(part.entities.rows), stored.value_row(part.absent))
            for part, stored in zip(vectors.groups, self._stored, strict=True)
            if stored.names
        ]
        if self._computed:
            parts.append([*zip(*self._computed_values(vectors), strict=True)])
        overflowed: list[tuple[str, ...]] = [()] * size
        for name, places in self._overflows(vectors).items():
            for i in places:
                overflowed[i] += (name,)
        rows = parts[0] if len(parts) == 1 else [[*chain(*row)] for row in _transposed(parts, size)]
        rows = self._in_order(rows)
        keys = [[row[key] for row in vectors.rows] for key in self._keys]
        instants = [part.spread([*map(_instant, part.entities.timestamps)], None) for part in vectors.groups]
        records = map(
            Record,
            starmap(self._key_object, _transposed(keys, size)),
            starmap(self._feature_object, rows),
            starmap(self._group_object, _transposed([part.statuses for part in vectors.groups], size)),
            starmap(self._group_object, _transposed(instants, size)),
            overflowed,
        )
        return RecordsAnswer(
            vectors.view.id,
            from_micros(vectors.instant),
            [*records],
            _group_states(vectors),
            self._masked,
            self._failures(vectors),
        )

    def _in_order(self, rows: Sequence[StoredRow]) -> Sequence[StoredRow]:
        """Rows in the order of the names, of rows in that of the view, which it is."""
        return rows

    def _packed(self, vectors: OnlineVectors) -> PackedAnswer:
        groups = [
            PackedGroup(
                part.group.id,
                vectors.is_stale(i),
                vectors.complete_at[i],
                stored.names,
                stored.rows(part.entities.rows),
                part.entities.statuses,
                part.entities.timestamps,
                stored.row(part.absent),
                part.places,
            )
            for i, (part, stored) in enumerate(zip(vectors.groups, self._stored, strict=True))
        ]
        names = (column.name for _, column in self._computed)
        on_demand = dict(zip(names, self._computed_columns(vectors), strict=True))
        overflowed = self._overflows(vectors)
        return PackedAnswer(
            vectors.view.id,
            vectors.instant,
            len(vectors),
            groups,
            on_demand,
            overflowed,
            self._masked,
            self._failures(vectors),
        )

    def _arrow(self, vectors: OnlineVectors) -> bytes:
        import pyarrow as pa

        table = vectors.to_arrow().select([*(key.name for key in vectors.view.keys), *self._names])
        for name in self._masked:
            place = table.column_names.index(name)
            table = table.set_column(place, name, pa.nulls(len(table), table.schema.field(name).type))
        for part in vectors.groups:
            instants = pa.array(part.timestamps, pa.int64()).cast(pa.timestamp("us", "UTC"))
            table = table.append_column(f"{part.group.id}.status", pa.array([*map(str, part.statuses)], pa.string()))
            table = table.append_column(f"{part.group.id}.feature_timestamp", instants)
        about = {
            "groups": _json(_group_states(vectors)),
            "request_time": str(vectors.instant),
            "failed": _json(self._failures(vectors)),
        }
        table = table.replace_schema_metadata(about)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        return bytes(sink.getvalue())

    def _computed_columns(self, vectors: OnlineVectors) -> list[Sequence[Any]]:
        """The on-demand features, in the order of the names; instants in microseconds."""
        values = zip(self._computed, self._computed_values(vectors), strict=True)
        return [in_micros(column, of_column) for (_, column), of_column in values]

    def _computed_values(self, vectors: OnlineVectors) -> list[Sequence[Any]]:
        """The on-demand features, in the order of the names."""
        return [
            [None] * len(vectors) if column.name in self._masked else vectors.on_demand[i]
            for i, column in self._computed
        ]

    def _failures(self, vectors: OnlineVectors) -> dict[str, str]:
        """Why chosen features could not be computed; of masked ones nothing is told."""
        if not vectors.failures:
            return {}
        shown = [column.name for _, column in self._computed if column.name not in self._masked]
        return {name: vectors.failures[name] for name in shown if name in vectors.failures}

    def _overflows(self, vectors: OnlineVectors) -> dict[str, Sequence[int]]:
        for part in vectors.groups:
            if part.entities.overflows:
                break
        else:
            if not vectors.on_demand_overflows:
                return {}
        found = vectors.overflows
        return {name: found[name] for name in self._names if name in found and name not in self._masked}


class _Projection:
    """Some features out of the rows of a group."""

    def __init__(self, features: Sequence[Column], wanted: frozenset[str], masked: frozenset[str]) -> None:
        places = [i for i, feature in enumerate(features) if feature.name in wanted]
        self.names = [features[i].name for i in places]
        self._hidden = frozenset(i for i in places if features[i].name in masked)
        self.is_whole = len(places) == len(features) and not self._hidden
        self._places = places
        is_plain = len(places) > 1 and not self._hidden
        self._pick: Callable[[StoredRow], Any] = itemgetter(*places) if is_plain else self._pick_each
        self._values = [
            (i, decode) for i, place in enumerate(places) if (decode := wire_of(features[place].dtype).decode)
        ]
        self._vectors = [(i, decode) for i, decode in self._values if features[places[i]].dtype.kind == "EMBEDDING"]

    def rows(self, rows: list[StoredRow]) -> list[StoredRow]:
        """Rows as they are stored."""
        return rows if self.is_whole else [self._pick(row) for row in rows]

    def row(self, row: StoredRow) -> StoredRow:
        """One row, likewise."""
        return row if self.is_whole else self._pick(row)

    def json_rows(self, rows: list[StoredRow]) -> list[StoredRow]:
        """Rows with lists of numbers in the place of embeddings."""
        rows = self.rows(rows)
        return [_decoded(row, self._vectors) for row in rows] if self._vectors else rows

    def json_row(self, row: StoredRow) -> StoredRow:
        """One row, likewise."""
        return _decoded(self.row(row), self._vectors)

    def value_rows(self, rows: list[StoredRow]) -> list[StoredRow]:
        """Rows with the values that are meant by what is stored."""
        rows = self.rows(rows)
        return [_decoded(row, self._values) for row in rows] if self._values else rows

    def value_row(self, row: StoredRow) -> StoredRow:
        """One row, likewise."""
        return _decoded(self.row(row), self._values)

    def _pick_each(self, row: StoredRow) -> StoredRow:
        return tuple(None if i in self._hidden else row[i] for i in self._places)


def _decoded_vectors(vectors: OnlineVectors) -> OnlineVectors:
    """Vectors whose rows Python can read, of those whose rows were left to the native core."""
    return replace(vectors, groups=[replace(part, entities=_decoded_rows(part.entities)) for part in vectors.groups])


def _decoded_rows(entities: EntityRows) -> EntityRows:
    rows: Any = entities.rows
    if isinstance(rows, list):
        return entities
    return EntityRows(rows.decoded(), entities.statuses, entities.timestamps, entities.overflows)


def _decoded(row: StoredRow, decoders: Sequence[tuple[int, Callable[[Any], Any]]]) -> StoredRow:
    """A row with some of its values decoded."""
    values = [*row]
    for i, decode in decoders:
        if values[i] is not None:
            values[i] = decode(values[i])
    return values


def _object_of(names: Sequence[str]) -> type[msgspec.Struct]:
    """A type whose instances, made of values in this order, are written as objects: faster than dicts are."""
    fields = [f"f{i}" for i in range(len(names))]
    return msgspec.defstruct("Object", fields, rename=dict(zip(fields, names, strict=True)), gc=False)


def _transposed(columns: Sequence[Sequence[Any]], size: int) -> Iterable[Sequence[Any]]:
    """The rows of columns; without a column there are so many empty ones."""
    return zip(*columns, strict=True) if columns else repeat((), size)


def _instant(micros: int | None) -> datetime | None:
    return None if micros is None else from_micros(micros)


def _group_states(vectors: OnlineVectors) -> dict[str, GroupState]:
    return {name: GroupState(stale, vectors.updated_at[name]) for name, stale in vectors.stale.items()}
