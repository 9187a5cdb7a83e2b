"""Requests over gRPC: one connection for all calls of a process, or of an event loop.

An answer is told as one over HTTP would be, so that calls need not know: the server says the status that an error has
there, and what gRPC itself says of a connection is a failure of it.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from pathlib import Path
from typing import Any, cast

import grpc
import msgspec

from feature_store.remote.address import ServerAddress
from feature_store.remote.calls import Exchange, Outcome
from feature_store.remote.grpc_messages import Call
from feature_store.remote.messages import ConnectionFailure, Response

_OPTIONS = (
    ("grpc.enable_retries", 0),  # calls are tried again by who makes them
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 20),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.max_receive_message_length", -1),  # a thousand rows with embeddings are more than the usual 4 MiB
    ("grpc.use_local_subchannel_pool", 1),  # else channels of other clients decide how soon it is tried again
)


class ChannelTransport:
    """Calls to one server; used from any thread, also after a fork."""

    def __init__(self, server: ServerAddress) -> None:
        self._server = server
        self._metadata = _metadata(server)
        self._process = 0
        self._channel: grpc.Channel | None = None

    def exchange(self, command: Exchange) -> Outcome:
        """The answer, or why there is none."""
        if self._channel is None or self._process != os.getpid():  # the channel is that of the parent
            self._channel, self._process = self._open(), os.getpid()
        call = cast("Call", command.request)
        seconds = max(command.ends - time.monotonic(), 0.0)
        try:
            body: bytes = self._channel.unary_unary(call.method)(call.data, seconds, self._metadata)
        except grpc.RpcError as error:
            return _outcome(error)
        return Response(200, {}, body)

    def close(self) -> None:
        """Ends the connection."""
        if self._channel is not None and self._process == os.getpid():
            self._channel.close()
        self._channel = None

    def _open(self) -> grpc.Channel:
        target = _target(self._server)
        if not self._server.is_encrypted:
            return grpc.insecure_channel(target, _OPTIONS)
        return grpc.secure_channel(target, _credentials(), _OPTIONS)


class EventChannelTransport:
    """The same for an event loop; in one at a time."""

    def __init__(self, server: ServerAddress) -> None:
        self._server = server
        self._metadata = _metadata(server)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._channel: grpc.aio.Channel | None = None

    async def exchange(self, command: Exchange) -> Outcome:
        """The answer, or why there is none."""
        loop = asyncio.get_running_loop()
        if self._channel is None or loop is not self._loop:  # a channel of a loop that has ended cannot be used
            self._channel, self._loop = self._open(), loop
        call = cast("Call", command.request)
        seconds = max(command.ends - time.monotonic(), 0.0)
        try:
            answering = self._channel.unary_unary(call.method)
            body: bytes = await answering(call.data, timeout=seconds, metadata=self._metadata)
        except grpc.RpcError as error:
            return _outcome(error)
        return Response(200, {}, body)

    async def close(self) -> None:
        """Ends the connection."""
        if self._channel is not None and self._loop is asyncio.get_running_loop():
            await self._channel.close()
        self._channel = None

    def _open(self) -> grpc.aio.Channel:
        target = _target(self._server)
        if not self._server.is_encrypted:
            return grpc.aio.insecure_channel(target, _OPTIONS)
        return grpc.aio.secure_channel(target, _credentials(), _OPTIONS)


def _target(server: ServerAddress) -> str:
    return f"[{server.host}]:{server.port}" if ":" in server.host else f"{server.host}:{server.port}"


def _metadata(server: ServerAddress) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {server.token}"),) if server.token else ()


def _credentials() -> grpc.ChannelCredentials:
    """Certificates are checked against SSL_CERT_FILE, or those that the system trusts."""
    paths = ssl.get_default_verify_paths()
    return grpc.ssl_channel_credentials(Path(paths.cafile).read_bytes() if paths.cafile else None)


def _outcome(error: Any) -> Outcome:
    """What an error means, which is the server's if it has said its status over HTTP."""
    code, trailers = error.code(), dict(error.trailing_metadata() or ())
    if "http-status" in trailers:
        return _refusal(int(trailers["http-status"]), error.details() or "", trailers)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return None
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:  # a message that gRPC does not even give to the server
        return _refusal(413, error.details() or "", {"code": "large-request"})
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return Response(501, {}, b"")
    return ConnectionFailure(error.details() or code.name)


def _refusal(status: int, details: str, trailers: dict[str, str | bytes]) -> Response:
    """An error as the answer that it would be over HTTP."""
    said = {name: value.decode(errors="replace") if isinstance(value, bytes) else value
            for name, value in trailers.items()}  # fmt: skip
    code, where, remedy = said.get("code", ""), said.get("where-bin", ""), said.get("remedy-bin", "")
    detail = details.removeprefix(f"{where}: ").removesuffix(f" [{code}]").removesuffix(f" -> {remedy}")
    problem = {"detail": detail, "code": code, "where": where, "remedy": remedy,
               "instance": said.get("x-request-id", "")}  # fmt: skip
    headers = {b"retry-after": said["retry-after"].encode()} if "retry-after" in said else {}
    return Response(status, headers, msgspec.json.encode(problem))
