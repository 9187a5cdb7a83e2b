"""The connection to Redis: with its fast parser or not at all, and with errors that say what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

from feature_store.errors import StackError
from feature_store.plan.schema import GroupSchema

if TYPE_CHECKING:
    from redis import Redis
    from redis.cluster import RedisCluster

TIMEOUT = 10.0
"""Seconds after which a silent Redis counts as down."""


def connect(redis_url: str) -> Redis:
    """A client for this package's writers and readers: of the node at the address, or of the cluster it belongs to.

    A cluster's client has the same commands on one key; `cluster_of` tells it from a node's.

    Args:
        redis_url: of a node; of several nodes of a cluster: redis://host:port,host:port.

    Raises:
        StackError: if the URL is not one of Redis, no Redis answers, or redis-py would run with its slow Python parser.
    """
    from redis.utils import HIREDIS_AVAILABLE

    if not HIREDIS_AVAILABLE:  # redis-py would fall back without a word, at a seventh of the speed
        raise StackError(
            "hiredis >= 3.2 is missing",
            remedy="run ./fs up, which installs the locked requirements",
            code="missing-package",
        )
    *others, last = node_urls(redis_url)
    for url in others:
        with suppress(StackError):
            return _client(url)
    return _client(last)


class OnlineClients:
    """Clients of online stores by their names; each connects on first use.

    Args:
        url_of: gives the URL of a name; the empty one is that of the default store.
    """

    def __init__(self, url_of: Callable[[str], str]) -> None:
        self._url_of = url_of
        self._known: dict[str, Redis] = {}

    @classmethod
    def of_one(cls, redis: str | Redis) -> OnlineClients:
        """The default store alone: its URL or its client."""

        def url_of(name: str) -> str:
            if name or not isinstance(redis, str):
                raise StackError(f"no online store has the name {name!r}", code="unknown-online-store")
            return redis

        clients = cls(url_of)
        if not isinstance(redis, str):
            clients._known[""] = redis
        return clients

    def of(self, name: str) -> Redis:
        """The client of a store.

        Raises:
            StackError: if no store has this name, or as `connect`.
        """
        if name not in self._known:
            self._known[name] = connect(self._url_of(name))
        return self._known[name]

    def close(self) -> None:
        """Ends the connections."""
        for client in self._known.values():
            client.close()


def cluster_of(redis: Redis) -> RedisCluster | None:
    """The same client, if it is one of a cluster."""
    from redis.cluster import RedisCluster

    return redis if isinstance(redis, RedisCluster) else None


def _client(url: str) -> Redis:
    from redis import Redis
    from redis.cluster import RedisCluster

    try:
        redis = Redis.from_url(url, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT)
    except ValueError as error:
        raise address_error(error) from None
    with redis_errors(redis):
        if redis.info("cluster").get("cluster_enabled") != 1:
            return redis
        redis.close()
        options = {"socket_timeout": TIMEOUT, "socket_connect_timeout": TIMEOUT, "require_full_coverage": False}
        return cast("Redis", RedisCluster.from_url(url, **options))


def node_urls(redis_url: str) -> list[str]:
    """One URL for each node that a URL names: redis://host:port,host:port names several nodes of a cluster."""
    parts = urlsplit(redis_url)
    user, at, hosts = parts.netloc.rpartition("@")
    return [parts._replace(netloc=f"{user}{at}{host}").geturl() for host in hosts.split(",")]


def unknown_store_error(group: GroupSchema) -> StackError:
    """What is said of a group in an online store that this process has no address of."""
    return StackError(
        f"no online store has the name {group.online_store!r}",
        where=f"group {group.id}",
        remedy=f"add {group.online_store}=redis://host:port to FS_ONLINE_STORES and start this process again",
        code="unknown-online-store",
    )


def address_error(error: Exception) -> StackError:
    """What is said of a URL that is not one of Redis."""
    return StackError(
        f"not a Redis URL: {error}",
        where="FS_REDIS_URL",
        remedy="set it to redis://host:port/0",
        code="redis-address",
    )


@contextmanager
def redis_errors(redis: Redis) -> Iterator[None]:
    """Turns redis-py's errors into ones that name the server and the remedy.

    Raises:
        StackError: if Redis does not answer or refuses a command.
    """
    from redis import exceptions

    try:
        yield
    except (exceptions.ConnectionError, exceptions.TimeoutError, exceptions.RedisClusterException) as error:
        raise StackError(
            f"Redis does not answer: {error}",
            where=_address(redis),
            remedy="run ./fs status, then ./fs up; or set FS_REDIS_URL to a running Redis",
            code="redis-down",
        ) from error
    except exceptions.RedisError as error:
        raise StackError(
            f"Redis refused a command: {error}",
            where=_address(redis),
            remedy="look at its log with ./fs logs; Redis 7 or Valkey 7.2 is needed, writable and below maxmemory",
            code="redis-refused",
        ) from error


def _address(redis: Redis) -> str:
    """Host and port, or socket path; never the password."""
    pool = getattr(redis, "connection_pool", None)
    if pool is None:
        return "Redis Cluster"
    settings = pool.connection_kwargs
    return str(settings.get("path") or f"{settings.get('host', 'redis')}:{settings.get('port', '')}")
