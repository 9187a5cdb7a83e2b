"""Requests over sockets, for programs with threads: connections are kept; no wait is longer than what was asked for."""

from __future__ import annotations

import errno
import os
import selectors
import socket
import ssl
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from feature_store.remote.address import ServerAddress
from feature_store.remote.calls import Exchange, Outcome
from feature_store.remote.messages import ConnectionFailure, Request, ResponseReader

_Selector = getattr(selectors, "PollSelector", selectors.SelectSelector)
_CHUNK = 65_536
_MOST_IDLE = 64
"""Connections that are kept."""


class SocketTransport:
    """Exchanges with one server; used from any thread, also after a fork."""

    def __init__(self, server: ServerAddress) -> None:
        self._server = server
        self._idle: deque[_Connection] = deque()
        self._process = os.getpid()

    def exchange(self, command: Exchange) -> Outcome:
        """The answer, or why there is none."""
        hedge_at = None if command.hedge_after is None else time.monotonic() + command.hedge_after
        flights: list[_Connection] = []
        try:
            flights.append(self._send(command.request))
            while True:
                for flight in [*flights]:
                    try:
                        flight.advance()
                    except ConnectionFailure as failure:
                        flights.remove(flight)
                        flight.close()
                        if not flights:
                            return failure
                        continue
                    if flight.reader.response is not None:
                        flights.remove(flight)
                        self._keep(flight)
                        return flight.reader.response
                now = time.monotonic()
                if now >= command.ends:
                    return None
                if hedge_at is not None and now >= hedge_at:
                    hedge_at = None
                    with suppress(ConnectionFailure):
                        flights.append(self._send(command.request))
                    continue
                _wait(flights, min(command.ends, hedge_at or command.ends) - now)
        except ConnectionFailure as failure:
            return failure
        finally:
            for flight in flights:
                flight.close()

    def close(self) -> None:
        """Ends the connections that are kept."""
        while self._idle:
            self._idle.pop().close()

    def _send(self, request: Request) -> _Connection:
        """A connection that is to carry a request.

        Raises:
            ConnectionFailure: if the server's name is not known.
        """
        if self._process != os.getpid():  # the connections are those of the parent
            self._idle, self._process = deque(), os.getpid()
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                connection = _Connection(self._server)
                break
            if connection.is_quiet():
                break
            connection.close()
        connection.begin(request)
        return connection

    def _keep(self, connection: _Connection) -> None:
        if connection.reader.keeps_alive and len(self._idle) < _MOST_IDLE:
            self._idle.append(connection)
        else:
            connection.close()


class _Connection:
    """One connection with one request at a time. It never waits: `advance` does what can be done at the moment.

    Raises:
        ConnectionFailure: if the server's name is not known.
    """

    def __init__(self, server: ServerAddress) -> None:
        self._server = server
        self._is_used = False
        self._is_greeting = False
        self._unsent = memoryview(b"")
        self.reader = ResponseReader()
        try:
            found = socket.getaddrinfo(server.host, server.port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise ConnectionFailure(f"the address of {server.host} is not known: {error}") from None
        self._addresses: Sequence[tuple[Any, ...]] = found
        self._socket = self._connect("it has no address")
        self._is_connecting = True

    def fileno(self) -> int:
        """For selectors."""
        return self._socket.fileno()

    @property
    def events(self) -> int:
        """What to wait for."""
        if self._is_connecting:
            return selectors.EVENT_WRITE
        return selectors.EVENT_READ | selectors.EVENT_WRITE if self._unsent else selectors.EVENT_READ

    def begin(self, request: Request) -> None:
        """Takes a request to carry; the one before is answered."""
        self._unsent = memoryview(request.data)
        self.reader = ResponseReader()

    def is_quiet(self) -> bool:
        """Whether nothing has come since the last answer: else it is closed, or belongs to nobody."""
        try:
            self._socket.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError):
            return True
        except OSError:
            pass
        return False

    def advance(self) -> None:
        """Connects, sends and reads as far as it can.

        Raises:
            ConnectionFailure: if the connection cannot be made, or has ended.
        """
        try:
            if self._is_connecting and not self._has_connected():
                return
            if self._is_greeting:
                self._tls_socket.do_handshake()
                self._is_greeting = False
            self._send()
            self._receive()
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        except OSError as error:
            raise self._failure(str(error)) from None

    def close(self) -> None:
        self._socket.close()

    def _connect(self, trouble: str) -> socket.socket:
        """Begins to connect to the next address.

        Args:
            trouble: with the address before.
        """
        while self._addresses:
            (family, kind, protocol, _, address), *self._addresses = self._addresses
            try:
                found = socket.socket(family, kind, protocol)
            except OSError as error:
                trouble = str(error)
                continue
            found.setblocking(False)
            found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            number = found.connect_ex(address)
            if number in (0, errno.EINPROGRESS, errno.EWOULDBLOCK):
                return found
            found.close()
            trouble = os.strerror(number)
        raise self._failure(trouble)

    def _has_connected(self) -> bool:
        number = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            self._socket.close()
            self._socket = self._connect(os.strerror(number))
            return False
        try:
            self._socket.getpeername()
        except OSError:
            return False  # not yet
        self._is_connecting = False
        if self._server.tls is not None:
            self._socket = self._server.tls.wrap_socket(
                self._socket, server_hostname=self._server.host, do_handshake_on_connect=False
            )
            self._is_greeting = True
        return True

    @property
    def _tls_socket(self) -> ssl.SSLSocket:
        assert isinstance(self._socket, ssl.SSLSocket)
        return self._socket

    def _send(self) -> None:
        try:
            while self._unsent:
                self._unsent = self._unsent[self._socket.send(self._unsent) :]
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        except (BrokenPipeError, ConnectionResetError):
            self._unsent = memoryview(b"")  # what the server has said before it closed tells why

    def _receive(self) -> None:
        while self.reader.response is None:
            data = self._socket.recv(_CHUNK)
            if not data:
                raise self._failure("the server has closed the connection")
            self.reader.feed(data)
        self._is_used = True

    def _failure(self, reason: str) -> ConnectionFailure:
        return ConnectionFailure(reason, is_used=self._is_used and not self.reader.has_begun)


def _wait(connections: Sequence[_Connection], seconds: float) -> None:
    """Waits until one of the connections can go on."""
    with _Selector() as selector:
        for connection in connections:
            selector.register(connection, connection.events)
        selector.select(seconds)
