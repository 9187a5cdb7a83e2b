"""Requests and answers over HTTP: MessagePack, but for the schema of a view, which is JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

import msgspec

from feature_store.errors import InputError
from feature_store.online.packed import PackedAnswer
from feature_store.online.vectors import OnlineVectors
from feature_store.plan.schema import ViewSchema
from feature_store.remote.address import ServerAddress
from feature_store.remote.answers import read_answer, vectors_of
from feature_store.remote.messages import Request, RequestWriter
from feature_store.remote.schema import ViewDocument

if TYPE_CHECKING:
    from feature_store.remote.protocols import ReadKind

_ROUTES: dict[ReadKind, str] = {"view": "feature-views", "group": "feature-groups", "model": "models"}


class _Detail(msgspec.Struct):
    """What a server shows of a group or a view, as far as readers need it."""

    schema: ViewDocument | None


_read_detail = msgspec.json.Decoder(_Detail).decode
_pack = msgspec.msgpack.Encoder().encode


class HttpMessages:
    """The messages to one server; see `protocols.Messages`."""

    def __init__(self, server: ServerAddress) -> None:
        self._writer = RequestWriter(server)

    def read_request(
        self,
        kind: ReadKind,
        name: str,
        rows: Sequence[Mapping[str, Any]],
        request: Mapping[str, Any],
        features: Sequence[str] | None,
    ) -> Request:
        """Asks for vectors."""
        asked = {"rows": [row if type(row) is dict else dict(row) for row in rows], "request": dict(request)}
        if features is not None:
            asked["features"] = [*features]
        try:
            body = _pack(asked)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise unsendable(error) from None
        return self._writer.write("POST", f"/{_ROUTES[kind]}/{quote(name, '@')}/online", body)

    def schema_request(self, kind: Literal["view", "group"], name: str) -> Request:
        """Asks for the schema."""
        return self._writer.write("GET", f"/{_ROUTES[kind]}/{quote(name, '@')}")

    def read_answer(self, body: bytes) -> PackedAnswer:
        """The answer in a body."""
        try:
            return read_answer(body)
        except msgspec.DecodeError as error:
            raise ValueError(str(error)) from None

    def read_schema(self, body: bytes) -> ViewDocument | None:
        """The schema in a body."""
        try:
            return _read_detail(body).schema
        except msgspec.DecodeError as error:
            raise ValueError(str(error)) from None

    def vectors_of(
        self, answer: PackedAnswer, view: ViewSchema, rows: Sequence[Mapping[str, Any]], features: Sequence[str] | None
    ) -> OnlineVectors | None:
        """The vectors in an answer."""
        return vectors_of(answer, view, rows, features)


def unsendable(why: object) -> InputError:
    """The error of rows or request values that no message can hold."""
    return InputError(
        f"the rows or request values cannot be sent: {why}",
        where="rows, request",
        remedy="give the key columns and request values only, with values of their types",
        code="malformed-request",
    )
