"""What a request asks for: the rows of entity keys in its query or its body, with the types of the view's keys."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from feature_store.dtypes import from_micros, read_value
from feature_store.errors import InputError
from feature_store.online.read.entities import KeyColumns
from feature_store.plan.schema import Column, ViewSchema
from serving.rest.bodies import media_type

MOST_ROWS = 1_000
_MOST_PARAMETERS = 4_096
_INTEGER = re.compile(r"-?[0-9]{1,19}", re.ASCII)
_OWN = ("entity_ids", "entity_id", "features", "shape")
"""Parameters that are no key columns and no request values."""


class OnlineBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of an online request.

    Attributes:
        rows: per vector a value for every key column, and for request values of its own.
        request: request values for all rows.
        features: the names of the features that are wanted; all unless given.
    """

    rows: list[dict[str, Any]]
    request: dict[str, Any] = {}
    features: list[str] | None = None


class OnlineRequest(msgspec.Struct, frozen=True):
    """The vectors that are asked for: rows, request values for all of them, the features (None: all)."""

    rows: Sequence[Mapping[str, Any]]
    request: Mapping[str, Any]
    features: tuple[str, ...] | None


_read_json = msgspec.json.Decoder(OnlineBody).decode
_read_msgpack = msgspec.msgpack.Decoder(OnlineBody).decode


class Query:
    """The parameters of a URL.

    Raises:
        InputError: if they are no UTF-8, or too many.
    """

    def __init__(self, text: bytes) -> None:
        try:
            pairs = _pairs(text.decode("ascii"))
        except ValueError as error:
            raise InputError(
                f"the query cannot be read: {error}",
                remedy="encode it as UTF-8 with percent signs",
                code="malformed-request",
            ) from None
        self._values: dict[str, list[str]] = {}
        for name, value in pairs:
            self._values.setdefault(name, []).append(value)

    def get(self, name: str) -> str | None:
        """The value of a parameter; the first if there are several, None if there is none."""
        values = self._values.get(name)
        return None if values is None else values[0]

    def take(self, name: str) -> str | None:
        """The same, and the parameter is not there any more."""
        values = self._values.pop(name, None)
        return None if values is None else values[0]

    def all(self, name: str) -> Sequence[str]:
        """All values of a parameter."""
        return self._values.get(name, ())

    def words(self, name: str) -> list[str] | None:
        """The words of a parameter, which commas separate; None if it is not there."""
        values = self._values.get(name)
        if values is None:
            return None
        return values[0].split(",") if len(values) == 1 else [word for value in values for word in value.split(",")]

    @property
    def names(self) -> list[str]:
        """The names of all parameters, each once."""
        return [*self._values]


def _pairs(text: str) -> Sequence[tuple[str, str]]:
    if "%" not in text and "+" not in text and text.count("&") < _MOST_PARAMETERS:  # nothing is encoded: nearly always
        split = (pair.partition("=") for pair in text.split("&"))
        return [(name, value) for name, _, value in split if name]
    return parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=_MOST_PARAMETERS)


def request_by_ids(view: ViewSchema, query: Query) -> OnlineRequest:
    """The rows of a group's entities, by their ids: `entity_ids=u1,u2`, or `entity_id=` for each.

    The parts of a composite key are separated by `|`.

    Raises:
        InputError: if there is no id or more than `MOST_ROWS`, or one is not of the type of the key.
    """
    ids = query.words("entity_ids") or []
    ids += query.all("entity_id")
    if not ids:
        raise InputError(
            "no entity is asked for",
            where="entity_ids",
            remedy="write ?entity_ids=id1,id2",
            code="no-rows",
        )
    check_count(len(ids))
    keys = view.keys
    if len(keys) == 1:
        (key,) = keys
        columns = {key.name: _keys_of(key, ids, "entity_ids")}
    else:
        parts = [each.split("|") for each in ids]
        for number, part in enumerate(parts):
            if len(part) != len(keys):
                raise InputError(
                    f"an id has {len(keys)} parts, {', '.join(key.name for key in keys)}, not {len(part)}",
                    where=f"row {number}",
                    remedy="separate them by |, or send rows with POST",
                    code="missing-key-column",
                )
        columns = {
            key.name: _keys_of(key, of, key.name) for key, of in zip(keys, zip(*parts, strict=True), strict=True)
        }
    return OnlineRequest(KeyColumns(columns, len(ids)), {}, _features(query))


def request_by_columns(view: ViewSchema, query: Query) -> OnlineRequest:
    """The rows of a view by key columns: `user_id=u1&item_id=i1,i2`; a single value is that of every row.

    Other parameters are request values, as JSON or else as text; a STRING needs no quotes.

    Raises:
        InputError: if a key column is missing, columns differ in length, there are more than `MOST_ROWS` rows, or a
            value is not of its type.
    """
    columns: dict[str, Sequence[Any]] = {}
    for key in view.keys:
        words = query.words(key.name)
        if words is None:
            raise InputError(
                f"key column {key.name!r} is missing",
                where="query",
                remedy=f"write ?{'&'.join(f'{each.name}=…' for each in view.keys)}",
                code="missing-key-column",
            )
        check_count(len(words))
        columns[key.name] = _keys_of(key, words, key.name)
    size = max((len(values) for values in columns.values()), default=1)
    for name, values in columns.items():
        if len(values) not in (1, size):
            raise InputError(
                f"key column {name!r} has {len(values)} values, another one has {size}",
                where="query",
                remedy="give one value for all rows, or one for each",
                code="malformed-request",
            )
    others = [name for name in query.names if name not in columns and name not in _OWN]
    texts = {column.name for column in view.request if column.dtype.kind == "STRING"}
    request = {name: _json_or_text(query.get(name) or "", is_text=name in texts) for name in others}
    return OnlineRequest(KeyColumns.spread(columns, size), _typed(view.request, request, "request"), _features(query))


def request_of_body(view: ViewSchema, body: bytes, content_type: str) -> OnlineRequest:
    """The rows in a body, JSON or MessagePack.

    Raises:
        InputError: if it is not such a body, or has no rows or more than `MOST_ROWS`.
    """
    kind = media_type(content_type, "application/json", "application/msgpack")
    try:
        read: OnlineBody = _read_msgpack(body) if kind == "application/msgpack" else _read_json(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(
            f"the body cannot be read: {error or type(error).__name__}",
            where="body",
            remedy='send {"rows": [{…key columns…}], "request": {…}, "features": […]}; only rows is needed',
            code="malformed-request",
        ) from None
    if not read.rows:
        raise InputError("no row is asked for", where="rows", remedy="give one for each vector", code="no-rows")
    check_count(len(read.rows))
    columns = (*view.keys, *view.request)
    if any(column.dtype.kind in ("TIMESTAMP", "LIST") for column in columns):
        read.rows = [_typed(columns, row, f"row {i}") for i, row in enumerate(read.rows)]
        read.request = _typed(view.request, read.request, "request")
    return OnlineRequest(read.rows, read.request, None if read.features is None else tuple(read.features))


def _features(query: Query) -> tuple[str, ...] | None:
    words = query.words("features")
    return None if words is None else tuple(words)


def check_count(count: int) -> None:
    """Refuses more rows than `MOST_ROWS`.

    Raises:
        InputError: if there are more.
    """
    if count > MOST_ROWS:
        raise InputError(
            f"{count} rows are asked for, {MOST_ROWS} at most are answered",
            remedy="ask for them in several requests",
            code="too-many-rows",
        )


def _keys_of(column: Column, texts: Sequence[str], where: str) -> Sequence[Any]:
    """Texts as values of a key column."""
    read = _READERS.get(column.dtype.kind)
    if read is None:
        return texts
    values = []
    for number, text in enumerate(texts):
        try:
            values.append(read(text))
        except (ValueError, OverflowError):
            raise InputError(
                f"key column {column.name!r} is {column.dtype}, not {text[:80]!r}",
                where=f"{where}, row {number}",
                remedy=f"give a value of type {column.dtype}",
                code="wrong-key-type",
            ) from None
    return values


def _integer(text: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise ValueError(text)
    return int(text)


def _instant(value: Any) -> Any:
    """A TIMESTAMP in JSON: microseconds since the epoch, or an RFC 3339 text."""
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return from_micros(value)
    return read_value("TIMESTAMP", value)


_READERS: dict[str, Callable[[str], Any]] = {"INT": _integer, "TIMESTAMP": _instant}


def _typed(columns: Sequence[Column], values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Values out of JSON, with instants where a column is of that type; who reads them checks the types."""
    found = dict(values)
    for column in columns:
        value = values.get(column.name)
        if value is None:
            continue
        try:
            if column.dtype.kind == "TIMESTAMP":
                found[column.name] = _instant(value)
            else:
                found[column.name] = read_value(str(column.dtype), value)
        except (ValueError, OverflowError) as error:
            raise InputError(
                f"{column.name!r} is {column.dtype}, not {str(value)[:80]!r}: {error}",
                where=where,
                remedy="write an instant as 2026-01-31T12:00:00Z, or in microseconds since the epoch",
                code="wrong-request-type",
            ) from None
    return found


def _json_or_text(text: str, *, is_text: bool) -> Any:
    """A request value of a URL: JSON, or else text; one that has to be text is JSON only if that is a text or null."""
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
    return text if is_text and not (value is None or isinstance(value, str)) else value
