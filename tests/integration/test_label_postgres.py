"""Labels in tables of PostgreSQL, alone and in a query: values are those of the table, to the last digit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from itertools import count

import polars as pl
import psycopg2
import pytest
from pyiceberg.catalog import Catalog

from feature_store import LabelQuery, LabelTable
from feature_store.errors import InputError
from feature_store.offline.tables import ensure_table
from feature_store.pit.dataset import build_training_dataset
from feature_store.plan.schema import GroupSchema
from feature_store.settings import Settings
from tests.unit.pit.pit_cases import NOON, at, group, row, rows_table, view

_versions = count(7000)


@pytest.fixture
def cursor(stack: Settings) -> Iterator[psycopg2.extensions.cursor]:
    with closing(psycopg2.connect(f"{stack.pg_url}/shop")) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute("DROP SCHEMA IF EXISTS labelled CASCADE; CREATE SCHEMA labelled")
        yield cursor
        cursor.execute("DROP SCHEMA labelled CASCADE")


@pytest.fixture
def schema(catalog: Catalog) -> GroupSchema:
    schema = replace(group(), version=next(_versions))
    ensure_table(catalog, schema).append(rows_table(schema, [row(0, 1), row(5, 2)]))
    return schema


def test_every_type_of_a_label_table(stack: Settings, cursor: psycopg2.extensions.cursor, schema: GroupSchema) -> None:
    cursor.execute(
        """
        CREATE TABLE labelled."Churn 1" (user_id text, label_timestamp timestamptz, small int2, big int8, share float8,
            price numeric(10, 2), bought bool, "Note, x" varchar);
        INSERT INTO labelled."Churn 1" VALUES
            ('u', '2025-03-01 14:00:00.000005+02', -1, 9223372036854775807, 0.1::float8 + 0.2,
             12.34, true, E'a,"b"\\n'),
            ('', '2025-03-01 12:00:00+00', NULL, NULL, NULL, NULL, NULL, NULL),
            (NULL, '2025-03-01 12:00:00+00', 0, 0, 'NaN', 0, false, '')
        """
    )
    table = build_training_dataset(stack, view(schema), LabelTable("shop.labelled.Churn 1"), name="pg").table
    assert [str(field.type) for field in table.schema][2:8] == ["int64", "int64", "double", "double", "bool", "string"]
    first, second, third = table.to_pylist()
    assert first == {
        "user_id": "u",
        "label_timestamp": at(5),
        "small": -1,
        "big": 2**63 - 1,
        "share": 0.1 + 0.2,
        "price": 12.34,
        "bought": True,
        "Note, x": 'a,"b"\n',
        "orders_value": 2,
    }
    assert list(second.values()) == ["", NOON, *[None] * 7]
    assert (third["user_id"], third["bought"], third["Note, x"]) == (None, False, "")


def test_a_query_over_a_table_of_postgres(
    stack: Settings, cursor: psycopg2.extensions.cursor, schema: GroupSchema
) -> None:
    cursor.execute("CREATE VIEW labelled.users AS SELECT 'u' AS user_id, 3 AS n")
    times = pl.DataFrame({"label_timestamp": [at(-1), at(0), at(9)]})
    query = LabelQuery(
        "SELECT user_id, label_timestamp, n FROM users, times ORDER BY label_timestamp DESC",
        {"users": LabelTable("shop.labelled.users"), "times": times},
    )
    table = build_training_dataset(stack, view(schema), query, name="pg").table
    assert table.select(["orders_value", "n"]).to_pylist() == [{"orders_value": v, "n": 3} for v in (2, 1, None)]


@pytest.mark.parametrize(
    ("columns", "code", "said"),
    [
        ("now()::timestamp AS label_timestamp", "wrong-type", "has no time zone"),
        ("now() AS label_timestamp, '{1}'::int[] AS items", "wrong-type", "'items'"),
        ("'infinity'::timestamptz AS label_timestamp", "wrong-type", "label_timestamp"),
        ("'text' AS label_timestamp", "wrong-type", "label_timestamp"),
        ("NULL::timestamptz AS label_timestamp", "null-timestamp", "label_timestamp"),
    ],
)
def test_columns_that_labels_cannot_have(
    stack: Settings,
    cursor: psycopg2.extensions.cursor,
    schema: GroupSchema,
    columns: str,
    code: str,
    said: str,
) -> None:
    cursor.execute(f"CREATE VIEW labelled.bad AS SELECT 'u' AS user_id, {columns}")
    with pytest.raises(InputError) as raised:
        build_training_dataset(stack, view(schema), LabelTable("shop.labelled.bad"), name="pg")
    assert raised.value.code == code
    assert said in str(raised.value)


@pytest.mark.parametrize(
    "table",
    [
        LabelTable("shop.labelled.nowhere"),
        LabelTable("nowhere.labelled.churn"),
        LabelTable("shop"),
        LabelTable("shop.public.labels", server="postgresql://nobody:x@127.0.0.1:9"),
    ],
)
def test_a_table_or_server_that_is_not_there(stack: Settings, table: LabelTable) -> None:
    with pytest.raises(InputError, match="see whether the server answers") as raised:
        build_training_dataset(stack, view(group()), table, name="pg")
    assert raised.value.code == "unreadable-labels"
