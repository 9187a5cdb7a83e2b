"""What a message asks for: its columns of keys and request values as the rows that a reader takes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from google.protobuf.message import DecodeError

from feature_store.dtypes import from_micros
from feature_store.errors import InputError
from feature_store.online.read.entities import KeyColumns
from feature_store.plan.schema import ViewSchema
from feature_store.remote.online_pb2 import Column, Input, ReadRequest, SchemaRequest
from serving.rest.bodies import MOST_BYTES
from serving.rest.requests import OnlineRequest, check_count

PROTO = "feature_store/remote/online.proto"
_MOST_COLUMNS = 1_000
_ARRAYS = {"doubles", "ints", "strings", "bools", "timestamps"}
"""Those that keys and request values may be in: they are scalars."""


def parse_request(message: bytes) -> ReadRequest:
    """A message.

    Raises:
        InputError: if it is larger than a body over HTTP may be, or not of this type.
    """
    if len(message) > MOST_BYTES:
        raise InputError(
            f"the message has more than {MOST_BYTES} bytes",
            remedy="ask for the rows in several requests",
            code="large-request",
        )
    try:
        asked: ReadRequest = ReadRequest.FromString(message)
    except DecodeError:
        raise _malformed("the message is no ReadRequest", "message", f"see {PROTO}") from None
    return asked


def parse_schema_request(message: bytes) -> SchemaRequest:
    """A message that asks for the schema of a group or a view.

    Raises:
        InputError: if it is not of this type.
    """
    try:
        asked: SchemaRequest = SchemaRequest.FromString(message)
    except DecodeError:
        raise _malformed("the message is no SchemaRequest", "message", f"see {PROTO}") from None
    return asked


def rows_of_request(view: ViewSchema, asked: ReadRequest) -> OnlineRequest:
    """The rows, request values and features that are asked for; the reader checks the types.

    Raises:
        InputError: if a column is malformed or unknown, columns differ in length, or there is no row or more than
            `MOST_ROWS`.
    """
    if len(asked.keys) + len(asked.request) > _MOST_COLUMNS:
        raise _malformed(f"there are more than {_MOST_COLUMNS} columns", "keys, request", "send those of the view")
    keys, given = _columns(asked.keys, "keys"), _columns(asked.request, "request")
    size = max((len(values) for values in (*keys.values(), *given.values())), default=0 if view.keys else 1)
    if not size:
        raise InputError("no row is asked for", where="keys", remedy="give a value for each row", code="no-rows")
    for name, values in (*keys.items(), *given.items()):
        if len(values) not in (1, size):
            raise _malformed(
                f"column {name!r} has {len(values)} values, another one has {size}",
                "keys, request",
                "give one value for all rows, or one for each",
            )
    for_all = {name: values[0] for name, values in given.items() if len(values) == 1}
    for_each = {name: values for name, values in given.items() if len(values) > 1}
    _check_names(view, for_each)
    features = tuple(sorted(set(asked.features))) or None
    return OnlineRequest(KeyColumns.spread({**keys, **for_each}, size), for_all, features)


def _columns(inputs: Iterable[Input], where: str) -> dict[str, Sequence[Any]]:
    found: dict[str, Sequence[Any]] = {}
    for each in inputs:
        if each.name in found:
            raise _malformed(f"column {each.name!r} is there twice", where, "send each once")
        found[each.name] = _values(each.column, f"{where}, column {each.name!r}")
    return found


def _values(column: Column, where: str) -> Sequence[Any]:
    """The values of a column, one for each row."""
    arrays = {field.name: values for field, values in column.ListFields()}
    nulls = arrays.pop("nulls", ())
    if len(arrays) > 1 or not arrays.keys() <= _ARRAYS:
        raise _malformed(
            f"it has values in {', '.join(arrays)}", where, f"give them in one of {', '.join(sorted(_ARRAYS))}"
        )
    values: list[Any] = []
    for kind, array in arrays.items():
        check_count(len(array))
        values = _instants(array, where) if kind == "timestamps" else [*array]
    if len(nulls) > len(values):
        raise _malformed("it has more nulls than values", where, "give any value where it is NULL")
    for place in nulls:
        if place >= len(values):
            raise _malformed(f"row {place} is NULL, of {len(values)}", where, "give any value where it is NULL")
        values[place] = None
    return values


def _instants(micros: Iterable[int], where: str) -> list[Any]:
    try:
        return [from_micros(each) for each in micros]
    except OverflowError:
        raise _malformed("an instant is out of range", where, "give microseconds since the epoch") from None


def _check_names(view: ViewSchema, given: Iterable[str]) -> None:
    """A reader takes no notice of what is in rows besides; it checks the names of values for all of them."""
    wanted = [column.name for column in view.request]
    for name in given:
        if name not in wanted:
            raise InputError(
                f"view {view.id} has no request value {name!r}",
                where="request",
                remedy=f"it has {', '.join(wanted)}" if wanted else "leave it out",
                code="unknown-request-value",
            )


def _malformed(message: str, where: str, remedy: str) -> InputError:
    return InputError(message, where=where, remedy=remedy, code="malformed-request")
