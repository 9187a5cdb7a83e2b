"""Reads of a Redis Cluster: the keys of a request go to the nodes that have their slots, one write for each node.

Where a slot is, is known from the cluster itself and looked up again on a redirection, when a connection was lost, and
now and then. Redirections are followed within the request's deadline: a slot that is being moved is asked for key by
key, where it was and where it goes. A node that does not answer makes its own keys UNREACHABLE and no others, unless
replicas may be asked.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Literal

from redis.crc import key_slot

from feature_store.online.native.core import NativeCore, NodePart
from feature_store.online.read.connection import GIVE_UP_SECONDS, NodeError
from feature_store.online.read.decoding import UNREACHABLE, StoredValue, Unreachable
from feature_store.online.read.node import DEADLINE_SECONDS, MOST_WAITING, NodeAddress, RedisNode
from feature_store.online.read.slot_commands import SlotCommands, made_natively, one_by_one, taken, time_of_first
from feature_store.online.read.slot_owners import SlotOwners
from feature_store.online.read.store import Keys
from feature_store.online.read.topology import SLOTS, Place, SlotRange, parse_place, parse_slots

_log = logging.getLogger(__name__)

Replicas = Literal["never", "fallback", "prefer"]
"""Whether replicas answer: not at all; where their primary does not; before their primary."""

_LOOK_SECONDS = 15.0
"""Between two looks at the topology while nothing is wrong."""
_LEAST_PAUSE, _LONGEST_PAUSE = 0.05, 0.5
"""Between two looks while something is."""
_MOST_ASKED = 3
"""Nodes that are asked for the topology while they say that the cluster is not well."""
_MOST_ROUNDS = 8
"""How often keys of one request are asked for where they are said to be."""


@dataclass(frozen=True, eq=False)
class _Shard:
    """The nodes that have some slots."""

    primary: RedisNode
    replicas: tuple[RedisNode, ...] = ()


class RedisCluster:
    """Asks the nodes of a cluster; made and used in one event loop.

    Args:
        seeds: nodes of the cluster; the others are known from them.
        deadline: seconds that a request may take.
        most_waiting: requests that may wait at each node at once.
        replicas: whether they answer; their rows may be older than those of their primary.
        core: makes the commands of requests; None: Python does.
    """

    def __init__(
        self,
        seeds: Sequence[NodeAddress],
        *,
        deadline: float = DEADLINE_SECONDS,
        most_waiting: int = MOST_WAITING,
        replicas: Replicas = "never",
        core: NativeCore | None = None,
    ) -> None:
        self._seeds = [replace(seed, may_be_replica=replicas != "never") for seed in seeds]
        self._deadline = deadline
        self._most_waiting = most_waiting
        self._replicas = replicas
        self._core = core
        self._nodes: dict[Place, RedisNode] = {}
        self._shards: list[_Shard | None] = [None] * SLOTS
        self._owners: SlotOwners[_Shard] = SlotOwners()
        self._primaries: Sequence[RedisNode] = ()
        self._missing = SLOTS
        self._look_wanted = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> RedisCluster:
        self._loop = asyncio.get_running_loop()  # to ask for it costs a request more than to keep it
        await self._look()
        self._tasks.add(asyncio.create_task(self._keep_looking()))
        return self

    async def __aexit__(self, *error: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(node.close() for node in self._nodes.values()))

    @property
    def node(self) -> None:
        """As `OnlineStore.node`."""

    @property
    def is_up(self) -> bool:
        """As `OnlineStore.is_up`: every slot has a primary that can be asked."""
        return not self._missing and all(node.is_up for node in self._primaries)

    @property
    def troubles(self) -> Mapping[str, str]:
        """As `OnlineStore.troubles`."""
        found = {name: trouble for node in self._nodes.values() for name, trouble in node.troubles.items()}
        if self._missing:
            found["cluster"] = f"nobody is known to have {self._missing} of the {SLOTS} slots"
        return found

    async def values(self, keys: Keys, packed: bytes | None = None) -> Sequence[StoredValue]:  # noqa: ARG002
        """As `OnlineStore.values`."""
        core = self._core
        if core is None:
            return await self._values([*keys])
        if isinstance(keys, Sequence):
            parts = core.keys_by_node(keys, self._owners.table)
        else:
            parts = keys.by_node(self._owners.table)
        return await self._values([*keys]) if parts is None else await self._native_values(core, keys, *parts)

    async def _values(self, keys: Sequence[str]) -> Sequence[StoredValue]:
        slots: dict[int, list[int]] = {}
        for i, key in enumerate(keys):
            slots.setdefault(key_slot(key.encode()), []).append(i)
        parts: dict[RedisNode, SlotCommands] = {}
        for slot, places in slots.items():
            shard = self._shards[slot]
            if shard is None:
                self._look_wanted.set()
                continue
            part = parts.get(shard.primary)
            if part is None:
                part = parts[shard.primary] = SlotCommands(self._readers(shard), [], [])
            part.places.append(places)
            if len(places) == 1:
                part.commands.append(("GET", keys[places[0]]))
            else:
                part.commands.append(("MGET", *[keys[i] for i in places]))
        found: list[Any] = [UNREACHABLE] * len(keys)
        await self._ask([*parts.values()], found)
        return found

    async def _native_values(
        self, core: NativeCore, keys: Keys, parts: Sequence[NodePart], is_whole: bool
    ) -> Sequence[StoredValue]:
        """The same of keys whose commands are made already; what is refused or fails goes on as any other."""
        if not is_whole:
            self._look_wanted.set()
        now = self._loop.time()
        deadline = now + self._deadline
        readers = [self._readers(self._owners[number]) for number, *_ in parts]
        for nodes in readers:
            if nodes[0].is_full:
                raise nodes[0].busy_error()
        found: list[Any] = [UNREACHABLE] * len(keys)
        sent: list[asyncio.Future[list[Any]] | None] = []
        for nodes, (_, packed, count, _) in zip(readers, parts, strict=True):
            try:
                sent.append(nodes[0].ask_all_packed(packed, count, time_of_first(nodes, now, deadline)))
            except NodeError:
                sent.append(None)
        again: list[SlotCommands] = []
        try:
            for nodes, (*_, order), future in zip(readers, parts, sent, strict=True):
                again += await self._native_replies(core, nodes, keys, order, future, found, deadline)
        except asyncio.CancelledError:
            for future in filter(None, sent):
                future.cancel()
            raise
        if again and self._loop.time() < deadline:
            await self._ask(again, found, deadline)
        return found

    async def _native_replies(
        self,
        core: NativeCore,
        nodes: tuple[RedisNode, ...],
        keys: Keys,
        order: bytes,
        future: asyncio.Future[list[Any]] | None,
        found: list[Any],
        deadline: float,
    ) -> list[SlotCommands]:
        """Puts the replies of a node into their places; gives what has to be asked elsewhere."""
        try:
            replies = None if future is None else await future
        except NodeError:
            replies = None
        if replies is None:
            self._look_wanted.set()
            return made_natively(nodes, keys, order).elsewhere()
        again: list[SlotCommands] = []
        if refused := core.put_replies(found, replies, order):
            made = made_natively(nodes, keys, order)
            for number in refused:
                one = replace(made, commands=[made.commands[number]], places=[made.places[number]])
                again += await self._redirected(one, replies[number], deadline)
        return again

    async def hash(self, key: str) -> Mapping[bytes, bytes] | Unreachable:
        """As `OnlineStore.hash`."""
        shard = self._shard_of(key)
        reply = UNREACHABLE if shard is None else await self._answer(self._readers(shard), "HGETALL", key)
        if reply is UNREACHABLE:
            return UNREACHABLE
        entries = iter(reply)
        return dict(zip(entries, entries, strict=True))

    async def command(self, name: str, key: str, *arguments: Any) -> Any:
        """As `OnlineStore.command`."""
        shard = self._shard_of(key)
        reply = UNREACHABLE if shard is None else await self._answer((shard.primary,), name, key, *arguments)
        if reply is UNREACHABLE:
            raise NodeError(f"the node of Redis that has {key!r} does not answer {name}")
        return reply

    def _shard_of(self, key: str) -> _Shard | None:
        shard = self._shards[key_slot(key.encode())]
        if shard is None:
            self._look_wanted.set()
        return shard

    def _readers(self, shard: _Shard) -> tuple[RedisNode, ...]:
        """Who is asked for rows of a shard, one after the other."""
        if not shard.replicas:
            return (shard.primary,)
        replicas = [node for node in shard.replicas if node.is_up]
        random.shuffle(replicas)
        if self._replicas == "prefer" or not shard.primary.is_up:
            return (*replicas, shard.primary)
        return (shard.primary, *replicas)

    async def _answer(self, nodes: tuple[RedisNode, ...], *command: Any) -> Any:
        found: list[Any] = [UNREACHABLE]
        await self._ask([SlotCommands(nodes, [command], [(0,)])], found)
        return found[0]

    async def _ask(self, parts: list[SlotCommands], found: list[Any], deadline: float | None = None) -> None:
        """Puts the replies to commands into their places; where nobody gives one in time, it leaves what is there.

        Args:
            deadline: of the request, if it has begun already.
        """
        loop = self._loop
        now = loop.time()
        deadline = now + self._deadline if deadline is None else deadline
        for part in parts:
            if part.nodes[0].is_full:
                raise part.nodes[0].busy_error()
        for _ in range(_MOST_ROUNDS):
            futures = [self._sent(part, now, deadline) for part in parts]
            try:
                parts = await self._collected(parts, futures, found, deadline)
            except asyncio.CancelledError:
                for future in filter(None, futures):
                    future.cancel()
                raise
            now = loop.time()
            if not parts or now >= deadline:
                return

    async def _collected(
        self,
        parts: list[SlotCommands],
        futures: list[asyncio.Future[list[Any]] | None],
        found: list[Any],
        deadline: float,
    ) -> list[SlotCommands]:
        """Puts the replies that come into their places; gives what has to be asked elsewhere."""
        again: list[SlotCommands] = []
        for part, future in zip(parts, futures, strict=True):
            try:
                replies = None if future is None else await future
            except NodeError:
                replies = None
            if replies is None:
                self._look_wanted.set()
                again += part.elsewhere()
            else:
                for refused, error in taken(part, replies, found):
                    again += await self._redirected(refused, error, deadline)
        return again

    def _sent(self, part: SlotCommands, now: float, deadline: float) -> asyncio.Future[list[Any]] | None:
        """The replies to come; None if the node cannot be asked."""
        try:
            return part.nodes[0].ask_all(part.sent(), time_of_first(part.nodes, now, deadline))
        except NodeError:
            return None

    async def _redirected(self, part: SlotCommands, error: NodeError, deadline: float) -> list[SlotCommands]:
        """Where a command that was refused has to be sent."""
        kind, *rest = str(error).split()
        asked = part.nodes[0].address
        match kind:
            case "MOVED":
                node = await self._node_at(parse_place(rest[1], (asked.host, asked.port)), deadline)
                shard = self._shards[int(rest[0])] = _Shard(node)
                self._owners.move(int(rest[0]), shard)
                self._look_wanted.set()
                return [replace(part, nodes=(node,), asking=False)]
            case "ASK":
                node = await self._node_at(parse_place(rest[1], (asked.host, asked.port)), deadline)
                return [replace(one_by_one(part), nodes=(node,), asking=True)]
            case "TRYAGAIN":
                await asyncio.sleep(0)
                return [one_by_one(part)]
            case "LOADING" | "CLUSTERDOWN" | "MASTERDOWN":
                self._look_wanted.set()
                return part.elsewhere()
        return []

    async def _node_at(self, place: Place, deadline: float) -> RedisNode:
        """The node at a place; a new one gets until a deadline to be connected to."""
        node = self._nodes.get(place)
        if node is None:
            node = self._nodes[place] = self._new_node(place)
        with suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                await node.tried.wait()
        return node

    def _new_node(self, place: Place) -> RedisNode:
        host, port = place
        node = RedisNode(
            replace(self._seeds[0], host=host, port=port),
            deadline=self._deadline,
            most_waiting=self._most_waiting,
            on_loss=self._look_wanted.set,
        )
        node.start()
        return node

    async def _keep_looking(self) -> None:
        least = _LEAST_PAUSE
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout((_LOOK_SECONDS if self.is_up else least) * random.uniform(0.5, 1.5)):
                    await self._look_wanted.wait()
            await asyncio.sleep(least * random.uniform(0.5, 1.5))
            self._look_wanted.clear()
            try:
                await self._look()
            except Exception as error:
                _log.warning("the topology of a Redis Cluster is not understood: %r", error)
            least = _LEAST_PAUSE if self.is_up else min(2 * least, _LONGEST_PAUSE)

    async def _look(self) -> None:
        """Takes over which node has which slots now."""
        nodes = [node for node in self._nodes.values() if node.is_up]
        if not nodes:
            seeds = [(seed.host, seed.port) for seed in self._seeds]
            until = self._loop.time() + GIVE_UP_SECONDS
            nodes = [await self._node_at(place, until) for place in seeds]
        random.shuffle(nodes)
        found: list[SlotRange] = []
        for node in nodes[:_MOST_ASKED]:
            with suppress(NodeError):
                info, slots = await node.ask_all(
                    [("CLUSTER", "INFO"), ("CLUSTER", "SLOTS")], self._loop.time() + self._deadline
                )
                if isinstance(slots, list) and slots:
                    found = parse_slots(slots, (node.address.host, node.address.port))
                    if isinstance(info, bytes) and b"cluster_state:ok" in info:
                        break
        if found:
            await self._adopt(found)

    async def _adopt(self, ranges: Sequence[SlotRange]) -> None:
        """Connects to the nodes, then sends requests to them, then leaves those that are none any more."""
        until = self._loop.time() + GIVE_UP_SECONDS
        reads_replicas = self._replicas != "never"
        wanted = {each.primary for each in ranges}
        if reads_replicas:
            wanted |= {place for each in ranges for place in each.replicas}
        await asyncio.gather(*(self._node_at(place, until) for place in wanted))
        shards: list[_Shard | None] = [None] * SLOTS
        known: dict[tuple[Place, tuple[Place, ...]], _Shard] = {}
        for first, last, primary, replicas in ranges:
            followers = tuple(self._nodes[place] for place in replicas) if reads_replicas else ()
            shard = known.setdefault((primary, replicas), _Shard(self._nodes[primary], followers))
            shards[first : last + 1] = [shard] * (last + 1 - first)
        self._shards, self._missing = shards, shards.count(None)
        self._owners.adopt(shards)
        self._primaries = [self._nodes[place] for place in {each.primary for each in ranges}]
        for place in self._nodes.keys() - wanted:
            task = asyncio.create_task(self._leave(self._nodes.pop(place)))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _leave(self, node: RedisNode) -> None:
        await asyncio.sleep(self._deadline)  # for what it was asked already
        await node.close()
