"""The routes that read vectors, without a framework in between: it would cost more than the read."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from feature_store.errors import FeatureStoreError, InputError, NotFoundError
from feature_store.online.read.decoding import StoredValue
from feature_store.plan.schema import ViewSchema
from feature_store.registry.records import Kind
from serving.calls import Admission, OnlineCall, OnlineCore, expected_error, request_id_of
from serving.rest.answers import ARROW, CONTENT_TYPES, MSGPACK, AnswerWriter, Shape
from serving.rest.bodies import read_body
from serving.rest.model_answers import ModelAnswerWriter
from serving.rest.problems import PROBLEM_JSON, encode_problem
from serving.rest.requests import OnlineRequest, Query, request_by_columns, request_by_ids, request_of_body
from serving.writers import AnswerWriters, Chosen

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_LONGEST_VERSION = 19
"""Digits of the version of a model."""
_ROUTES: dict[str, tuple[str, Kind | None]] = {
    "feature-groups": ("/feature-groups/{id}/online", "group"),
    "feature-views": ("/feature-views/{id}/online", "view"),
    "models": ("/models/{name}/online", None),
}


def call_of(path: str) -> OnlineCall | None:
    """The call of a request to this path; None if it is none."""
    parts = path.split("/")
    if len(parts) != 4 or parts[3] != "online" or parts[1] not in _ROUTES:
        return None
    return OnlineCall(*_ROUTES[parts[1]], parts[2])


class Answer(NamedTuple):
    """An answer, ready to be sent.

    Attributes:
        lines: its headers as they are sent, all of them.
    """

    status: int
    lines: bytes
    body: bytes

    @property
    def headers(self) -> Sequence[tuple[bytes, bytes]]:
        """The headers, as ASGI has them."""
        return [(name, value) for name, _, value in (line.partition(b": ") for line in self.lines.splitlines())]


class Begun(NamedTuple):
    """What is known already of a request that somebody else began to answer.

    Attributes:
        admission: of its caller.
        began: when (`time.perf_counter`).
        instant: of the request, in microseconds.
        values: what is stored of its rows.
    """

    admission: Admission
    began: float
    instant: int
    values: Sequence[StoredValue]


class OnlineRoutes:
    """Answers requests for vectors.

    Args:
        seconds: how long a body may take to arrive.
    """

    def __init__(self, core: OnlineCore, seconds: float) -> None:
        self._core = core
        self._seconds = seconds
        self._writers = AnswerWriters(partial(AnswerWriter, core=core.native))
        self._model_writers = AnswerWriters(partial(ModelAnswerWriter, core=core.native))

    async def answer(
        self,
        call: OnlineCall,
        method: str,
        query_string: bytes,
        headers: Mapping[bytes, bytes],
        receive: Receive | None = None,
        begun: Begun | None = None,
    ) -> Answer:
        """Reads and answers; every error becomes a problem.

        Args:
            receive: gives the body of a POST.
            begun: what is known already.
        """
        core, began = self._core, time.perf_counter() if begun is None else begun.began
        request_id = request_id_of(headers)
        target, extra = "", dict[str, str]()
        try:
            query = Query(query_string)
            if begun is None:
                token = core.gate.caller(headers)
                admission = core.admit(_of_version(call, query) if call.kind is None else call, token)
            else:
                admission = begun.admission
            served = admission.served
            target = served.id
            shape = shape_of(query, headers)
            asked = await self._asked(call, served.view, query, method, headers, receive)
            writer = self.writer(admission, asked.features)
            vectors = await core.reader.read(
                served.reading,
                asked.rows,
                asked.request,
                time.time_ns() // 1_000 if begun is None else begun.instant,
                packed=served.reading.is_copyable and writer.takes_packed(shape),
                values=None if begun is None else begun.values,
            )
            status, body, content_type = 200, writer.write(vectors, shape), CONTENT_TYPES[shape]
            core.note(call, admission, vectors, headers)
        except Exception as error:
            problem = expected_error(error, request_id, call)
            core.metrics.shed.note(problem)
            (status, body, extra), content_type = encode_problem(problem, request_id), PROBLEM_JSON
        core.metrics.note(call.route, target, status, time.perf_counter() - began)
        return _answer(status, body, content_type, request_id, extra)

    def writer(self, admission: Admission, features: Chosen) -> AnswerWriter:
        """What writes the answers for a caller.

        Raises:
            InputError: if the view has no feature of a name.
        """
        if admission.model is None:
            return self._writers.of(admission.served.view, features, admission.masked)
        chosen = admission.features(features)
        return self._model_writers.of(admission.served.view, chosen, admission.masked)

    async def _asked(
        self,
        call: OnlineCall,
        view: ViewSchema,
        query: Query,
        method: str,
        headers: Mapping[bytes, bytes],
        receive: Receive | None,
    ) -> OnlineRequest:
        if method in ("GET", "HEAD"):
            return request_by_ids(view, query) if call.kind == "group" else request_by_columns(view, query)
        if method != "POST" or receive is None:
            raise NotFoundError(
                f"{method} is not answered here", where=call.route, remedy="use GET or POST", code="wrong-method"
            )
        body = await read_body(receive, self._seconds)
        return request_of_body(view, body, headers.get(b"content-type", b"").decode("latin-1"))


def _of_version(call: OnlineCall, query: Query) -> OnlineCall:
    """The call of the version of a model that `version` says, unless its name does.

    Raises:
        InputError: if that is no version.
    """
    if "@" in call.name or (version := query.take("version")) is None:
        return call
    if not (version.isascii() and version.isdigit() and len(version) <= _LONGEST_VERSION):
        raise InputError(
            f"{version[:80]!r} is not a version of a model",
            where="version",
            remedy="write ?version=3, or leave it out for the latest",
            code="malformed-request",
        )
    return call._replace(name=f"{call.name}@{int(version)}")


def problem_answer(error: FeatureStoreError, request_id: str) -> Answer:
    """An error as an answer."""
    status, body, extra = encode_problem(error, request_id)
    return _answer(status, body, PROBLEM_JSON, request_id, extra)


def _answer(status: int, body: bytes, content_type: str, request_id: str, extra: Mapping[str, str]) -> Answer:
    lines = f"content-type: {content_type}\r\nx-request-id: {request_id}\r\ncontent-length: {len(body)}\r\n"
    lines += "".join([f"{name}: {value}\r\n" for name, value in extra.items()]) if extra else ""
    return Answer(status, lines.encode("latin-1"), body)


def shape_of(query: Query, headers: Mapping[bytes, bytes]) -> Shape:
    """The form of the answer: what `shape` says, or what Accept asks for, or columns.

    Raises:
        InputError: if there is no such shape.
    """
    wanted = query.get("shape")
    if wanted is None:
        accept = headers.get(b"accept", b"").decode("latin-1")
        return "msgpack" if MSGPACK in accept else "arrow" if ARROW in accept else "columns"
    if wanted not in CONTENT_TYPES:
        raise InputError(
            f"there is no shape {wanted[:80]!r}",
            where="shape",
            remedy=f"shapes are {', '.join(CONTENT_TYPES)}",
            code="unknown-shape",
        )
    return wanted
