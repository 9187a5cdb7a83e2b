"""Which ports the embedded services listen on, and who sits on a port that is taken. All on the loopback address."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from feature_store.errors import StackError

LOOPBACK = "127.0.0.1"
_ATTEMPTS = 200


@dataclass(frozen=True)
class PortPlan:
    """A port for each service, and what the user should know about the choice."""

    ports: Mapping[str, int]
    notices: tuple[str, ...]


def plan_ports(first: int, services: Sequence[str], offsets: Mapping[str, int], *, fixed: bool) -> PortPlan:
    """Gives each service `first + offset`, or the next free port where that one is taken.

    Args:
        first: the base port.
        services: those that need a port, in this order.
        offsets: each service's usual distance from the base; the next free port is looked for beyond all of them.
        fixed: the user named the base, so that another port would be a surprise.

    Raises:
        StackError: if a port is taken and the plan is fixed, or none is free.
    """
    ports: dict[str, int] = {}
    notices = []
    spare = iter(range(first + max(offsets.values()) + 1, first + _ATTEMPTS))
    for service in services:
        usual = first + offsets[service]
        if is_free(usual):
            ports[service] = usual
            continue
        owner = describe_listener(usual)
        if fixed:
            raise StackError(
                f"port {usual} for {service} is taken by {owner}",
                remedy="stop that program, or set FS_PORT to another first port",
                code="port",
            )
        other = next((port for port in spare if is_free(port)), None)
        if other is None:
            raise StackError(f"no free port from {first} on", remedy="set FS_PORT to another first port", code="port")
        ports[service] = other
        notices.append(f"port {usual} is taken by {owner}; {service} uses {other}")
    return PortPlan(ports, tuple(notices))


def is_free(port: int) -> bool:
    """Whether a server could listen on the port now; connections of an earlier one that linger do not matter."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
            probe.listen(1)
        except OSError:
            return False
        return True


def accepts(port: int) -> bool:
    """Whether a server takes connections on the port now."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((LOOPBACK, port)) == 0


def describe_listener(port: int) -> str:
    """The program listening on a port, as far as this user may know: "valkey-server (pid 123)"."""
    import psutil

    try:
        connections = psutil.net_connections("tcp")
    except (psutil.Error, OSError):  # the system does not tell everybody
        connections = []
    for connection in connections:
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
            try:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
            except psutil.Error:
                return f"pid {connection.pid}"
    return "a program of another user"
