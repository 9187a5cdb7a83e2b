"""Calls of the guard for many rows: so many of them at once as one call takes, on one node or on every primary.

In a cluster a call has rows of many slots of one node. It reads in which slots sets of vectors are registered
(cluster_sets.py), and gives back rows whose slot is being moved. These, and those of calls that were refused, are sent
again in calls of one slot each, which Redis redirects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

from feature_store.online.calls import Call, NodeCalls, call, call_all
from feature_store.online.connection import cluster_of
from feature_store.online.keys import VECTOR_SETS_KEY
from feature_store.online.shards import slot_texts

if TYPE_CHECKING:
    from redis import Redis
    from redis.cluster import RedisCluster

ROWS_PER_CALL = 500
Arguments = Callable[[Sequence[int]], Sequence[bytes | str]]
"""The arguments of rows at some positions."""
_CALLS_UNDER_WAY = 4
"""Calls of a node whose answers may wait while the next ones are made."""
_ATTEMPTS = 2


def registrations_key(slot: int) -> str:
    """The key, in a slot of a cluster, of the sets of vectors that are registered there."""
    return f"{VECTOR_SETS_KEY}:{{{slot_texts()[slot]}}}"


def call_rows(
    redis: Redis,
    function: str,
    keys: Sequence[str],
    fixed: Sequence[bytes | str],
    arguments: Arguments,
    group: str = "",
) -> Iterator[tuple[Sequence[int], Any]]:
    """Calls a function for rows; gives the positions of the rows of each call, and its answer.

    Args:
        fixed: three arguments of every call.
        group: the id of the group whose rows these are. While a slot is being moved, they are written where each is, as
            long as no set of vectors has the group; what else is called waits.

    Raises:
        StackError, RedisError: as `call`.
    """
    cluster = cluster_of(redis)
    if cluster is None:
        for start in range(0, len(keys), ROWS_PER_CALL):
            rows = range(start, min(start + ROWS_PER_CALL, len(keys)))
            wanted = Call(function, [*keys[start : rows.stop], VECTOR_SETS_KEY], [*fixed, "1", *arguments(rows)])
            yield rows, call(redis, wanted)
        return
    yield from _ClusterRows(cluster, function, keys, fixed, arguments, group).answers()


class _ClusterRows:
    """Rows that are sent to a cluster."""

    def __init__(
        self,
        cluster: RedisCluster,
        function: str,
        keys: Sequence[str],
        fixed: Sequence[bytes | str],
        arguments: Arguments,
        group: str,
    ) -> None:
        from redis.crc import key_slot

        self._cluster, self._function = cluster, function
        self._keys, self._fixed, self._arguments, self._group = keys, fixed, arguments, group.encode()
        self._slots = [key_slot(key.encode()) for key in keys]

    def answers(self) -> Iterator[tuple[Sequence[int], Any]]:
        from redis.exceptions import RedisClusterException, RedisError

        waiting: Sequence[int] = sorted(range(len(self._keys)), key=self._slots.__getitem__)
        for attempt in range(_ATTEMPTS):
            if attempt and waiting:
                with suppress(RedisError, RedisClusterException):  # calls of one slot say what is wrong
                    self._cluster.nodes_manager.initialize()
            left: list[int] = []
            for rows, answer in self._of_nodes(waiting, left):
                left += [rows[place - 1] for place in answer[-1]]
                yield rows, answer
            waiting = left
        by_slot: dict[int, list[int]] = {}
        for row in waiting:
            by_slot.setdefault(self._slots[row], []).append(row)
        parts = [of[i : i + ROWS_PER_CALL] for of in by_slot.values() for i in range(0, len(of), ROWS_PER_CALL)]
        yield from zip(parts, call_all(self._cluster, map(self._of_slot, parts)), strict=True)  # type: ignore[arg-type]

    def _of_nodes(self, rows: Sequence[int], left: list[int]) -> Iterator[tuple[Sequence[int], Any]]:
        """Calls of as many rows as fit, all nodes at once; notes the rows of those that are not answered."""
        from redis.exceptions import RedisError

        by_node: dict[str, list[int]] = {}
        owners = self._cluster.nodes_manager.slots_cache
        for row in rows:
            of_slot = owners.get(self._slots[row])
            if of_slot:
                by_node.setdefault(of_slot[0].name, []).append(row)
            else:
                left.append(row)
        with ExitStack() as stack:
            under_way: dict[NodeCalls, list[tuple[list[int], Call]]] = {}
            for name, of_node in by_node.items():
                parts = [of_node[i : i + ROWS_PER_CALL] for i in range(0, len(of_node), ROWS_PER_CALL)]
                try:
                    under_way[NodeCalls(self._cluster, name, stack)] = [(part, self._of_node(part)) for part in parts]
                except RedisError:
                    left += of_node
            most = max(map(len, under_way.values()), default=0)
            for step in range(most + _CALLS_UNDER_WAY):
                for node, calls in under_way.items():
                    if step < len(calls):
                        node.send([calls[step][1]])
                    if 0 <= (oldest := step - _CALLS_UNDER_WAY) < len(calls):
                        part, wanted = calls[oldest]
                        try:
                            yield part, node.answer(wanted)
                        except RedisError:
                            left += part

    def _of_node(self, rows: Sequence[int]) -> Call:
        places, last = [], -1
        for row in rows:
            slot = self._slots[row]
            places.append("" if slot == last else registrations_key(slot))
            last = slot
        keys = [self._keys[row] for row in rows]
        given = [*self._fixed, str(len(rows)), *keys, *places, *self._arguments(rows)]
        return Call(f"{self._function}_many", (), given)

    def _of_slot(self, rows: Sequence[int]) -> Call:
        place = registrations_key(self._slots[rows[0]])
        keys = [self._keys[row] for row in rows]

        def meanwhile() -> Call | None:
            return None if self._has_sets(place) else call_at(f"?{place}")

        def call_at(place: str) -> Call:
            return Call(self._function, keys, [*self._fixed, place, *self._arguments(rows)], meanwhile)

        return call_at(place)

    def _has_sets(self, place: str) -> bool:
        """Whether sets that have the group are registered, or may be; none is while the slot is being moved."""
        from redis.exceptions import RedisClusterException, RedisError

        try:
            lines: Any = self._cluster.get(place) or b""
        except (RedisError, RedisClusterException):
            return True
        return not self._group or any(self._group in line.split()[2:] for line in lines.splitlines())
