"""The loader of a simulated topic of updates: `streaming/loader.py` with a list in the place of Kafka."""

from __future__ import annotations

import json
from typing import Any

from feature_store.dtypes import TIMESTAMP, to_micros
from feature_store.streaming.loaded import LoadedPlaces
from feature_store.streaming.updates import UpdateWriter
from tests.simulation.group_store import GroupStore
from tests.simulation.oracle import StoredRow

PARTITION = 0


class UpdateLoader:
    """Loads the updates of one group; its place is in Redis."""

    def __init__(self, store: GroupStore, updates: list[StoredRow]) -> None:
        self._store = store
        self._updates = updates
        self._places = LoadedPlaces(store.services.redis, store.schema)

    @property
    def place(self) -> int | None:
        """The next update to read; None if Redis does not know."""
        return self._places.read([PARTITION]).get(PARTITION)

    def begin_at(self, place: int) -> None:
        """Notes from where on to read: after a refill, or by a loader that starts anew from an older place."""
        self._places.write({PARTITION: place})

    def load(self, updates: int) -> None:
        """Writes some updates to Redis and moves the place behind them."""
        place = self.place
        assert place is not None
        batch = self._updates[place : place + updates]
        if not batch:
            return
        with self._places.moving({PARTITION: place}, {PARTITION: place + len(batch)}):
            UpdateWriter(self._store.services.redis, self._store.schema).write([self._message(row) for row in batch])

    def _message(self, row: StoredRow) -> bytes:
        """An update as Flink's JSON format writes it."""
        types = {feature.name: feature.dtype for feature in self._store.schema.features}

        def plain(name: str, value: Any) -> Any:
            return to_micros(value) if types[name] == TIMESTAMP and value is not None else value

        features = {name: plain(name, value) for name, value in row.values.items()}
        key = self._store.schema.keys[0].name
        return json.dumps({key: row.key, "_feature": row.timestamp, "_created": row.created, **features}).encode()
