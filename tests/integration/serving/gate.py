"""A gate in front of the real Postgres: it can be shut, and it can encrypt, which the binary of the tests cannot."""

from __future__ import annotations

import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.integration.serving.relay import pass_on

_SSL_REQUEST = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"
"""What a client of Postgres says before it encrypts."""


class _Relay(socketserver.BaseRequestHandler):
    """Passes on what comes from either side until one of them closes."""

    server: PostgresGate

    def handle(self) -> None:
        client, gate = self.request, self.server
        gate.clients.add(client)
        with suppress(OSError):
            if gate.is_shut:
                return
            if gate.tls is not None:
                if client.recv(8) != _SSL_REQUEST:
                    return  # it does not encrypt
                client.sendall(b"S")
                client = gate.tls.wrap_socket(client, server_side=True)
                gate.encrypted += 1
            with socket.create_connection(("127.0.0.1", gate.behind)) as behind, client:
                pass_on(client, behind)
        gate.clients.discard(self.request)


class PostgresGate(socketserver.ThreadingTCPServer):
    """Passes connections on to the Postgres on a port of this machine.

    Attributes:
        tls: with which clients have to encrypt; None: they need not.
        encrypted: how many connections were.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, behind: int, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Relay)
        self.behind = behind
        self.tls = tls
        self.encrypted = 0
        self.is_shut = False
        self.clients: set[socket.socket] = set()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def shut(self) -> None:
        """Ends all connections, and lets nobody in."""
        self.is_shut = True
        for client in [*self.clients]:
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)

    def open(self) -> None:
        """Lets clients in again."""
        self.is_shut = False


@contextmanager
def running_gate(behind: int, tls: ssl.SSLContext | None = None) -> Iterator[PostgresGate]:
    """A gate for as long as the block runs."""
    with PostgresGate(behind, tls) as gate:
        thread = threading.Thread(target=gate.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield gate
        gate.shut()
        gate.shutdown()
        thread.join()
