"""The service of `online.proto`: reads vectors over the core that the REST routes have."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

import grpc

from feature_store.errors import FeatureStoreError, StackError
from feature_store.online.read.multiplexed import MultiplexedReader
from feature_store.registry.records import Kind
from serving.auth import Gate
from serving.definitions import ServedDefinitions
from serving.grpc.answers import AnswerWriters
from serving.grpc.online_pb2 import DESCRIPTOR
from serving.grpc.problems import code_of, details_of, trailers_of
from serving.grpc.requests import parse_request, rows_of_request
from serving.metrics import ServingMetrics
from serving.rest.online import OnlineCall, expected_error, request_id_of
from serving.rest.problems import status_of
from serving.samples import ServedSamples
from serving.usage import UsageCounts

SERVICE: str = DESCRIPTOR.services_by_name["Online"].full_name
_METHODS: dict[str, Kind | None] = {"ReadGroup": "group", "ReadView": "view", "ReadModel": None}
_ENDING = StackError("the server is shutting down", remedy="ask another one", code="shutting-down")
_GONE = 499
"""The status that is counted for a caller who did not wait for the answer."""


class OnlineService:
    """Answers calls for vectors.

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
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    async def _answer(
        self, route: str, kind: Kind | None, message: bytes, context: grpc.aio.ServicerContext[Any, Any]
    ) -> bytes:
        began = time.perf_counter()
        headers = {name.encode(): _bytes(value) for name, value in context.invocation_metadata()}
        request_id = request_id_of(headers)
        if self._is_closed:
            self._metrics.note(route, "", status_of(_ENDING), 0.0)
            await _abort(context, _ENDING, request_id)
        target, status, call = "", 200, OnlineCall(route, kind, "")
        try:
            token = self._gate.caller(headers)
            asked = parse_request(message)
            call = OnlineCall(route, kind, asked.id)
            served = call.target(self._definitions())
            target = served.id
            masked = self._gate.masked(token, served)
            request = rows_of_request(served.view, asked)
            writer = self._writers.of(served.view, request.features, masked)
            vectors = await self._reader.read(served.reading, request.rows, request.request, time.time_ns() // 1_000)
            answer = writer.write(vectors)
            self._metrics.note_vectors(vectors)
            model = call.model(token, headers)
            if model:
                self._usage.note(served.kind, served.id, model)
            self._samples.note(served, vectors, model)
        except asyncio.CancelledError:
            status = _GONE
            raise
        except Exception as error:
            problem = expected_error(error, request_id, call)
            status = status_of(problem)
        finally:
            self._metrics.note(route, target, status, time.perf_counter() - began)
        if status != 200:
            await _abort(context, problem, request_id)
        context.set_trailing_metadata((("x-request-id", request_id),))
        return answer


async def _abort(context: grpc.aio.ServicerContext[Any, Any], error: FeatureStoreError, request_id: str) -> NoReturn:
    await context.abort(code_of(error), details_of(error), trailers_of(error, request_id))
    raise AssertionError("unreachable: abort raises")


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode()
