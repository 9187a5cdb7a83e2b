"""The gRPC server of a process, in the event loop of its HTTP server: the service, its health, and reflection."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from feature_store.errors import StackError
from serving.certificates import ServerCertificate
from serving.grpc.service import SERVICE, OnlineService

HEALTH: str = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
_WATCH_SECONDS = 0.5
"""How often it is looked whether the health has changed, for callers that watch it."""
_FAREWELL_SECONDS = 0.2
"""How long callers are told that the server ends. Calls that come in just when it stops are cancelled by gRPC, which
callers cannot tell from their own doing.
"""
_Answer = health_pb2.HealthCheckResponse
_log = logging.getLogger(__name__)


class GrpcServer:
    """Listens from `start` to `stop`.

    Args:
        host, port: where; port 0 is any free one.
        certificate: what it shows; None: connections are not encrypted.
        is_ready: whether calls should be sent here.
        is_shared: whether other processes of the same server listen there, too.
    """

    def __init__(
        self,
        service: OnlineService,
        host: str,
        port: int,
        certificate: ServerCertificate | None,
        is_ready: Callable[[], bool],
        *,
        is_shared: bool = False,
    ) -> None:
        self._service = service
        self._certificate = certificate
        self._address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._health = _Health(is_ready)
        self._is_shared = is_shared
        self._server: grpc.aio.Server | None = None
        self._ended: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begins to listen.

        Raises:
            StackError: if that is not possible at the address.
        """
        # Shared with any other process by default, which would get half of the calls.
        server = grpc.aio.server(options=[("grpc.so_reuseport", int(self._is_shared))])
        server.add_generic_rpc_handlers((self._service.handler(),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        reflection.enable_server_reflection((SERVICE, HEALTH, reflection.SERVICE_NAME), server)
        try:
            port = _listen(server, self._address, self._certificate)
        except RuntimeError as error:
            raise StackError(
                f"gRPC cannot listen on {self._address}: {error}",
                where="FS_SERVING_GRPC_PORT",
                remedy="stop what listens there, or set another port",
                code="port",
            ) from None
        await server.start()
        self._server = server
        _log.info("gRPC on port %d", port)

    def drain(self, seconds: float) -> None:
        """Takes no more calls, and gives those that have begun so much time; `is_ready` has to be false by now."""
        if self._server is not None and self._ended is None:
            self._service.close()
            self._health.end()
            self._ended = asyncio.create_task(self._stop(self._server, seconds))

    async def _stop(self, server: grpc.aio.Server, seconds: float) -> None:
        await asyncio.sleep(_FAREWELL_SECONDS)
        await server.stop(seconds)

    async def stop(self) -> None:
        """Waits until it has drained."""
        if self._ended is not None:
            await self._ended


def _listen(server: grpc.aio.Server, address: str, certificate: ServerCertificate | None) -> int:
    if certificate is None:
        return int(server.add_insecure_port(address))
    return int(server.add_secure_port(address, certificate.credentials))


class _Health(health_pb2_grpc.HealthServicer):  # type: ignore[misc] # it has no types
    """Whether calls should be sent here, the same for all services."""

    def __init__(self, is_ready: Callable[[], bool]) -> None:
        self._is_ready = is_ready
        self._ended = asyncio.Event()

    def end(self) -> None:
        """Ends the calls that watch, or they would hold up the end of the process."""
        self._ended.set()

    async def Check(self, request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:  # noqa: N802
        if request.service not in ("", SERVICE):
            await context.abort(grpc.StatusCode.NOT_FOUND, f"there is no service {request.service[:200]!r}")
        return self._health(request)

    async def Watch(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: ARG002, N802
        """Tells each change."""
        told = None
        while True:
            if (health := self._health(request)) != told:
                yield health
                told = health
            if self._ended.is_set():
                return
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), _WATCH_SECONDS)

    def _health(self, request: Any) -> Any:
        if request.service not in ("", SERVICE):
            return _Answer(status=_Answer.SERVICE_UNKNOWN)
        return _Answer(status=_Answer.SERVING if self._is_ready() else _Answer.NOT_SERVING)
