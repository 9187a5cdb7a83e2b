"""Deaths of a process at a chosen effect: a command to Redis, or a commit to the Iceberg catalog."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pyiceberg.catalog import Catalog
from redis import Redis

READING = frozenset(
    ["GET", "MGET", "GETRANGE", "HGETALL", "HGET", "HMGET", "HLEN", "EXISTS", "TTL", "PTTL", "SCAN", "PING", "INFO"]
)
"""Commands that change nothing."""


class ProcessDeath(BaseException):
    """The process ended here. No `except Exception` sees it, as none would see a real death."""


class Effects:
    """Counts the effects of a process and ends it before one of them; a dead process has no further effect.

    Args:
        survived: how many effects happen before the death; None for a process that lives.
    """

    def __init__(self, survived: int | None = None) -> None:
        self.survived = survived
        self.count = 0

    @property
    def dead(self) -> bool:
        """Whether the death has come."""
        return self.survived is not None and self.count > self.survived

    def guarded(self, effect: Callable[..., Any], is_effect: Callable[..., bool]) -> Callable[..., Any]:
        """The same call, which ends the process where its death is due."""

        def call(*args: Any, **kwargs: Any) -> Any:
            if is_effect(*args):
                self.count += 1
                if self.dead:
                    raise ProcessDeath
            return effect(*args, **kwargs)

        return call


@contextmanager
def dying_after(effects: Effects, catalog: Catalog, redis: Redis) -> Iterator[None]:
    """Runs the block as a process with these effects, and swallows its death."""
    patched: list[tuple[Any, str]] = []

    def patch(target: Any, name: str, is_effect: Callable[..., bool]) -> None:
        setattr(target, name, effects.guarded(getattr(target, name), is_effect))
        patched.append((target, name))

    def pipeline(*args: Any, **kwargs: Any) -> Any:
        made = type(redis).pipeline(redis, *args, **kwargs)
        made.execute = effects.guarded(made.execute, lambda *_: True)
        return made

    patch(catalog, "commit_table", lambda *_: True)
    patch(redis, "execute_command", lambda command, *_: str(command).upper() not in READING)
    redis.pipeline = pipeline  # type: ignore[method-assign]
    patched.append((redis, "pipeline"))
    try:
        yield
    except ProcessDeath:
        assert effects.dead
    finally:
        for target, name in patched:
            delattr(target, name)
