"""What gates and balancers of the tests do with a connection: pass on what comes from either side."""

from __future__ import annotations

import selectors
import socket
import ssl


def pass_on(client: socket.socket, behind: socket.socket) -> None:
    """Passes bytes on, both ways, until one of the sides closes."""
    others = {client: behind, behind: client}
    with selectors.DefaultSelector() as selector:
        for end in others:
            selector.register(end, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                end = key.fileobj
                assert isinstance(end, socket.socket)
                while True:
                    data = end.recv(65_536)
                    if not data:
                        return
                    others[end].sendall(data)
                    if not (isinstance(end, ssl.SSLSocket) and end.pending()):
                        break  # what is decrypted already would wake no selector
