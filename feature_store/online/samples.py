"""A sample of what was served, to be compared with training: batches of rows in Redis, the newest batch first.

Values are as they are stored (`codec.StoredRow`), of every group of the view in its order. With the two timestamps of
the row that was read, its layout and the request values, an answer can be computed again exactly, whatever has been
written since.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from feature_store.online.codec import OLDEST, unpack_header
from feature_store.online.connection import redis_errors
from feature_store.online.vectors import OnlineVectors, Status
from feature_store.plan.schema import ViewSchema

if TYPE_CHECKING:
    from redis import Redis

MOST_BATCHES = 100
"""Of one view that are kept."""
KEEP_SECONDS = 7 * 24 * 3_600


class ServedRow(msgspec.Struct, array_like=True, frozen=True):
    """One row of an answer.

    Attributes:
        instant: of the request (microseconds).
        model: that asked; empty if it did not say.
        keys: the values of the view's key columns.
        statuses, timestamps: of each group; timestamps are the feature_timestamps (microseconds).
        values: of each group its features as they are stored, defaults filled in; None of a group: the defaults.
        on_demand: the on-demand features.
        layouts: of each group the layout number of the row that was read; None without a row.
        created: likewise its created_timestamp (microseconds); None also of values that have none.
        request: the request values.
    """

    instant: int
    model: str
    keys: list[Any]
    statuses: list[Status]
    timestamps: list[int | None]
    values: list[Any]
    on_demand: list[Any]
    layouts: list[int | None] = []
    created: list[int | None] = []
    request: list[Any] = []


class ServedBatch(msgspec.Struct, array_like=True, frozen=True):
    """Rows of one view, read with the same definition.

    Attributes:
        view: its identity, or that of a group.
        keys: the names of the key columns.
        groups: the groups, as the view calls them.
        features: the names of the features of each group.
        on_demand: the names of the on-demand features.
        request: the names of the request values.
    """

    view: str
    keys: list[str]
    groups: list[str]
    features: list[list[str]]
    on_demand: list[str]
    rows: list[ServedRow]
    request: list[str] = []


def served_row(vectors: OnlineVectors, place: int, model: str) -> ServedRow:
    """A row of an answer, by its place."""
    row = vectors.rows[place]
    statuses, timestamps, values, layouts, created = [], [], [], [], []
    for part in vectors.groups:
        entity = place if part.places is None else part.places[place]
        known = entity >= 0
        statuses.append(part.entities.statuses[entity] if known else Status.NOT_FOUND)
        timestamps.append(part.entities.timestamps[entity] if known else None)
        values.append(part.entities.rows[entity] if known else part.absent)
        layout, created_timestamp = None, OLDEST
        if timestamps[-1] is not None:
            layout, _, created_timestamp, _ = unpack_header(part.values[entity], "")  # it was read: no error
        layouts.append(layout)
        created.append(None if created_timestamp == OLDEST else created_timestamp)
    return ServedRow(
        vectors.instant,
        model,
        [row[key.name] for key in vectors.view.keys],
        statuses,
        timestamps,
        values,
        [column[place] for column in vectors.on_demand],
        layouts,
        created,
        [vectors.request[column.name][place] for column in vectors.view.request] if vectors.request else [],
    )


def served_batch(view: ViewSchema, rows: list[ServedRow]) -> ServedBatch:
    """Rows of answers of this view."""
    return ServedBatch(
        view.id,
        [key.name for key in view.keys],
        [viewed.id for viewed in view.groups],
        [[feature.name for feature in viewed.features] for viewed in view.groups],
        [column.name for column in view.on_demand],
        rows,
        [column.name for column in view.request],
    )


def samples_key(kind: str, view: str) -> str:
    """The key of the batches of a view, or of a group that was read by itself: "served:view:ranking@1"."""
    return f"served:{kind}:{view}"


encode_batch = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(ServedBatch).decode


def read_samples(redis: Redis, kind: str, view: str) -> Iterator[ServedBatch]:
    """The batches of a view ("view") or of a group ("group"), the newest first.

    Raises:
        StackError: if Redis does not answer.
    """
    with redis_errors(redis):
        batches: list[bytes] = redis.lrange(samples_key(kind, view), 0, -1)  # type: ignore[assignment]
    yield from map(_decode, batches)
