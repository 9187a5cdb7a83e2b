"""Which node of a Redis Cluster has which slots, as one of its nodes says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

SLOTS = 16_384

Place = tuple[str, int]
"""Host and port of a node."""


class SlotRange(NamedTuple):
    """Slots in a row that are on the same nodes.

    Attributes:
        first, last: the slots, both of them included.
        replicas: those that have had the rows of their primary.
    """

    first: int
    last: int
    primary: Place
    replicas: tuple[Place, ...]


def parse_slots(reply: Sequence[Any], asked: Place) -> list[SlotRange]:
    """The answer to CLUSTER SLOTS.

    Args:
        asked: the node that has answered: its host is that of nodes which name none.
    """
    ranges = []
    for first, last, primary, *replicas in reply:
        ranges.append(SlotRange(first, last, _place(primary, asked), tuple(_place(each, asked) for each in replicas)))
    return ranges


def parse_place(text: str, asked: Place) -> Place:
    """The place that a redirection names: "host:port", or ":port" of the host that was asked."""
    host, _, port = text.rpartition(":")
    return (host.strip("[]") or asked[0], int(port))


def _place(entry: Sequence[Any], asked: Place) -> Place:
    """Of the preferred endpoint: NULL and "" are the host that was asked, "?" is a host name that nobody has set."""
    host, port, _, *more = entry
    if host == b"?":
        details = more[0] if more else []
        found = dict(zip(details[::2], details[1::2], strict=True))
        host = found.get(b"ip")
    return (host.decode() if host else asked[0], port)
