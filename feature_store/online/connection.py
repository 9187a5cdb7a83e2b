"""The connection to Redis: with its fast parser or not at all, and with errors that say what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

from feature_store.errors import StackError

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
