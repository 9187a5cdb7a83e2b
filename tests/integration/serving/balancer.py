"""A balancer in front of servers, as there is one in front of most: each new connection goes to the next server."""

from __future__ import annotations

import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from tests.integration.serving.relay import pass_on


class _Relay(socketserver.BaseRequestHandler):
    """Passes on what comes from either side until one of them closes."""

    server: Balancer

    def handle(self) -> None:
        client = self.request
        with suppress(OSError):
            if self.server.tls is not None:
                client = self.server.tls.wrap_socket(client, server_side=True)
            self.server.opened += 1
            with socket.create_connection(("127.0.0.1", self.server.next_port())) as behind, client:
                pass_on(client, behind)
        self.server.closed += 1


class Balancer(socketserver.ThreadingTCPServer):
    """Passes connections on to servers on this machine, in turn.

    Attributes:
        tls: with which clients are greeted; servers are not.
        opened, closed: how many connections clients have made, and how many of them have ended.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, ports: Sequence[int], tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Relay)
        self._ports = ports
        self._numbers = count()
        self.tls = tls
        self.opened = self.closed = 0

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def next_port(self) -> int:
        return self._ports[next(self._numbers) % len(self._ports)]


@contextmanager
def running_balancer(ports: Sequence[int], certificate: Path | None = None) -> Iterator[Balancer]:
    """A balancer that runs.

    Args:
        certificate: a file with the certificate that it shows, and its key.
    """
    tls = None
    if certificate is not None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate)
    with Balancer(ports, tls) as balancer:
        thread = threading.Thread(target=balancer.serve_forever, args=(0.02,))
        thread.start()
        yield balancer
        balancer.shutdown()
        thread.join()
