"""A short, bounded load on the running server: how many requests it answers, how quickly, and what it finds."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from feature_store.errors import FeatureStoreError, StackError
from feature_store.online.connection import OnlineClients, redis_errors
from feature_store.online.keys import tag_values
from feature_store.plan.schema import GroupSchema, ViewSchema
from feature_store.remote.client import AsyncFeatureStoreClient

if TYPE_CHECKING:
    from redis import Redis
    from rich.table import Table

SIZES = (1, 100)
"""Rows of a request."""
REQUESTS = 64
"""Different ones, in turn."""
ENTITIES = 1_000
"""Of a group that are looked up in Redis."""
_KEYS_LOOKED_AT = 200_000
_DEADLINE_SECONDS = 5.0

Rows = Sequence[Mapping[str, Any]]


@dataclass
class LoadFigures:
    """What became of the requests for one view, of one size.

    Attributes:
        seconds: how long was asked.
        latencies: of each answer, in seconds.
        failures: by the code of the error.
        statuses: of the rows of the first requests, over all groups.
    """

    view: str
    rows: int
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)

    def percentile(self, share: float) -> float:
        """The latency within which this share of the answers came, in milliseconds; NaN without an answer."""
        ordered = sorted(self.latencies)
        return ordered[int(share * len(ordered))] * 1e3 if ordered else float("nan")


Pools = Sequence[Sequence[dict[str, Any]]]
"""For each group whose keys a caller gives the key columns of some of its entities, as the view calls them."""


def entity_pools(clients: OnlineClients, view: ViewSchema) -> Pools:
    """Entities that Redis has.

    Raises:
        StackError: if Redis does not answer, or has no entity of a group.
    """
    return [_entities(clients.of(view.groups[place].group.online_store), view, place) for place in view.rounds[0]]


def requests_for(pools: Pools, view: ViewSchema, size: int) -> list[Rows]:
    """Requests for entities; of several entities the first stays the same in all rows of a request."""
    chance = random.Random(size)
    first = {column.name for column in view.groups[view.rounds[0][0]].keys}
    names = [column.name for column in view.keys]
    found: list[Rows] = []
    for _ in range(REQUESTS):
        rows = [_row(pools, chance) for _ in range(size)]
        if set(names) - first:
            rows = [row | {name: rows[0][name] for name in first} for row in rows]
        found.append(rows)
    return found


def _row(pools: Pools, chance: random.Random) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for pool in pools:
        row = chance.choice(pool) | row  # a column that several groups have is that of the first
    return row


def _entities(redis: Redis, view: ViewSchema, place: int) -> list[dict[str, Any]]:
    """Entities of a group, with their key columns as the view calls them."""
    viewed = view.groups[place]
    names = [column.name for column in viewed.keys]
    found = [dict(zip(names, values, strict=True)) for values in _stored_entities(redis, viewed.group)]
    if not found:
        raise StackError(
            f"Redis has no row of {viewed.group.id}",
            where=f"view {view.id}",
            remedy="materialize the group, in Dagster or by ./fs demo",
            code="nothing-to-read",
        )
    return found


def _stored_entities(redis: Redis, group: GroupSchema) -> Iterable[list[Any]]:
    prefix = f"{group.id}:"
    with redis_errors(redis):
        keys = islice(redis.scan_iter(match=f"{prefix}{{*", count=10_000), _KEYS_LOOKED_AT)
        for key in islice(keys, ENTITIES):
            yield tag_values(group.keys, key.decode()[len(prefix) :])


async def load(
    url: str, token: str | None, view: ViewSchema, requests: Sequence[Rows], *, seconds: float, callers: int
) -> LoadFigures:
    """Asks for a while, so many callers at once, each for the next answer when it has one.

    Args:
        requests: asked in turn; request values are NULL.
    """
    figures = LoadFigures(view.id, len(requests[0]))
    values = {column.name: None for column in view.request}
    async with AsyncFeatureStoreClient(url, token, deadline=_DEADLINE_SECONDS) as client:

        async def ask(number: int) -> None:
            while time.perf_counter() < end:
                rows, number = requests[number % len(requests)], number + callers
                began = time.perf_counter()
                try:
                    await client.online(view.id, rows, request=values)
                    figures.latencies.append(time.perf_counter() - began)
                except FeatureStoreError as error:
                    figures.failures[error.code] += 1

        for rows in requests[:4]:
            vectors = await client.online(view.id, rows, request=values)
            figures.statuses.update(status for part in vectors.groups for status in part.statuses)
        began = time.perf_counter()
        end = began + seconds
        await asyncio.gather(*(ask(number) for number in range(callers)))
        figures.seconds = time.perf_counter() - began
    return figures


def load_table(found: Iterable[LoadFigures], callers: int) -> Table:
    """The figures as a table."""
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in (f"{callers} callers", "rows", "requests/s", "p50", "p95", "p99", "failed", "found"):
        table.add_column(title, justify="left" if title.endswith("callers") else "right")
    for figures in found:
        present = figures.statuses["PRESENT"] + figures.statuses["DEFAULTED"]
        table.add_row(
            figures.view,
            str(figures.rows),
            f"{len(figures.latencies) / figures.seconds:,.0f}",
            *(f"{figures.percentile(share):.2f} ms" for share in (0.5, 0.95, 0.99)),
            " ".join(f"{code} {count}" for code, count in figures.failures.items()) or "0",
            f"{present / max(1, figures.statuses.total()):.0%}",
        )
    return table
