"""Ports that several processes of one server listen on: the kernel spreads connections over them (SO_REUSEPORT)."""

from __future__ import annotations

import errno
import socket
from contextlib import suppress

from feature_store.errors import StackError


class ReservedPort:
    """A port for the workers of one server: held, not listened on, so that no connection waits for the holder.

    Anybody else who binds the port is refused, also before the first worker listens.

    Args:
        host: a name or address; a name may have addresses of several families.
        port: 0 is any free one.
        setting: what named the port, for the error.

    Attributes:
        port: never 0.

    Raises:
        StackError: if it cannot be had.
    """

    def __init__(self, host: str, port: int, setting: str) -> None:
        self.port = port
        self._held: list[socket.socket] = []
        try:
            for family, address in _addresses(host):
                self._held.append(_reserved(family, (address, self.port)))
                self.port = self._held[0].getsockname()[1]
        except OSError as error:
            self.close()
            raise StackError(
                f"cannot listen on {host}:{port}: {error.strerror or error}",
                where=setting,
                remedy="stop what listens there, or set another port or host",
                code="port",
            ) from None

    def close(self) -> None:
        """Lets go of it."""
        for held in self._held:
            held.close()


def shared_sockets(host: str, port: int) -> list[socket.socket]:
    """Sockets of one worker on a reserved port, one for each address of the host.

    Raises:
        OSError: if the port is not that of this user's server.
    """
    found = []
    for family, address in _addresses(host):
        found.append(shared := _socket(family))
        shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        shared.bind((address, port))
    return found


def _reserved(family: int, address: tuple[str, int]) -> socket.socket:
    """Bound as the only one; only then others of this user may bind the port, if they share it, too."""
    held = _socket(family)
    try:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # for connections of a server that has just ended
        held.bind(address)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)  # else a second server could bind it, too
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    except OSError:
        held.close()
        raise
    return held


def _socket(family: int) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    if family == socket.AF_INET6:
        with suppress(OSError):
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    return made


def _addresses(host: str) -> list[tuple[int, str]]:
    """Families and addresses of a host, each once."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    if not found:
        raise OSError(errno.EADDRNOTAVAIL, "the host has no address")
    return list(dict.fromkeys((int(family), str(address[0])) for family, _, _, _, address in found))
