"""Requests and answers over gRPC: the messages of `online.proto`, column by column."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from google.protobuf.message import DecodeError

from feature_store.dtypes import to_micros
from feature_store.errors import InputError
from feature_store.online.packed import PackedAnswer, PackedGroup
from feature_store.online.vectors import OnlineVectors, Status
from feature_store.plan.schema import Column as Definition
from feature_store.plan.schema import ViewSchema
from feature_store.remote.address import ServerAddress
from feature_store.remote.answers import vectors_of
from feature_store.remote.http_messages import unsendable
from feature_store.remote.messages import Request
from feature_store.remote.online_pb2 import (
    DESCRIPTOR,
    Column,
    Group,
    Input,
    ReadRequest,
    ReadResponse,
    SchemaRequest,
    SchemaResponse,
)
from feature_store.remote.schema import ViewDocument

if TYPE_CHECKING:
    from feature_store.remote.protocols import ReadKind

_SERVICE = DESCRIPTOR.services_by_name["Online"].full_name
_METHODS: dict[ReadKind, str] = {"view": "ReadView", "group": "ReadGroup", "model": "ReadModel"}
_ARRAYS = {"FLOAT": "doubles", "INT": "ints", "STRING": "strings", "BOOL": "bools", "TIMESTAMP": "timestamps"}
_ARRAYS_OF_TYPES: dict[frozenset[type], tuple[str, Any]] = {
    frozenset({str}): ("strings", ""),
    frozenset({bool}): ("bools", False),
    frozenset({int}): ("ints", 0),
    frozenset({float}): ("doubles", 0.0),
    frozenset({int, float}): ("doubles", 0.0),
    frozenset({datetime}): ("timestamps", 0),
    frozenset(): ("ints", 0),
}
"""For the types of a column's values, and what stands where one is NULL."""
_STATUSES = {Group.Status.Value(status.value): status for status in Status}
_WITHOUT_TIME = (Status.NOT_FOUND, Status.UNAVAILABLE)
_read_document = msgspec.json.Decoder(ViewDocument).decode


@dataclass(frozen=True)
class Call(Request):
    """A request over gRPC: the message is its data."""

    method: str = field(kw_only=True)


class GrpcMessages:
    """The messages to one server; see `protocols.Messages`."""

    def __init__(self, server: ServerAddress) -> None:
        self._server = server

    def read_request(
        self,
        kind: ReadKind,
        name: str,
        rows: Sequence[Mapping[str, Any]],
        request: Mapping[str, Any],
        features: Sequence[str] | None,
    ) -> Call:
        """Asks for vectors."""
        columns = dict(_columns(rows, request))
        if rows and not columns:
            raise InputError(
                "there is no column that all rows have",
                where="rows",
                remedy="give a value for each key column in every row",
                code="missing-key-column",
            )
        try:
            asked = ReadRequest(id=name, features=features or ())
            asked.keys.extend(Input(name=each, column=_column(values)) for each, values in columns.items())
            asked.request.extend(Input(name=each, column=_column([value])) for each, value in request.items())
            return Call(asked.SerializeToString(), method=f"/{_SERVICE}/{_METHODS[kind]}")
        except (TypeError, ValueError, OverflowError) as error:
            raise unsendable(error) from None

    def schema_request(self, kind: Literal["view", "group"], name: str) -> Call:
        """Asks for the schema."""
        asked = SchemaRequest(kind=SchemaRequest.GROUP if kind == "group" else SchemaRequest.VIEW, id=name)
        return Call(asked.SerializeToString(), method=f"/{_SERVICE}/GetSchema")

    def read_answer(self, body: bytes) -> ReadResponse:
        """The answer in a message."""
        try:
            answer: ReadResponse = ReadResponse.FromString(body)
        except DecodeError as error:
            raise ValueError(str(error)) from None
        return answer

    def read_schema(self, body: bytes) -> ViewDocument | None:
        """The schema in a message."""
        try:
            return _read_document(SchemaResponse.FromString(body).schema)
        except (DecodeError, msgspec.DecodeError) as error:
            raise ValueError(str(error)) from None

    def vectors_of(
        self, answer: ReadResponse, view: ViewSchema, rows: Sequence[Mapping[str, Any]], features: Sequence[str] | None
    ) -> OnlineVectors | None:
        """The vectors in an answer."""
        try:
            packed = _packed(answer, view, features)
        except (KeyError, ValueError, IndexError):  # types that are not known here, columns of several lengths
            return None
        return vectors_of(packed, view, rows, features)


def _columns(rows: Sequence[Mapping[str, Any]], request: Mapping[str, Any]) -> Iterator[tuple[str, list[Any]]]:
    """The columns of the rows. A row that has no value of its own has the one for all rows; if there is none, the
    column is left out, and the server says that it is missing, if it is needed.
    """
    names = dict.fromkeys(name for row in rows for name in row)
    for name in names:
        if all(name in row for row in rows):
            yield name, [row[name] for row in rows]
        elif name in request:
            yield name, [row.get(name, request[name]) for row in rows]


def _column(values: Sequence[Any]) -> Column:
    """A column of scalars.

    Raises:
        TypeError, ValueError: if they are of no type that is sent, or do not fit it.
    """
    found = _ARRAYS_OF_TYPES.get(frozenset({type(value) for value in values if value is not None}))
    if found is None:
        raise TypeError(f"values of the types {', '.join(sorted({type(value).__name__ for value in values}))}")
    array, empty = found
    if array == "timestamps":
        if any(value is not None and value.tzinfo is None for value in values):
            raise ValueError("an instant has no time zone")
        values = [None if value is None else to_micros(value) for value in values]
    column = Column(nulls=[i for i, value in enumerate(values) if value is None])
    getattr(column, array).extend([empty if value is None else value for value in values])
    return column


def _packed(answer: ReadResponse, view: ViewSchema, features: Sequence[str] | None) -> PackedAnswer:
    """The answer in the form of those over HTTP.

    Raises:
        KeyError, ValueError, IndexError: if it is not one of this view as it is known here.
    """
    chosen = None if features is None else frozenset(features)
    values = {
        feature.name: _values(feature, column)
        for feature, column in zip(answer.features, answer.columns, strict=True)
        if chosen is None or feature.name in chosen
    }
    groups = []
    for told, viewed in zip(answer.groups, view.groups, strict=True):
        names = _names(viewed.features, values)
        columns = [values[name] for name in names]
        statuses = [_STATUSES[number] for number in told.statuses]
        times = zip(statuses, told.feature_timestamps, strict=True)
        groups.append(
            PackedGroup(
                told.id,
                told.stale,
                told.updated_at if told.HasField("updated_at") else None,
                names,
                [*zip(*columns, strict=True)] if columns else [()] * answer.row_count,
                statuses,
                [None if status in _WITHOUT_TIME else time for status, time in times],
                [None] * len(names),
            )
        )
    return PackedAnswer(
        answer.id,
        answer.request_time,
        answer.row_count,
        groups,
        {name: values[name] for name in _names(view.on_demand, values)},
        {each.feature: [*each.rows] for each in answer.overflowed if each.feature in values},
        [name for name in answer.masked if name in values],
        {name: why for name, why in answer.failed.items() if name in values},
        [*values] if answer.of_model else [],
    )


def _names(columns: Sequence[Definition], values: Mapping[str, Any]) -> list[str]:
    return [column.name for column in columns if column.name in values]


def _values(feature: Any, column: Column) -> list[Any]:
    """The values of a column as they are stored, one for each row."""
    kind = feature.Type.Name(feature.type)
    if kind == "EMBEDDING":
        size, data = 4 * feature.dimension, column.embeddings
        values: list[Any] = [data[i : i + size] for i in range(0, len(data), size)]
    elif kind == "LIST":
        array = getattr(column, _ARRAYS[feature.Type.Name(feature.item)])
        items = iter(_with_nulls([*array], column.null_items))
        values = [[*islice(items, length)] for length in column.lengths]
    else:
        values = [*getattr(column, _ARRAYS[kind])]
    return _with_nulls(values, column.nulls)


def _with_nulls(values: list[Any], nulls: Sequence[int]) -> list[Any]:
    for place in nulls:
        values[place] = None
    return values
