"""The raw tables of the demo shop, put where a real shop would keep them: Postgres, Iceberg and Parquet.

A load is all or nothing, as a commit is: the marker row in table `shop_load` goes first and comes back last, in one
transaction with `users` and `products`. Whatever an interrupted load left behind is replaced by the next one.
"""

from __future__ import annotations

import io
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import MonthTransform
from pyiceberg.types import DoubleType, LongType, NestedField, StringType, TimestamptzType
from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Connection,
    Date,
    DateTime,
    Double,
    MetaData,
    NullPool,
    Table,
    Text,
    create_engine,
    func,
    insert,
    inspect,
    select,
)
from sqlalchemy.exc import OperationalError

from demo.shop import DATA_VERSION, SEED, Shop, build_shop
from feature_store.errors import StackError
from feature_store.offline.catalog import open_catalog

if TYPE_CHECKING:
    from feature_store.settings import Settings

ORDER_EVENTS = "raw.order_events"
"""The Iceberg table, in catalog `fs`."""

_METADATA = MetaData()
_USERS = Table(
    "users",
    _METADATA,
    Column("user_id", Text, primary_key=True),
    Column("signed_up_at", DateTime(timezone=True), nullable=False),
    Column("country", Text, nullable=False),
)
_PRODUCTS = Table(
    "products",
    _METADATA,
    Column("product_id", Text, primary_key=True),
    Column("title", Text, nullable=False),
    Column("category", Text, nullable=False),
    Column("price", Double, nullable=False),
    Column("listed_at", DateTime(timezone=True), nullable=False),
)
_MARKER = Table(
    "shop_load",
    _METADATA,
    Column("anchor", Date, primary_key=True),
    Column("seed", BigInteger, nullable=False),
    Column("data_version", BigInteger, nullable=False),
    Column("row_counts", JSON, nullable=False),
    Column("loaded_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)
_ORDER_SCHEMA = Schema(
    NestedField(1, "order_id", StringType(), required=True),
    NestedField(2, "user_id", StringType(), required=True),
    NestedField(3, "product_id", StringType(), required=True),
    NestedField(4, "status", StringType(), required=True),
    NestedField(5, "amount", DoubleType(), required=True),
    NestedField(6, "quantity", LongType(), required=True),
    NestedField(7, "event_ts", TimestamptzType(), required=True),
)
_ORDER_PARTITIONS = PartitionSpec(PartitionField(7, 1000, MonthTransform(), "event_ts_month"))
_ROWS_PER_FILE = 65_536
_LOAD_LOCK = 19970101  # any number, the same for every loader: an advisory lock of Postgres


@dataclass(frozen=True)
class LoadReport:
    """What `load_shop` did: rows per raw table, seconds it took, and the day the data are of."""

    anchor: date
    rows: Mapping[str, int]
    seconds: float
    skipped: bool


@dataclass(frozen=True)
class _Marker:
    anchor: date
    rows: Mapping[str, int]


def load_shop(settings: Settings, today: date) -> LoadReport:
    """Put the raw data of the demo shop in place, once.

    users and products go to Postgres (database "shop"), order events to the Iceberg table `raw.order_events`, browsing
    and reviews to Parquet files under `<home>/raw/`. A complete load of this data version is left alone, whatever its
    day: features were computed from it, so history must not move under them (`anchor` says its day). Anything else is
    replaced as a whole. Loaders wait for each other.

    Raises:
        StackError: Postgres is not there or has no database "shop".
    """
    started = time.monotonic()
    with _only_loader(settings) as connection:
        marker = _complete_load(settings, connection)
        skipped = marker is not None
        if marker is None:
            marker = _load(settings, connection, build_shop(today))
    return LoadReport(marker.anchor, marker.rows, time.monotonic() - started, skipped)


def read_shop_anchor(settings: Settings) -> date | None:
    """The day the loaded raw data are of (everything in them happened before its midnight, UTC); None if none are.

    Raises:
        StackError: Postgres is not there or has no database "shop".
    """
    with _connect(settings) as connection:
        marker = _read_marker(connection)
    return marker.anchor if marker else None


def _load(settings: Settings, connection: Connection, shop: Shop) -> _Marker:
    marker = _Marker(
        shop.anchor,
        {
            "users": shop.users.height,
            "products": shop.products.height,
            "order_events": shop.order_events.height,
            "browsing": shop.browsing.height,
            "reviews": shop.reviews.height,
        },
    )
    with connection.begin():
        _METADATA.drop_all(connection, tables=[_MARKER])
    _replace_order_events(settings, shop.order_events)
    _replace_files(_raw_folder(settings, "browsing"), shop.browsing)
    _replace_files(_raw_folder(settings, "reviews"), shop.reviews)
    with connection.begin():
        _METADATA.drop_all(connection)
        _METADATA.create_all(connection)
        _copy(connection, _USERS, shop.users)
        _copy(connection, _PRODUCTS, shop.products)
        row = {"anchor": marker.anchor, "seed": SEED, "data_version": DATA_VERSION, "row_counts": dict(marker.rows)}
        connection.execute(insert(_MARKER).values(row))
    return marker


def _complete_load(settings: Settings, connection: Connection) -> _Marker | None:
    """The marker, if all that it stands for is there: a folder or a catalog may have been lost since."""
    marker = _read_marker(connection)
    if marker is None:
        return None
    with connection.begin():
        found = {table.name: _count(connection, table) for table in (_USERS, _PRODUCTS)}
    found["order_events"] = _count_order_events(settings)
    found["browsing"] = _count_in_files(_raw_folder(settings, "browsing"))
    found["reviews"] = _count_in_files(_raw_folder(settings, "reviews"))
    return marker if found == marker.rows else None


def _read_marker(connection: Connection) -> _Marker | None:
    with connection.begin():
        if not inspect(connection).has_table(_MARKER.name):
            return None
        ours = (_MARKER.c.seed == SEED) & (_MARKER.c.data_version == DATA_VERSION)
        row = connection.execute(select(_MARKER.c.anchor, _MARKER.c.row_counts).where(ours)).one_or_none()
    return _Marker(row.anchor, row.row_counts) if row else None


def _count(connection: Connection, table: Table) -> int:
    if not inspect(connection).has_table(table.name):
        return 0
    return connection.execute(select(func.count()).select_from(table)).scalar_one()


def _copy(connection: Connection, table: Table, frame: pl.DataFrame) -> None:
    rows = io.BytesIO(frame.write_csv(datetime_format="%Y-%m-%dT%H:%M:%S%.6f+00:00").encode())
    columns = ", ".join(frame.columns)
    psycopg2: Any = connection.connection
    with psycopg2.cursor() as cursor:
        cursor.copy_expert(f"COPY {table.name} ({columns}) FROM STDIN WITH (FORMAT csv, HEADER)", rows)


def _replace_order_events(settings: Settings, frame: pl.DataFrame) -> None:
    rows = frame.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(_ORDER_SCHEMA.as_arrow())
    with open_catalog(settings) as catalog:
        catalog.create_namespace_if_not_exists(catalog.namespace_from(ORDER_EVENTS))
        try:
            catalog.purge_table(ORDER_EVENTS)
        except NoSuchTableError:
            pass
        except FileNotFoundError:  # the warehouse was emptied, the catalog was not
            with suppress(NoSuchTableError):
                catalog.drop_table(ORDER_EVENTS)
        # One commit for the table and its rows: it is never there without them.
        with catalog.create_table_transaction(
            ORDER_EVENTS, _ORDER_SCHEMA, partition_spec=_ORDER_PARTITIONS
        ) as transaction:
            transaction.append(rows)


def _count_order_events(settings: Settings) -> int:
    with open_catalog(settings) as catalog:
        try:
            snapshot = catalog.load_table(ORDER_EVENTS).current_snapshot()
        except (NoSuchTableError, FileNotFoundError):
            return 0
    return int(snapshot.summary["total-records"] or 0) if snapshot and snapshot.summary else 0


def _raw_folder(settings: Settings, table: str) -> Path:
    return settings.home / "raw" / table


def _replace_files(folder: Path, frame: pl.DataFrame) -> None:
    """Write next to the folder and swap, so that a reader never sees half of it."""
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for number, chunk in enumerate(frame.iter_slices(_ROWS_PER_FILE)):
        rows = chunk.to_arrow(compat_level=pl.CompatLevel.oldest())
        pq.write_table(rows, partial / f"part-{number:04d}.parquet", compression="zstd")
    shutil.rmtree(folder, ignore_errors=True)
    partial.replace(folder)


def _count_in_files(folder: Path) -> int:
    try:
        return sum(pq.read_metadata(file).num_rows for file in folder.glob("*.parquet"))
    except pa.ArrowInvalid:  # a file cut short
        return 0


@contextmanager
def _connect(settings: Settings) -> Iterator[Connection]:
    """A connection to the database "shop"; a Postgres that does not answer becomes an error with a remedy."""
    engine = create_engine(settings.database_url("shop"), poolclass=NullPool)
    try:
        with engine.connect() as connection:
            yield connection
    except OperationalError as error:
        where = engine.url.render_as_string(hide_password=True)
        cause = str(error.orig).strip().splitlines()[0]
        raise StackError(
            f"Postgres refused: {cause}", where=where, remedy="run ./fs up", code="postgres-down"
        ) from error


@contextmanager
def _only_loader(settings: Settings) -> Iterator[Connection]:
    """A connection that holds the lock of loading until it closes; waits for another loader."""
    with _connect(settings) as connection:
        with connection.begin():
            connection.execute(select(func.pg_advisory_lock(_LOAD_LOCK)))
        yield connection
