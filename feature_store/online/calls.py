"""Calls of the guard: functions that run inside Redis, on one node or on every primary of a cluster.

In a cluster all keys of a call are of one slot, so there are many small calls: those of one node are sent together, and
all nodes work at once. A call may be repeated, as the guard refuses nothing that it has written before. So what a node
does not answer, or refuses because the slot is elsewhere, is tried again: a failover, a slot that moves and a new node
without the functions cost time only.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from functools import cache
from importlib.resources import files
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import hiredis

from feature_store.errors import StackError
from feature_store.online.connection import cluster_of

if TYPE_CHECKING:
    from redis import Redis
    from redis.cluster import RedisCluster
    from redis.exceptions import AskError

PATIENCE_SECONDS = 20.0
"""How long a cluster may refuse or not answer: a failover takes its node timeout and a second."""
_CALLS_AT_ONCE = 5_000
_LOAD_ATTEMPTS = 5
_SOURCES = ("guard", "vectors", "functions", "registrations")
"""One library, in this order."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0


class Call(NamedTuple):
    """One call of a function of the library.

    Attributes:
        meanwhile: gives what may be called instead while the slot of the keys is being moved; None: nothing.
    """

    function: str
    keys: Sequence[str]
    arguments: Sequence[bytes | str]
    meanwhile: Callable[[], Call | None] = lambda: None

    @property
    def command(self) -> tuple[Any, ...]:
        name = f"feature_store_{self.function}_{_library()[1]}"
        return ("FCALL", name, len(self.keys), *self.keys, *self.arguments)


def call_all(redis: Redis, calls: Iterable[Call]) -> Iterator[Any]:
    """The answers to calls, in their order.

    Raises:
        StackError, RedisError: as `call`.
    """
    cluster = cluster_of(redis)
    if cluster is None:
        yield from (call(redis, each) for each in calls)
        return
    rest = iter(calls)
    while some := [*islice(rest, _CALLS_AT_ONCE)]:
        yield from _answers(cluster, some)


def call(redis: Redis, wanted: Call) -> Any:
    """The answer to a call. The library is loaded if it is not there: Redis is new, emptied, or of another version.

    The library's name is fixed, so an upgrade replaces the old one. While two versions of this package run side by
    side they replace each other's library and each loads its own again.

    Raises:
        StackError: if somebody else replaces the library again and again.
        RedisError: if Redis does not answer, or refuses the call.
    """
    from redis.exceptions import ResponseError

    cluster = cluster_of(redis)
    if cluster is not None:
        return _answers(cluster, [wanted])[0]
    for _ in range(_LOAD_ATTEMPTS):
        try:
            return redis.fcall(*wanted.command[1:])
        except ResponseError as error:
            if not _is_missing(error):
                raise
            redis.function_load(_library()[0], replace=True)
    raise _replaced()


@cache
def _library() -> tuple[str, str]:
    """Source of the Redis Functions and the version in their names, so that a changed source is never mistaken."""
    folder = files("feature_store.online")
    source = "".join(folder.joinpath(f"{name}.lua").read_text() for name in _SOURCES)
    version = hashlib.sha256(source.encode()).hexdigest()[:12]
    return source.replace("VERSION", version), version


def _is_missing(error: Exception) -> bool:
    return "Function not found" in str(error)


def _replaced() -> StackError:
    return StackError(
        "another client keeps replacing the Redis Function library 'feature_store_online'",
        remedy="run one version of the feature store against this Redis",
        code="redis-function",
    )


def _answers(cluster: RedisCluster, calls: Sequence[Call]) -> list[Any]:
    """The answers of a cluster to some calls."""
    from redis.exceptions import RedisClusterException, RedisError, TryAgainError

    calls = [*calls]
    answers: list[Any] = [None] * len(calls)
    waiting: Sequence[int] = range(len(calls))
    loads, pause, give_up = 0, _FIRST_PAUSE, time.monotonic() + PATIENCE_SECONDS
    while True:
        refused = _refused(cluster, calls, waiting, answers)
        if not refused:
            return answers
        for place, error in refused.items():
            if not _is_passing(error) or time.monotonic() > give_up:
                raise error
            if isinstance(error, TryAgainError):
                calls[place] = calls[place].meanwhile() or calls[place]
        if len(refused) < len(waiting):  # it goes on
            pause, give_up = _FIRST_PAUSE, time.monotonic() + PATIENCE_SECONDS
        waiting = [*refused]
        if any(map(_is_missing, refused.values())):
            loads += 1
            if loads > _LOAD_ATTEMPTS:
                raise _replaced()
            continue
        time.sleep(pause * random.uniform(0.5, 1.5))
        pause = min(2 * pause, _LONGEST_PAUSE)
        with suppress(RedisError, RedisClusterException):  # the next attempt says what is wrong
            cluster.nodes_manager.initialize()


def _is_passing(error: Exception) -> bool:
    """Whether the cluster may answer later, or another node does."""
    from redis import exceptions

    passing = (
        exceptions.ConnectionError,
        exceptions.TimeoutError,
        exceptions.RedisClusterException,
        exceptions.AskError,
        exceptions.TryAgainError,
        exceptions.ClusterDownError,
        exceptions.ReadOnlyError,
    )
    return isinstance(error, passing) or _is_missing(error)


def _refused(
    cluster: RedisCluster, calls: Sequence[Call], places: Sequence[int], answers: list[Any]
) -> dict[int, Exception]:
    """Puts the answers to the calls at some places where they belong; gives why there are none to the others."""
    from redis.exceptions import RedisClusterException, RedisError

    refused: dict[int, Exception] = {}
    by_node: dict[str, list[int]] = {}
    for place in places:
        try:
            node = cluster.get_node_from_key(calls[place].keys[0])  # type: ignore[no-untyped-call]
            by_node.setdefault(node.name, []).append(place)
        except RedisClusterException as error:  # nobody has the slot
            refused[place] = error
    with ExitStack() as stack:
        asked = []
        for name, of_node in by_node.items():
            try:
                node = NodeCalls(cluster, name, stack)
                node.send([calls[place] for place in of_node])
                asked.append((node, of_node))
            except RedisError as error:
                refused |= dict.fromkeys(of_node, error)
        for node, of_node in asked:
            for place in of_node:
                try:
                    answers[place] = node.answer(calls[place])
                except RedisError as error:
                    refused[place] = error
    return refused


class NodeCalls:
    """Calls that are sent to one node of a cluster, and answered in their order.

    Args:
        stack: gives the connection back.
    """

    def __init__(self, cluster: Any, name: str, stack: ExitStack) -> None:
        self._cluster = cluster
        self._client = cluster.get_redis_connection(cluster.get_node(node_name=name))
        self._connection: Any = self._client.connection_pool.get_connection()
        stack.callback(self._release)
        self._waiting = 0
        self._failure: Exception | None = None
        self._has_library = False

    def send(self, calls: Sequence[Call]) -> None:
        """Sends calls; if that fails, `answer` says why."""
        from redis.exceptions import RedisError

        if self._failure is not None:
            return
        self._waiting += len(calls)
        try:
            self._connection.send_packed_command([b"".join(hiredis.pack_command(each.command) for each in calls)])
        except RedisError as error:
            self._failure = error

    def answer(self, wanted: Call) -> Any:
        """The answer to the next call that was sent."""
        from redis.exceptions import AskError, MovedError, ResponseError

        if self._failure is not None:
            raise self._failure
        self._waiting -= 1
        try:
            return self._connection.read_response()
        except MovedError:
            raise
        except AskError as error:
            return self._answer_elsewhere(wanted, error)
        except ResponseError as error:
            if _is_missing(error) and not self._has_library:
                self._client.function_load(_library()[0], replace=True)
                self._has_library = True
            raise
        except Exception as error:  # the connection has failed, with all answers to come
            self._failure = error
            raise

    def _release(self) -> None:
        """Gives the connection back: not with answers under way, which would be taken for those to other commands."""
        if self._waiting or self._failure is not None:
            self._connection.disconnect()
        self._client.connection_pool.release(self._connection)

    def _answer_elsewhere(self, wanted: Call, asked: AskError) -> Any:
        """The answer of the node that the slot is on its way to."""
        from redis.exceptions import ResponseError, TryAgainError

        node = self._cluster.get_node(host=asked.host, port=asked.port)
        if node is None:
            raise TryAgainError(f"{asked.host}:{asked.port} is not known yet")
        client = self._cluster.get_redis_connection(node)
        connection: Any = client.connection_pool.get_connection()
        try:
            connection.send_packed_command([hiredis.pack_command(("ASKING",)), hiredis.pack_command(wanted.command)])
            connection.read_response()
            return connection.read_response()
        except ResponseError as error:
            if _is_missing(error):
                client.function_load(_library()[0], replace=True)
            raise
        except BaseException:  # an answer may be under way
            connection.disconnect()
            raise
        finally:
            client.connection_pool.release(connection)
