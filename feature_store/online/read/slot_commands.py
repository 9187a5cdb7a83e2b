"""The commands of a request for one node of a cluster, each for keys of one slot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from feature_store.online.read.connection import NodeError
from feature_store.online.read.node import RedisNode
from feature_store.online.read.store import Keys


@dataclass(eq=False, slots=True)
class SlotCommands:
    """Commands for one node.

    Attributes:
        nodes: who may be asked, one after the other.
        places: of each command the places that its reply has in the answer; those of GET and MGET.
        asking: whether the slot is on its way to the node.
    """

    nodes: tuple[RedisNode, ...]
    commands: list[tuple[Any, ...]]
    places: list[Sequence[int]]
    asking: bool = False

    def sent(self) -> list[tuple[Any, ...]]:
        if not self.asking:
            return self.commands
        return [each for command in self.commands for each in (("ASKING",), command)]

    def elsewhere(self) -> list[SlotCommands]:
        """The same for the next node; nothing if there is none."""
        return [replace(self, nodes=self.nodes[1:])] if len(self.nodes) > 1 else []


def time_of_first(nodes: Sequence[RedisNode], now: float, deadline: float) -> float:
    """When the first of some nodes has to have answered: the next one is left half of the time."""
    return (now + deadline) / 2 if len(nodes) > 1 else deadline


def made_natively(nodes: tuple[RedisNode, ...], keys: Keys, order: bytes) -> SlotCommands:
    """The commands of a node that the native core has made."""
    numbers = iter(memoryview(order).cast("I").tolist())
    places = [[*islice(numbers, count)] for count in numbers]
    commands = [("GET" if len(each) == 1 else "MGET", *(keys[place] for place in each)) for each in places]
    return SlotCommands(nodes, commands, [*places])


def one_by_one(part: SlotCommands) -> SlotCommands:
    """The same with a command for each key: a node of a slot that is being moved refuses several keys at once."""
    places = [place for of_command in part.places for place in of_command]
    if len(places) == 1:
        return part
    keys = [key for command in part.commands for key in command[1:]]
    return replace(part, commands=[("GET", key) for key in keys], places=[(place,) for place in places])


def taken(part: SlotCommands, replies: list[Any], found: list[Any]) -> list[tuple[SlotCommands, NodeError]]:
    """Puts replies into their places; gives the commands that were refused."""
    if part.asking:
        replies = replies[1::2]
    refused: list[tuple[SlotCommands, NodeError]] = []
    for command, places, reply in zip(part.commands, part.places, replies, strict=True):
        if type(reply) is NodeError:
            refused.append((SlotCommands(part.nodes, [command], [places], part.asking), reply))
        elif len(places) == 1:
            found[places[0]] = reply
        else:
            for place, value in zip(places, reply, strict=True):
                found[place] = value
    return refused
