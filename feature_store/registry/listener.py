"""Hears of changes in the registry as they are committed, over a connection of its own."""

from __future__ import annotations

import select
from typing import Any, cast

from sqlalchemy import Connection, Engine

from feature_store.registry.access.audit import CHANNEL, Changed
from feature_store.registry.database import service_errors

EVERYTHING: frozenset[Changed] = frozenset(["access", "definitions", "usage"])


class ChangeListener:
    """Listens to one registry; used by one thread at a time."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: Connection | None = None

    def wait(self, seconds: float) -> frozenset[Changed]:
        """What was changed since the last call; nothing if nobody changes anything for so many seconds.

        After a new connection everything counts as changed: nobody knows what was told before.

        Raises:
            StackError: if the database does not answer.
        """
        with service_errors(self._engine):
            if self._connection is None:
                connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
                connection.exec_driver_sql(f"LISTEN {CHANNEL}")
                self._connection = connection
                return EVERYTHING
            try:
                driver: Any = self._connection.connection.driver_connection
                select.select([driver], [], [], seconds)
                self._connection.exec_driver_sql("SELECT 1")  # takes in what was told; fails if nobody is there
            except Exception:
                self._connection.invalidate()
                self._connection = None
                raise
        told = {notice.payload for notice in driver.notifies}
        driver.notifies.clear()
        return cast("frozenset[Changed]", frozenset(told))
