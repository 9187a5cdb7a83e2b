"""Views over users, items and sellers, random ones too, and the oracle of what they give: loops over rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from typing import Any

from hypothesis import strategies as st

from feature_store import FLOAT, INT, STRING, TIMESTAMP, BatchSource, Entity, Feature, FeatureGroup, FeatureView, agg
from feature_store.dsl.viewed_group import ViewedGroup, as_viewed
from feature_store.dtypes import DType

Row = dict[str, Any]
Tables = Mapping[str, Sequence[Row]]
"""The rows of each group, by its id."""

NOW = datetime.now(UTC)
_FIELDS = {"count": INT, "price": FLOAT, "name": STRING, "user": STRING, "item": INT, "seller": STRING}


def _group(entity: Entity, features: Mapping[str, Any], version: int = 1, **changes: Any) -> FeatureGroup:
    """A group of the latest values of some fields of a source, each with a default or None."""
    schema = {**_FIELDS, **entity.keys, "ts": TIMESTAMP}
    return FeatureGroup(
        f"{entity.name}_facts",
        version=version,
        entity=entity,
        source=BatchSource(f"{entity.name}_log", table="raw.facts", event_timestamp="ts", schema=schema),
        owner="team:test",
        emit="snapshot",
        features=[
            Feature(f"{entity.name}_{field}", agg.last(field), window="all_time", dtype=_FIELDS[field], default=default,
                    rename_ok="short")
            for field, default in features.items()
        ],
        **changes,
    )  # fmt: skip


USER, ITEM = Entity("user", join_key="user_id"), Entity("item", join_key="item_id", dtype=INT)
SELLER = Entity("seller", join_key="seller_id")
PAIR = Entity("pair", join_key=("user_id", "item_id"), dtype=(STRING, INT))
USERS = _group(USER, {"count": 0, "name": "?", "user": None, "item": 2})
ITEMS = _group(ITEM, {"price": None, "seller": None, "item": None, "count": -1}, ttl="2d")
SELLERS = _group(SELLER, {"count": 0, "item": None, "name": None, "user": "a"}, buckets=3, availability_delay="1h")
SELLERS_2 = _group(SELLER, {"count": None, "price": 0.5}, version=2)
PAIRS = _group(PAIR, {"count": 0, "seller": None, "item": None}, buckets=2)
GROUPS = (USERS, ITEMS, SELLERS, SELLERS_2, PAIRS)


def view(*groups: FeatureGroup | ViewedGroup, **changes: Any) -> FeatureView:
    """A view of these groups and roles."""
    return FeatureView("ranking", groups=groups, **{"owner": "team:test", **changes})


def oracle(reads: FeatureView, tables: Tables, given: Row, at: datetime) -> Row:
    """What the view gives for a row of keys at an instant: each name looked up where it comes from."""
    roles = [as_viewed(group) for group in reads.groups]
    return {name: _value(name, roles, tables, given, at) for role in roles for name in _names(role)}


def input_keys(reads: FeatureView) -> dict[str, DType]:
    """The columns that a reader gives."""
    roles = [as_viewed(group) for group in reads.groups]
    features = {name for role in roles for name in _names(role)}
    keys = {key: of for role in roles for key, of in zip(_keys(role), role.group.entity.keys.values(), strict=True)}
    return {key: dtype for key, dtype in keys.items() if key not in features}


def _names(role: ViewedGroup) -> dict[str, Feature]:
    features = {feature.name: feature for feature in role.group.features}
    return {f"{role.prefix}{name}": features[name] for name in role.features or features}


def _keys(role: ViewedGroup) -> tuple[str, ...]:
    return role.key or tuple(role.group.entity.keys)


def _value(name: str, roles: Sequence[ViewedGroup], tables: Tables, given: Row, at: datetime) -> Any:
    """A column of the given row, or the feature of the newest usable row of the one group that has it."""
    if name in given:
        return given[name]
    (role,) = (role for role in roles if name in _names(role))
    keys = [_value(key, roles, tables, given, at) for key in _keys(role)]
    newest: Row | None = None
    for row in tables[role.group.id]:
        if None in keys or [row[key] for key in role.group.entity.keys] != keys or not _is_usable(row, role.group, at):
            continue
        if newest is None or row["feature_timestamp"] > newest["feature_timestamp"]:
            newest = row
    feature = _names(role)[name]
    value = None if newest is None else newest[feature.name]
    return feature.default if value is None else value


def _is_usable(row: Row, group: FeatureGroup, at: datetime) -> bool:
    age = at - row["feature_timestamp"]
    delay = timedelta(hours=1) if group.availability_delay == "1h" else timedelta(0)
    return delay <= age and (group.ttl is None or age <= timedelta(days=2))


_keys_of_type = {STRING: st.none() | st.sampled_from("abc"), INT: st.none() | st.integers(0, 3)}
_ages = st.integers(2, 96).map(lambda hours: timedelta(hours=hours))
_values = {
    STRING: st.none() | st.sampled_from(["a", "b", "c", "nobody"]),
    INT: st.none() | st.integers(0, 4),
    FLOAT: st.none() | st.sampled_from([0.0, 1.5, -2.25]),
}
_COLUMNS = {STRING: ["user_id", "seller_id", "buyer_id"], INT: ["item_id", "other_item_id"]}


@st.composite
def tables(draw: st.DrawFn) -> dict[str, list[Row]]:
    """Rows of every group; none of one group has the key and the time of another."""
    found = {}
    for group in GROUPS:
        columns: dict[str, st.SearchStrategy[Any]] = {
            **{key: _keys_of_type[dtype] for key, dtype in group.entity.keys.items()},
            "feature_timestamp": _ages.map(lambda age: NOW - age),
            **{feature.name: _values[feature.dtype] for feature in group.features},
        }
        whose = itemgetter(*group.entity.keys, "feature_timestamp")
        rows = draw(st.lists(st.fixed_dictionaries(columns), max_size=12, unique_by=whose))
        found[group.id] = [{**row, "created_timestamp": row["feature_timestamp"]} for row in rows]
    return found


@st.composite
def views(draw: st.DrawFn) -> FeatureView:
    """One to five roles, in any order: whole or in part, keyed by columns, or by features of roles drawn before."""
    roles: list[ViewedGroup] = []
    for number in range(draw(st.integers(1, 5))):
        group = draw(st.sampled_from(GROUPS))
        role = as_viewed(group)
        if draw(st.booleans()):
            names = [feature.name for feature in group.features]
            role = role.select(*draw(st.lists(st.sampled_from(names), min_size=1, unique=True)))
        key = tuple(draw(st.sampled_from(_columns_of(dtype, roles))) for dtype in group.entity.keys.values())
        is_first = all(other.group.name != group.name for other in roles)
        prefix = "" if is_first and draw(st.booleans()) else f"r{number}_"
        if key != tuple(group.entity.keys) or prefix:
            role = role.keyed_by(*key, prefix=prefix)
        roles.append(role)
    return view(*draw(st.permutations(roles)))


def _columns_of(dtype: DType, roles: Sequence[ViewedGroup]) -> list[str]:
    """What can hold a key of a type: columns, and twice as likely features."""
    features = [name for role in roles for name, feature in _names(role).items() if feature.dtype == dtype]
    return [*_COLUMNS[dtype], *features, *features]


@st.composite
def key_rows(draw: st.DrawFn, reads: FeatureView) -> list[Row]:
    """Rows of the keys that a reader of a view gives."""
    columns = {name: _keys_of_type[dtype] for name, dtype in input_keys(reads).items()}
    return draw(st.lists(st.fixed_dictionaries(columns), max_size=8))
