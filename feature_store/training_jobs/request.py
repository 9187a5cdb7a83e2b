"""What is asked for when a training dataset is: plain values, which the registry keeps and any worker can take up."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, get_args

import msgspec

from feature_store.pit.semantics import KnownBy
from feature_store.registry.records import Kind

Engine = Literal["local", "dagster"]
"""Who works: the process that asks, or a run of Dagster."""
ENGINES: tuple[Engine, ...] = get_args(Engine)


class _Labels(msgspec.Struct, frozen=True, tag_field="kind", forbid_unknown_fields=True):
    """Where label rows are."""


class FileLabels(_Labels, frozen=True, tag="files"):
    """Parquet or CSV files.

    Attributes:
        path: a path or glob.
        types: of columns of CSV files that the view does not know, such as "FLOAT".
    """

    path: str
    types: dict[str, str] = {}


class TableLabels(_Labels, frozen=True, tag="table"):
    """An Iceberg table of the store's catalog, "namespace.table"."""

    table: str


class PostgresLabels(_Labels, frozen=True, tag="postgres"):
    """A table of the store's PostgreSQL server, "database.schema.table"."""

    table: str


class QueryLabels(_Labels, frozen=True, tag="query"):
    """A SELECT of DuckDB's SQL over other labels, by the names that the query has for them."""

    sql: str
    tables: dict[str, FileLabels | TableLabels | PostgresLabels]


class SpanLabels(_Labels, frozen=True, tag="span"):
    """No labels: one for each entity and instant of [start, end) at which a row becomes available."""

    start: datetime
    end: datetime


class StagedLabels(_Labels, frozen=True, tag="staged"):
    """Rows that were given with the request, as a Parquet file in the warehouse.

    Attributes:
        hash: of their content.
    """

    location: str
    hash: str


class GivenLabels(_Labels, frozen=True, tag="given"):
    """Rows in the memory of the process that asked, which works itself; `hash` is None where they are read once."""

    hash: str | None


class DatasetLabels(_Labels, frozen=True, tag="dataset"):
    """The labels of the dataset that is to be made again; `hash` is that of their content."""

    hash: str


LabelReference = FileLabels | TableLabels | PostgresLabels | QueryLabels | SpanLabels
"""What anybody may ask for, from anywhere."""
Labels = LabelReference | StagedLabels | GivenLabels | DatasetLabels


class Asker(msgspec.Struct, frozen=True):
    """Who asks: a token of this id and name."""

    id: int
    name: str


class TrainingRequest(msgspec.Struct, frozen=True):
    """A training dataset that is asked for.

    Attributes:
        view: "name@version" of a view, or of a group by itself, as `kind` says.
        name: what to call the dataset.
        snapshots: the snapshot of each group's table that is to be read, by group id; None: nothing was written yet.
        masked: features that whoever asks must not see: they are NULL on all rows.
        asked_by: for people.
        token: None if no token was needed.
        like: the URL of a dataset that is to be made again; empty: of none.
    """

    view: str
    name: str
    labels: Labels
    snapshots: dict[str, int | None]
    kind: Kind = "view"
    model: str = ""
    known_by: KnownBy = None
    engine: Engine = "local"
    masked: tuple[str, ...] = ()
    asked_by: str = ""
    token: Asker | None = None
    like: str = ""

    def to_json(self) -> dict[str, Any]:
        """As the registry keeps it."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> TrainingRequest:
        """What `to_json` has written."""
        return msgspec.convert(plain, cls)

    def fingerprint(self, definition: str, labels: str | None) -> str | None:
        """Equal for requests that make the same dataset, whoever asks and whoever works; None if that is not known.

        Args:
            definition: of the view and its groups, as they are recorded.
            labels: what the labels are at the moment; None if that is not known without reading them.
        """
        if labels is None:
            return None
        said = [
            (self.kind, self.view, definition, labels, self.name, self.model, self.known_by, self.like),
            sorted(self.snapshots.items()),
            sorted(self.masked),
        ]
        return hashlib.sha256(msgspec.json.encode(said)).hexdigest()
