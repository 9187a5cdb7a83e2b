"""Sources: where events and snapshots are read from."""

from __future__ import annotations

from pydantic.dataclasses import dataclass

from feature_store.dsl.definition import STRICT, Definition
from feature_store.dtypes import DTypeField


@dataclass(frozen=True, eq=False, config=STRICT)
class BatchSource(Definition):
    """Rows with an event time, read from exactly one of an Iceberg table, files or a Postgres table.

    Args:
        name: snake_case name; queries refer to the source by it.
        event_timestamp: column of the instant at which a row became true.
        schema: the columns that are read and their types; others are ignored.
        table: Iceberg table "namespace.table" of the store's catalog.
        path: folder or glob of Parquet or CSV files (by their ending); relative to the store's data root.
        jdbc: Postgres table "database.schema.table" on the store's server.
        event_id: column that identifies an event; of rows with one id, one counts.
    """

    name: str
    event_timestamp: str
    schema: dict[str, DTypeField]
    table: str | None = None
    path: str | None = None
    jdbc: str | None = None
    event_id: str | None = None
    description: str = ""

    def _check(self) -> None:
        given = [kind for kind in ("table", "path", "jdbc") if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of table=, path= or jdbc=, not {', '.join(given) or 'none of them'}")
        for kind, parts in (("table", 2), ("jdbc", 3)):
            value = getattr(self, kind)
            if value is not None and len(value.split(".")) != parts:
                shape = "namespace.table" if kind == "table" else "database.schema.table"
                raise ValueError(f"{kind}={value!r} is not of the form {shape!r}")

    @property
    def location(self) -> str:
        """Where the rows are, for people: "table raw.orders"."""
        return next(f"{kind} {getattr(self, kind)}" for kind in ("table", "path", "jdbc") if getattr(self, kind))
