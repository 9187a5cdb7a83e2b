"""Plain reads without a task or a future, by the native core: from the bytes of a request to those of its answer.

A request is plain if its head is of the usual form and came alone, and all that it reads is in one node of Redis, in
groups that are keyed by what it gives and are not cached. Requests that differ only in their entities have one form:
who asks for what is looked up once for all of them, for as long as definitions, tokens and grants are the same.
Everything else, and all errors, are `OnlineRoutes`'s.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Any, Protocol

from feature_store.errors import FeatureStoreError
from feature_store.online.native.core import (
    NativeCommand,
    NativeCore,
    NativeDirectForm,
    NativeHead,
    NativeRows,
    type_numbers,
)
from feature_store.online.read.decoding import UNREACHABLE, StoredValue
from feature_store.online.read.entities import KeyColumns
from feature_store.online.read.node import RedisNode
from feature_store.online.read.store import OnlineStore
from feature_store.online.vectors import OnlineVectors, Status
from serving.calls import Admission, OnlineCall, OnlineCore, new_request_id
from serving.definitions import ServedView
from serving.redis_metrics import RedisWaits
from serving.rest.answers import CONTENT_TYPES, AnswerWriter, Shape
from serving.rest.online import Begun, OnlineRoutes, call_of, shape_of
from serving.rest.requests import Query

_MOST_FORMS = 1_000
_LONGEST_KEY = 4_096
"""Of a form that is kept; the head of a request may be longer."""
_SHAPES: tuple[Shape, ...] = ("columns", "records", "msgpack")
"""In the order of the native core."""
_HEADERS = (b"authorization", b"accept", b"x-model")
"""In the order of a head's key."""
_log = logging.getLogger(__name__)


class Channel(Protocol):
    """The connection that a request came over."""

    def default_lines(self) -> bytes:
        """The headers that all answers have, as they are sent: the same object until they change."""

    def deliver(self, read: DirectRead, answer: bytes) -> None:
        """Sends an answer."""

    def answer_by_routes(self, read: DirectRead, values: Sequence[StoredValue]) -> None:
        """Has a request answered by `OnlineRoutes`."""


class DirectForm:
    """What all requests with the same key have in common.

    Attributes:
        headers: those that matter, but for the request's id.
        names: of the parameters that are given, in their order.
        native: makes commands and writes answers.
        node: which has all values; None if there are several, or nobody knows yet.
    """

    def __init__(
        self,
        core: OnlineCore,
        waits: RedisWaits,
        call: OnlineCall,
        headers: Mapping[bytes, bytes],
        admission: Admission,
        names: Sequence[str],
        shape: Shape,
        native: NativeDirectForm,
        store: OnlineStore,
    ) -> None:
        self.core, self.call, self.headers, self.admission = core, call, headers, admission
        self.names, self.native = names, native
        self._store, self._node = store, store.node
        self.note_wait = waits.latencies.note
        self._places = {name: i for i, name in enumerate(names)}
        self._model = call.model(admission.token, headers)
        self._groups = [(viewed.id, (viewed.id, Status.PRESENT)) for viewed in admission.served.view.groups]
        self._content_lines = f"content-type: {CONTENT_TYPES[shape]}\r\nx-request-id: ".encode()
        self._lines: tuple[bytes, bytes] = (b"", b"")
        self._latencies = core.metrics.latencies(call.route, admission.served.id)
        self._count = (call.route, 200)

    @property
    def node(self) -> RedisNode | None:
        if self._node is None:
            self._node = self._store.node
        return self._node

    def lines(self, defaults: bytes) -> bytes:
        """The head of an answer up to the request's id, with the headers that all answers have."""
        known, lines = self._lines
        if known is not defaults:
            lines = b"".join((b"HTTP/1.1 200 OK\r\n", defaults, self._content_lines))
            self._lines = (defaults, lines)
        return lines

    def note(
        self,
        read: DirectRead,
        values: Sequence[StoredValue],
        rows: Sequence[NativeRows],
        complete_at: Sequence[int | None],
        seconds: float,
    ) -> None:
        """Takes an answer from the values of Redis into account, as `OnlineCore.note` and `ServingMetrics.note`."""
        core, served, model = self.core, self.admission.served, self._model
        metrics = core.metrics
        for (group, present), of_group, complete in zip(self._groups, rows, complete_at, strict=True):
            count = of_group.present
            if count == len(of_group):
                metrics.values[present] += count
            else:
                metrics.note_statuses(group, of_group.statuses)
            if complete is not None:
                metrics.behind[group] = (read.instant - complete) / 1e6
        if model:
            core.usage.note(served.kind, served.id, model)
        is_counted, place = metrics.coverage.is_due(), core.samples.place(served)
        if is_counted or place is not None:
            vectors = self._vectors(read, values, rows, complete_at)
            if is_counted:
                metrics.coverage.count(served.kind, vectors)
            if place is not None:
                core.samples.put(served, place, vectors, model)
        self._latencies.note(seconds)
        metrics.requests[self._count] += 1

    def _vectors(
        self,
        read: DirectRead,
        values: Sequence[StoredValue],
        rows: Sequence[NativeRows],
        complete_at: Sequence[int | None],
    ) -> OnlineVectors:
        reading, command = self.admission.served.reading, read.command
        keys = _key_columns(reading.view.keys, self._places, read.head)
        groups = reading.native_vectors(command, values, rows)
        return OnlineVectors(reading.view, keys, groups, complete_at, read.instant)


def _key_columns(keys: Sequence[Any], places: Mapping[str, int], head: NativeHead) -> KeyColumns:
    columns = {}
    for key in keys:
        words: list[Any] = head.words(places.get(key.name, 0))  # a group's only key is called otherwise in the query
        columns[key.name] = [*map(int, words)] if key.dtype.kind == "INT" else words
    return KeyColumns.spread(columns, max(map(len, columns.values())))


class DirectRead:
    """A request that is under way: a `Reply` of Redis, and what uvicorn's protocol looks at as the request's cycle."""

    __slots__ = (
        "_asked",
        "_began",
        "_is_done",
        "channel",
        "command",
        "data",
        "disconnected",
        "form",
        "head",
        "instant",
        "keep_alive",
        "request_id",
        "response_complete",
    )

    def __init__(
        self, channel: Channel, form: DirectForm, data: bytes, head: NativeHead, command: NativeCommand, began: float
    ) -> None:
        self.channel, self.form, self.data, self.head, self.command = channel, form, data, head, command
        self.request_id = head.request_id or new_request_id().encode()
        self.instant = time.time_ns() // 1_000
        self.response_complete = self.disconnected = self._is_done = False
        self.keep_alive = True
        self._began = began
        self._asked = perf_counter()

    @property
    def message_event(self) -> DirectRead:
        """What uvicorn tells that the connection was lost."""
        return self

    def set(self) -> None:
        """Nobody waits for the rest of the request: it is all there."""

    def done(self) -> bool:
        """As `Reply.done`."""
        return self._is_done

    def set_exception(self, _: BaseException) -> None:
        """As `Reply.set_exception`."""
        self.set_result([UNREACHABLE] * len(self.command))

    def set_result(self, values: Any) -> None:
        """As `Reply.set_result`; answers the request."""
        self._is_done = True
        form, channel, now = self.form, self.channel, perf_counter()
        try:
            form.note_wait(now - self._asked)
            end = b"" if self.keep_alive else b"connection: close\r\n"
            lines = form.lines(channel.default_lines())
            found = form.native.answer(self.head, self.command, values, self.instant, lines, self.request_id, end)
            if found is not None:
                form.note(self, values, found[1], found[2], perf_counter() - self._began)
        except Exception:
            _log.exception("the native core cannot answer request %s", self.request_id.decode())
            found = None
        if found is None:
            channel.answer_by_routes(self, values)
        else:
            channel.deliver(self, found[0])

    def begun(self, values: Sequence[StoredValue]) -> Begun:
        """What is known of it already."""
        return Begun(self.form.admission, self._began, self.instant, values)

    @property
    def query(self) -> bytes:
        """The query of its address."""
        return self.data[: self.data.index(b" HTTP/1.1\r\n")].partition(b"?")[2]

    @property
    def headers(self) -> Mapping[bytes, bytes]:
        """The headers that matter."""
        return {**self.form.headers, b"x-request-id": self.request_id}


class DirectReads:
    """Begins the plain reads of one server process.

    Args:
        waits: takes the times that they wait for Redis.
    """

    def __init__(self, core: OnlineCore, native: NativeCore, routes: OnlineRoutes, waits: RedisWaits) -> None:
        self._core, self._native, self._routes, self._waits = core, native, routes, waits
        self._forms: dict[bytes, DirectForm | None] = {}
        self._made_of: tuple[object, object] = (None, None)
        self._read_head = native.read_head

    def begin(self, data: bytes, channel: Channel) -> DirectRead | None:
        """Begins to answer what has come over a connection; None if that is no plain request."""
        began = perf_counter()
        head = self._read_head(data)
        if head is None:
            return None
        form = self._form(head.key)
        if form is None:
            return None
        node = form.node
        connection = None if node is None else node.free_connection()
        command = None if connection is None else form.native.command(head)
        if node is None or connection is None or command is None:
            return None
        token = form.admission.token
        if token is not None and not form.core.gate.lets_in(token):
            return None
        read = DirectRead(channel, form, data, head, command, began)
        connection.send(command.packed, node.reply_time(connection), read)
        return read

    def _form(self, key: bytes) -> DirectForm | None:
        core = self._core
        definitions, table = core.definitions(), core.gate.table
        known = self._made_of
        if known[0] is not definitions or known[1] is not table:
            self._forms.clear()
            self._made_of = definitions, table
        try:
            return self._forms[key]
        except KeyError:
            pass
        if len(self._forms) >= _MOST_FORMS:
            self._forms.clear()
        form = self._made(key)
        if len(key) <= _LONGEST_KEY:
            self._forms[key] = form
        return form

    def _made(self, key: bytes) -> DirectForm | None:
        """What requests with a key have in common; None if they are not plain, or in error."""
        path, *values, query = key.split(b"\n")
        call = call_of(path.decode())
        if call is None or call.kind is None:  # a model has an order, and versions
            return None
        headers = {name: value for name, value in zip(_HEADERS, values, strict=True) if value}
        asked = Query(query.removesuffix(b"&"))
        core = self._core
        try:
            admission = core.admit(call, core.gate.token(headers))
            served, shape = admission.served, shape_of(asked, headers)
            features = asked.words("features")
            writer = self._routes.writer(admission, None if features is None else tuple(features))
            store = core.reader.store_of(served.view)
        except FeatureStoreError:
            return None
        names = [name for name in query.decode().split("&") if name and "=" not in name]
        native = self._native_form(call, served, names, shape, writer)
        if native is None:
            return None
        return DirectForm(core, self._waits, call, headers, admission, names, shape, native, store)

    def _native_form(
        self, call: OnlineCall, served: ServedView, names: Sequence[str], shape: Shape, writer: AnswerWriter
    ) -> NativeDirectForm | None:
        view, reading = served.view, served.reading
        keys = [key.name for key in view.keys]
        expected = ["entity_ids"] if call.kind == "group" and len(keys) == 1 else keys
        if sorted(names) != sorted(expected) or any(key.dtype.kind not in ("STRING", "INT") for key in view.keys):
            return None
        round_, answers = reading.native, writer.native
        if round_ is None or answers is None or shape not in _SHAPES or view.request or not reading.is_copyable:
            return None
        places = {key: names.index(name) for key, name in zip(keys, expected, strict=True)}
        sets = [[places[name] for name in of] for of in round_.names]
        more, count = answers.usual_members(shape)
        of_keys = [(places[key.name], type_numbers(key.dtype)) for key in view.keys]
        number = _SHAPES.index(shape)
        return self._native.DirectForm(
            round_.form, sets, answers.form, number, of_keys, reading.native_groups, more, count
        )
