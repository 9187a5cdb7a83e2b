"""Keys of the online store: readable, typed, and never the same for two entities."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis.crc import key_slot

from feature_store import BOOL, EMBEDDING, FLOAT, INT, STRING, TIMESTAMP
from feature_store.dtypes import DType, arrow_type
from feature_store.errors import DefinitionError, InputError
from feature_store.online.keys import (
    entity_key,
    entity_keys,
    entity_tag,
    last_updated_key,
    layouts_key,
    progress_key,
    tag_values,
)
from feature_store.plan.schema import Column, GroupSchema

INSTANTS = st.datetimes(timezones=st.just(UTC))
VALUES: dict[DType, st.SearchStrategy[Any]] = {
    STRING: st.text() | st.text(alphabet="%{}|:a2B5CD7", max_size=6),
    INT: st.integers(-(2**63), 2**63 - 1),
    BOOL: st.booleans(),
    TIMESTAMP: INSTANTS,
}
ROWS = st.lists(st.sampled_from(list(VALUES)), min_size=1, max_size=3).flatmap(
    lambda dtypes: st.tuples(
        st.just(dtypes),
        st.lists(st.tuples(*(st.none() | VALUES[dtype] for dtype in dtypes)), min_size=1, max_size=8),
    )
)


def group_of(*dtypes: DType, name: str = "user_orders") -> GroupSchema:
    keys = tuple(Column(f"k{i}", dtype) for i, dtype in enumerate(dtypes))
    return GroupSchema(name, 1, keys=keys, features=(), ttl=None, availability_delay=0, freshness=1, buckets=1)


def key_of(group: GroupSchema, *values: Any) -> str | None:
    return entity_key(group, {f"k{i}": value for i, value in enumerate(values)})


def test_common_keys_are_readable() -> None:
    assert key_of(group_of(STRING), "u1") == "user_orders@1:{u1}"
    assert key_of(group_of(INT), 42) == "user_orders@1:{42}"
    assert key_of(group_of(STRING), "Zoë 😀") == "user_orders@1:{Zoë 😀}"
    assert key_of(group_of(STRING, INT), "u1", 9) == "user_orders@1:{u1|9}"
    assert key_of(group_of(BOOL), True) == "user_orders@1:{true}"
    assert key_of(group_of(TIMESTAMP), datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)) == "user_orders@1:{1000000}"


def test_awkward_strings_are_escaped() -> None:
    assert key_of(group_of(STRING), "") == "user_orders@1:{%}"
    assert key_of(group_of(STRING), "%") == "user_orders@1:{%25}"
    assert key_of(group_of(STRING), "}{|") == "user_orders@1:{%7D%7B%7C}"
    assert key_of(group_of(STRING, STRING), "a", "bc") != key_of(group_of(STRING, STRING), "ab", "c")
    assert key_of(group_of(STRING, STRING), "a|b", "") != key_of(group_of(STRING, STRING), "a", "b|")


def test_keys_of_the_group_are_no_entity() -> None:
    group = group_of(STRING)
    assert last_updated_key(group) == "user_orders@1:last_updated"
    assert layouts_key(group) == "user_orders@1:layouts"
    assert progress_key(group) == "user_orders@1:progress"
    assert key_of(group, "last_updated") == "user_orders@1:{last_updated}"


def test_types_are_kept_apart() -> None:
    with pytest.raises(InputError, match="'k0' is STRING, not 5"):
        key_of(group_of(STRING), 5)
    with pytest.raises(InputError, match="'k0' is INT, not '5'"):
        key_of(group_of(INT), "5")
    with pytest.raises(InputError, match="'k0' is INT, not True"):
        key_of(group_of(INT), True)
    with pytest.raises(InputError, match="'k0' is BOOL, not 1"):
        key_of(group_of(BOOL), 1)
    with pytest.raises(InputError, match="64 bits"):
        key_of(group_of(INT), 2**63)
    with pytest.raises(InputError, match="time zone"):
        key_of(group_of(TIMESTAMP), datetime(2026, 1, 1))  # noqa: DTZ001 - a naive one is the point
    with pytest.raises(InputError, match="surrogates"):
        key_of(group_of(STRING), "\ud800")


def test_errors_name_the_row() -> None:
    with pytest.raises(InputError, match=r"row 3: key column 'k0' is missing -> give k0, k1"):
        entity_tag(group_of(STRING, STRING).keys, {"k1": "x"}, 3)
    with pytest.raises(InputError, match=r"row 0: key column 'k1'"):
        entity_tag(group_of(STRING, STRING).keys, {"k0": None, "k1": 1}, 0)


@pytest.mark.parametrize("dtype", [FLOAT, EMBEDDING(2)])
def test_inexact_types_are_no_keys(dtype: DType) -> None:
    with pytest.raises(DefinitionError, match="cannot be a key"):
        key_of(group_of(dtype), 1.0)
    with pytest.raises(DefinitionError, match="cannot be a key"):
        entity_keys(group_of(dtype), pl.DataFrame({"k0": [1.0]}))


def test_null_has_no_key() -> None:
    assert key_of(group_of(STRING), None) is None
    assert key_of(group_of(STRING, INT), "u1", None) is None


def test_one_instant_has_one_key() -> None:
    group = group_of(TIMESTAMP)
    utc = datetime(2026, 1, 1, 12, tzinfo=UTC)
    assert key_of(group, utc) == key_of(group, utc.astimezone(timezone(timedelta(hours=5, minutes=30))))


@given(ROWS)
def test_a_tag_has_the_values_it_was_made_of(rows: tuple[list[DType], list[tuple[Any, ...]]]) -> None:
    dtypes, found = rows
    columns = group_of(*dtypes).keys
    for values in found:
        tag = entity_tag(columns, {f"k{i}": value for i, value in enumerate(values)})
        assert tag is None or tag_values(columns, tag) == [*values]


@given(ROWS)
def test_encoding_is_injective(case: tuple[list[DType], list[tuple[Any, ...]]]) -> None:
    dtypes, rows = case
    entities = {row for row in rows if None not in row}
    assert len({key_of(group_of(*dtypes), *row) for row in entities}) == len(entities)


@given(st.lists(st.tuples(VALUES[STRING], VALUES[STRING]), min_size=2, max_size=2, unique=True))
def test_composite_strings_do_not_collide(pairs: list[tuple[str, str]]) -> None:
    group = group_of(STRING, STRING)
    assert key_of(group, *pairs[0]) != key_of(group, *pairs[1])


@settings(deadline=None)  # the first example waits for Arrow and Polars to start
@given(ROWS)
def test_columns_are_encoded_as_rows_are(case: tuple[list[DType], list[tuple[Any, ...]]]) -> None:
    dtypes, rows = case
    group = group_of(*dtypes)
    columns = {f"k{i}": pa.array([row[i] for row in rows], arrow_type(dtype)) for i, dtype in enumerate(dtypes)}
    frame = pl.from_arrow(pa.table(columns))
    assert isinstance(frame, pl.DataFrame)
    assert entity_keys(group, frame).to_list() == [key_of(group, *row) for row in rows]


@given(ROWS)
def test_all_groups_of_an_entity_share_a_slot(case: tuple[list[DType], list[tuple[Any, ...]]]) -> None:
    dtypes, rows = case
    for row in rows:
        keys = [key_of(group_of(*dtypes, name=name), *row) for name in ("user_orders", "user_activity")]
        assert keys == [None, None] or len({key_slot(key.encode()) for key in keys if key}) == 1
