"""A driver of the cluster: a process of its own, since a process has one Spark and that of the other tests is local."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException

from feature_store.offline.catalog import open_catalog
from feature_store.offline.session import spark_session
from feature_store.settings import Settings
from tests.integration.offline_setting import Shop

T = TypeVar("T")

_HELD = ExitStack()
_SHOPS: list[Shop] = []


class Driver:
    """Runs functions one after the other in the driver's process."""

    def __init__(self, environment: Mapping[str, str], events: Path) -> None:
        self._pool = ProcessPoolExecutor(1, get_context("spawn"), _start, (dict(environment), events))

    def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """The result of a function whose first argument is a shop of the cluster's session."""
        return self.begin(function, *arguments).result()

    def begin(self, function: Callable[..., T], *arguments: Any) -> Future[T]:
        """The same, without waiting for it."""
        return self._pool.submit(_call, function, arguments)

    def end(self) -> None:
        self._pool.submit(_end).result()
        self._pool.shutdown()


def _start(environment: dict[str, str], events: Path) -> None:
    os.environ.update(environment)
    settings = Settings.load()
    session = _HELD.enter_context(spark_session(settings, "tests of a cluster"))
    _SHOPS.append(Shop(session, settings, open_catalog(settings), events))


def _call(function: Callable[..., T], arguments: tuple[Any, ...]) -> T:
    try:
        return function(_SHOPS[0], *arguments)
    except (Py4JError, PySparkException) as error:  # it cannot be sent to another process
        raise RuntimeError(str(error)) from None
    except Exception as error:
        error.__cause__ = error.__context__ = None
        raise


def _end() -> None:
    _HELD.close()
