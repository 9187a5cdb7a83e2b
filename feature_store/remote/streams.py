"""Requests over asyncio, for programs with an event loop."""

from __future__ import annotations

import asyncio
import time
from typing import cast

from feature_store.remote.address import ServerAddress
from feature_store.remote.calls import Exchange, Outcome
from feature_store.remote.messages import ConnectionFailure, Request, Response, ResponseReader

_MOST_IDLE = 256
"""Connections that are kept."""


class AsyncTransport:
    """Exchanges with one server; in one event loop at a time."""

    def __init__(self, server: ServerAddress) -> None:
        self._server = server
        self._idle: list[_Connection] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    async def exchange(self, command: Exchange) -> Outcome:
        """The answer, or why there is none."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:  # connections of a loop that has ended cannot be used
            self._idle, self._loop = [], loop
        try:
            async with asyncio.timeout(command.ends - time.monotonic()):
                if command.hedge_after is None:
                    return await self._ask(command.request)
                return await self._ask_twice(command.request, command.hedge_after)
        except ConnectionFailure as failure:
            return failure
        except TimeoutError:
            return None

    async def close(self) -> None:
        """Ends the connections that are kept."""
        while self._idle:
            self._idle.pop().end()

    async def _ask(self, request: Request) -> Response:
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_lost:
                break
        else:
            connection = await self._connect()
        try:
            response = await connection.ask(request)
        except BaseException:
            connection.end()
            raise
        if connection.keeps_alive and len(self._idle) < _MOST_IDLE:
            self._idle.append(connection)
        else:
            connection.end()
        return response

    async def _ask_twice(self, request: Request, after: float) -> Response:
        """The answer that comes first of one request, or of two if the first is not answered in time."""
        tasks = [asyncio.create_task(self._ask(request))]
        try:
            await asyncio.wait(tasks, timeout=after)
            if not tasks[0].done():
                tasks.append(asyncio.create_task(self._ask(request)))
            for answered in asyncio.as_completed(tasks):
                try:
                    return await answered
                except ConnectionFailure as failure:
                    last = failure
            raise last
        finally:
            for task in tasks:
                if not task.cancel() and not task.cancelled():
                    task.exception()  # it is looked at, even if the other one has won

    async def _connect(self) -> _Connection:
        server, loop = self._server, asyncio.get_running_loop()
        try:
            name = server.host if server.is_encrypted else None
            _, connection = await loop.create_connection(
                lambda: _Connection(loop), server.host, server.port, ssl=server.tls, server_hostname=name
            )
        except OSError as error:
            raise ConnectionFailure(str(error)) from None
        return connection


class _Connection(asyncio.Protocol):
    """One connection with one request at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._reader = ResponseReader()
        self._answer: asyncio.Future[Response] | None = None
        self._is_used = False
        self.is_lost = False

    @property
    def keeps_alive(self) -> bool:
        """Whether it can carry another request."""
        return self._reader.keeps_alive and not self.is_lost

    def ask(self, request: Request) -> asyncio.Future[Response]:
        """The answer to a request; the one before is answered."""
        assert self._transport is not None
        self._reader = ResponseReader()
        self._answer = self._loop.create_future()
        self._transport.write(request.data)
        return self._answer

    def end(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own are none of that class

    def data_received(self, data: bytes) -> None:
        try:
            self._reader.feed(data)
        except ConnectionFailure as failure:
            self._fail(failure)
            return
        if self._reader.response is not None:
            self._is_used = True
            if self._answer is not None and not self._answer.done():
                self._answer.set_result(self._reader.response)

    def connection_lost(self, error: Exception | None) -> None:
        self.is_lost = True
        reason = str(error) if error else "the server has closed the connection"
        self._fail(ConnectionFailure(reason, is_used=self._is_used and not self._reader.has_begun))

    def _fail(self, failure: ConnectionFailure) -> None:
        self.end()
        self.is_lost = True
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(failure)
