"""The service of `online.proto`: reads vectors over the core that the REST routes have."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Any, NoReturn

import grpc
import msgspec

from feature_store.errors import FeatureStoreError, StackError
from feature_store.registry.records import Kind
from feature_store.remote.online_pb2 import DESCRIPTOR, SchemaRequest, SchemaResponse
from feature_store.remote.schema import ViewDocument
from serving.calls import OnlineCall, OnlineCore, expected_error, request_id_of
from serving.grpc.answers import AnswerWriter
from serving.grpc.problems import code_of, details_of, trailers_of
from serving.grpc.requests import parse_request, parse_schema_request, rows_of_request
from serving.rest.problems import status_of
from serving.writers import AnswerWriters

SERVICE: str = DESCRIPTOR.services_by_name["Online"].full_name
_METHODS: dict[str, Kind | None] = {"ReadGroup": "group", "ReadView": "view", "ReadModel": None}
_ENDING = StackError("the server is shutting down", remedy="ask another one", code="shutting-down")
_GONE = 499
"""The status that is counted for a caller who did not wait for the answer."""


class OnlineService:
    """Answers calls for vectors."""

    def __init__(self, core: OnlineCore) -> None:
        self._core = core
        self._writers = AnswerWriters(AnswerWriter)
        self._model_writers = AnswerWriters(partial(AnswerWriter, of_model=True))
        self._is_closed = False

    def close(self) -> None:
        """From now on calls are refused, but for those that have begun."""
        self._is_closed = True

    def handler(self) -> grpc.GenericRpcHandler:
        """What a server calls. Messages come and go as bytes: those that cannot be read are our errors, too."""
        methods = {
            name: grpc.unary_unary_rpc_method_handler(partial(self._answer, f"/{SERVICE}/{name}", kind))
            for name, kind in _METHODS.items()
        }
        methods["GetSchema"] = grpc.unary_unary_rpc_method_handler(self._tell_schema)
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    async def _tell_schema(self, message: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        """What readers of a group or a view have to know of it."""
        core, began, route = self._core, time.perf_counter(), f"/{SERVICE}/GetSchema"
        headers = {name.encode(): _bytes(value) for name, value in context.invocation_metadata()}
        request_id, call = request_id_of(headers), OnlineCall(route, None, "")
        try:
            if self._is_closed:
                raise _ENDING
            core.gate.caller(headers)
            asked = parse_schema_request(message)
            kind: Kind = "group" if asked.kind == SchemaRequest.GROUP else "view"
            call = OnlineCall(route, kind, asked.id)
            document = ViewDocument.of(call.target(core.definitions()).view)
        except Exception as error:
            problem = expected_error(error, request_id, call)
            core.metrics.note(route, "", status_of(problem), time.perf_counter() - began)
            await _abort(context, problem, request_id)
        core.metrics.note(route, "", 200, time.perf_counter() - began)
        context.set_trailing_metadata((("x-request-id", request_id),))
        answer: bytes = SchemaResponse(schema=msgspec.json.encode(document)).SerializeToString()
        return answer

    async def _answer(
        self, route: str, kind: Kind | None, message: bytes, context: grpc.aio.ServicerContext[Any, Any]
    ) -> bytes:
        core, began = self._core, time.perf_counter()
        headers = {name.encode(): _bytes(value) for name, value in context.invocation_metadata()}
        request_id = request_id_of(headers)
        if self._is_closed:
            core.metrics.note(route, "", status_of(_ENDING), 0.0)
            core.metrics.shed.note(_ENDING)
            await _abort(context, _ENDING, request_id)
        target, status, call = "", 200, OnlineCall(route, kind, "")
        try:
            token = core.gate.caller(headers)
            asked = parse_request(message)
            call = OnlineCall(route, kind, asked.id)
            admission = core.admit(call, token)
            served = admission.served
            target = served.id
            request = rows_of_request(served.view, asked)
            writers = self._writers if admission.model is None else self._model_writers
            writer = writers.of(served.view, admission.features(request.features), admission.masked)
            vectors = await core.reader.read(served.reading, request.rows, request.request, time.time_ns() // 1_000)
            answer = writer.write(vectors)
            core.note(call, admission, vectors, headers)
        except asyncio.CancelledError:
            status = _GONE
            raise
        except Exception as error:
            problem = expected_error(error, request_id, call)
            core.metrics.shed.note(problem)
            status = status_of(problem)
        finally:
            core.metrics.note(route, target, status, time.perf_counter() - began)
        if status != 200:
            await _abort(context, problem, request_id)
        context.set_trailing_metadata((("x-request-id", request_id),))
        return answer


async def _abort(context: grpc.aio.ServicerContext[Any, Any], error: FeatureStoreError, request_id: str) -> NoReturn:
    await context.abort(code_of(error), details_of(error), trailers_of(error, request_id))
    raise AssertionError("unreachable: abort raises")


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode()
