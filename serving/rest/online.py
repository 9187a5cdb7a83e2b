"""The routes that read vectors, without a framework in between: it would cost more than the read."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any, NamedTuple

from feature_store.errors import FeatureStoreError, InputError, NotFoundError, StackError
from feature_store.online.read.multiplexed import MultiplexedReader
from feature_store.online.read.node import NodeBusyError
from feature_store.plan.schema import ViewSchema
from feature_store.registry.access.tokens import Token
from feature_store.registry.records import Kind
from serving.auth import Gate
from serving.definitions import ServedDefinitions, ServedView
from serving.metrics import ServingMetrics
from serving.rest.answers import ARROW, CONTENT_TYPES, MSGPACK, AnswerWriters, Shape
from serving.rest.bodies import read_body
from serving.rest.problems import PROBLEM_JSON, encode_problem, status_of
from serving.rest.requests import OnlineRequest, Query, request_by_columns, request_by_ids, request_of_body
from serving.samples import ServedSamples
from serving.usage import UsageCounts

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_ROUTES: dict[str, tuple[str, Kind | None]] = {
    "feature-groups": ("/feature-groups/{id}/online", "group"),
    "feature-views": ("/feature-views/{id}/online", "view"),
    "models": ("/models/{name}/online", None),
}
_LONGEST_NAME = 200
"""Of request ids and models that a caller gives."""
_log = logging.getLogger(__name__)


class OnlineCall(NamedTuple):
    """A request for vectors, as its path says.

    Attributes:
        route: the path's pattern.
        kind: of what is read; None: the view of a model.
        name: of the group, view or model.
    """

    route: str
    kind: Kind | None
    name: str

    @classmethod
    def of(cls, path: str) -> OnlineCall | None:
        """The call of a request to this path; None if it is none."""
        parts = path.split("/")
        if len(parts) != 4 or parts[3] != "online" or parts[1] not in _ROUTES:
            return None
        return cls(*_ROUTES[parts[1]], parts[2])

    def target(self, definitions: ServedDefinitions) -> ServedView:
        """What is read.

        Raises:
            NotFoundError, ConflictError, DefinitionError: as `ServedDefinitions.find`.
        """
        if self.kind is None:
            return definitions.view_of_model(self.name)
        return definitions.find(self.kind, self.name)

    def model(self, token: Token | None, headers: Mapping[bytes, bytes]) -> str:
        """The model that reads, as its token, the call or its headers say; empty if none does."""
        model = token.model if token is not None else None
        if model is None:
            model = self.name if self.kind is None else headers.get(b"x-model", b"").decode("latin-1")
        return model[:_LONGEST_NAME] if model.isprintable() else ""


class Answer(NamedTuple):
    """An answer, ready to be sent; its headers are complete."""

    status: int
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes


class OnlineRoutes:
    """Answers requests for vectors.

    Args:
        definitions: gives what is served at the moment.
    """

    def __init__(
        self,
        reader: MultiplexedReader,
        definitions: Callable[[], ServedDefinitions],
        metrics: ServingMetrics,
        usage: UsageCounts,
        samples: ServedSamples,
        gate: Gate,
    ) -> None:
        self._reader = reader
        self._definitions = definitions
        self._metrics = metrics
        self._usage = usage
        self._samples = samples
        self._gate = gate
        self._writers = AnswerWriters()

    async def answer(
        self,
        call: OnlineCall,
        method: str,
        query_string: bytes,
        headers: Mapping[bytes, bytes],
        receive: Receive | None = None,
    ) -> Answer:
        """Reads and answers; every error becomes a problem.

        Args:
            receive: gives the body of a POST.
        """
        began = time.perf_counter()
        request_id = request_id_of(headers)
        target, extra = "", dict[str, str]()
        try:
            token = self._gate.caller(headers)
            served = call.target(self._definitions())
            target = served.id
            masked = self._gate.masked(token, served)
            query = Query(query_string)
            shape = _shape(query, headers)
            asked = await _asked(call, served.view, query, method, headers, receive)
            writer = self._writers.of(served.view, asked.features, masked)
            vectors = await self._reader.read(
                served.reading,
                asked.rows,
                asked.request,
                time.time_ns() // 1_000,
                packed=shape == "msgpack" and writer.is_whole and served.reading.is_copyable,
            )
            status, body, content_type = 200, writer.write(vectors, shape), CONTENT_TYPES[shape]
            self._metrics.note_vectors(vectors)
            model = call.model(token, headers)
            if model:
                self._usage.note(served.kind, served.id, model)
            self._samples.note(served, vectors, model)
        except Exception as error:
            problem = expected_error(error, request_id, call)
            (status, body, extra), content_type = encode_problem(problem, request_id), PROBLEM_JSON
        self._metrics.note(call.route, target, status, time.perf_counter() - began)
        return _answer(status, body, content_type, request_id, extra)


def expected_error(error: Exception, request_id: str, call: OnlineCall) -> FeatureStoreError:
    """What a caller is told of an error; those that are not the caller's are in the log, too."""
    if isinstance(error, NodeBusyError):
        return StackError(str(error), where="Redis", remedy="try again in a second", code="busy")
    if not isinstance(error, FeatureStoreError):
        _log.error("request %s to %s of %s failed", request_id, call.route, call.name, exc_info=error)
        return server_failure()
    if status_of(error) >= 500:
        _log.warning("request %s to %s of %s: %s", request_id, call.route, call.name, error)
    return error


def _answer(status: int, body: bytes, content_type: str, request_id: str, extra: Mapping[str, str]) -> Answer:
    headers = [
        (b"content-type", content_type.encode()),
        (b"x-request-id", request_id.encode()),
        (b"content-length", b"%d" % len(body)),
    ]
    headers += [(name.encode(), value.encode("latin-1")) for name, value in extra.items()]
    return Answer(status, headers, body)


_PROCESS = f"{os.getpid():x}-{time.time_ns() // 1_000_000:x}"
_numbers = iter(range(1 << 62))


def request_id_of(headers: Mapping[bytes, bytes]) -> str:
    """The caller's id of a request, or a new one."""
    given = headers.get(b"x-request-id")
    if given is not None and len(given) <= _LONGEST_NAME:
        text = given.decode("latin-1")
        if text.isprintable() and text.isascii():
            return text
    return f"{_PROCESS}-{next(_numbers):x}"


def server_failure() -> StackError:
    """What a caller is told of a mistake of the server."""
    return StackError(
        "the server made a mistake",
        remedy="look for the request's id in the server's log: ./fs logs serving",
        code="server-failed",
    )


async def _asked(
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
    body = await read_body(receive)
    return request_of_body(view, body, headers.get(b"content-type", b"").decode("latin-1"))


def _shape(query: Query, headers: Mapping[bytes, bytes]) -> Shape:
    """The form of the answer: what `shape` says, or what Accept asks for, or columns."""
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
