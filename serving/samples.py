"""A sample of the rows that were answered, kept off the path of requests and written to Redis now and then.

Of each view every row of a window has the same chance (reservoir sampling, Vitter 1985, algorithm R): one row of each
request is a candidate. Where little is asked all of them are kept, where much is asked the cost is a random number.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time

from feature_store.online.read.connection import NodeError
from feature_store.online.read.store import OnlineStore
from feature_store.online.samples import (
    KEEP_SECONDS,
    MOST_BATCHES,
    ServedRow,
    encode_batch,
    samples_key,
    served_batch,
    served_row,
)
from feature_store.online.vectors import OnlineVectors
from feature_store.plan.schema import ViewSchema
from serving.definitions import ServedView

ROWS = 200
"""Of a view in one batch."""
LOOK_SECONDS = 1.0
FULL_SECONDS, LONGEST_SECONDS = 5.0, 60.0
"""How long a window is at least, and how long at most if it does not fill."""

_log = logging.getLogger(__name__)


class _Window:
    """The sample of one view since its last batch."""

    def __init__(self, view: ViewSchema) -> None:
        self.view = view
        self.began = time.monotonic()
        self.candidates = 0
        self.rows: list[ServedRow] = []

    def is_due(self, now: float) -> bool:
        return now - self.began >= (FULL_SECONDS if len(self.rows) == ROWS else LONGEST_SECONDS)


class ServedSamples:
    """The samples of one server process."""

    def __init__(self, store: OnlineStore) -> None:
        self._store = store
        self._windows: dict[tuple[str, str], _Window] = {}

    def note(self, served: ServedView, vectors: OnlineVectors, model: str) -> None:
        """Takes one row of an answer into account."""
        place = self.place(served)
        if place is not None:
            self.put(served, place, vectors, model)

    def place(self, served: ServedView) -> int | None:
        """The place in the sample that a row of an answer gets; None if it gets none. Is asked once for each answer."""
        window = self._windows.get((served.kind, served.id))
        if window is None or window.view is not served.view:  # the rows of another definition are dropped
            window = self._windows[served.kind, served.id] = _Window(served.view)
        window.candidates += 1
        if len(window.rows) < ROWS:
            return len(window.rows)
        place = int(random.random() * window.candidates)
        return place if place < ROWS else None

    def put(self, served: ServedView, place: int, vectors: OnlineVectors, model: str) -> None:
        """Puts a row of an answer into its place."""
        rows = self._windows[served.kind, served.id].rows
        rows[place : place + 1] = [served_row(vectors, int(random.random() * len(vectors)), model)]

    async def run(self) -> None:
        """Writes batches, again and again, until it is cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            now = time.monotonic()
            await self._write([key for key, window in self._windows.items() if window.is_due(now)])

    async def flush(self) -> None:
        """Writes what there is."""
        await self._write([*self._windows])

    async def _write(self, due: list[tuple[str, str]]) -> None:
        for kind, name in due:
            window = self._windows.pop((kind, name))
            key, batch = samples_key(kind, name), encode_batch(served_batch(window.view, window.rows))
            try:
                await self._store.command("LPUSH", key, batch)
                await self._store.command("LTRIM", key, 0, MOST_BATCHES - 1)
                await self._store.command("EXPIRE", key, KEEP_SECONDS)
            except NodeError as error:
                _log.warning("a sample of reads of %s is lost: %s", name, error)
