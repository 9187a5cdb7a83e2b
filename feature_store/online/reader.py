"""Online reads: the vectors of many entities over all groups of a view, in one round trip to Redis.

Groups keyed by features of others are read in a second round trip, those keyed by features of these in a third, and so
on. Such a key is the feature's value as the vector has it, default included; NULL is no key.

What a row's status says of a group:

    PRESENT    a usable row; a feature that is NULL and has no default is None
    DEFAULTED  a usable row, with the default of at least one feature that is NULL or newer than the row
    EXPIRED    the entity's newest row is past its ttl, and not for longer than the grace: no value but defaults
    NOT_FOUND  no row, or a key column is NULL: no value but defaults

A row is usable while now <= feature_timestamp + ttl, to the microsecond, as in the training join. EXPIRED is told for a
grace (see writer.py) after that, and after the row became known if that was later; then NOT_FOUND. The values are the
same. All of this follows from the row's timestamps alone.

On-demand features are computed from these values, defaults filled in; statuses say nothing of them. A value that does
not fit 64 bits is NULL; `OnlineVectors.overflowed` says so, of stored features too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self, cast

from feature_store.compile.reference_expressions import evaluate
from feature_store.dtypes import Value, from_micros, to_micros
from feature_store.errors import InputError, StackError
from feature_store.online.codec import OLDEST, Codec, unpack_header, wire_round_trip
from feature_store.online.connection import connect, redis_errors
from feature_store.online.keys import entity_tag, last_updated_key
from feature_store.online.layout import Layout, check_types, layout_of, load_layouts
from feature_store.online.progress import LastUpdated, parse_last_updated
from feature_store.online.vectors import GroupVectors, OnlineVectors, Status
from feature_store.online.writer import is_expired, is_forgotten
from feature_store.plan.schema import GroupSchema, ViewedSchema, ViewSchema

if TYPE_CHECKING:
    from redis import Redis

    from feature_store.online.on_demand import OnlineOnDemand


@dataclass(frozen=True)
class _Known:
    """A layout that this reader can decode, and where it has each feature of the definition (None: nowhere).

    Without positions it is the layout of the definition itself.
    """

    codec: Codec
    positions: tuple[int | None, ...] | None
    names: tuple[str, ...]

    def has(self, feature: int) -> bool:
        """Whether values of the layout have a feature of the definition."""
        return self.positions is None or self.positions[feature] is not None

    def named(self, stored: Sequence[Value]) -> dict[str, Value]:
        """A stored row by the names of its features."""
        return dict(zip(self.names, stored, strict=True))


class OnlineReader:
    """Reads views; keeps the layouts it has met, so it is made once and used from any thread.

    Args:
        redis: URL, or a client from `connect`.

    Raises:
        StackError: if the URL is not one of Redis or redis-py has no fast parser.
    """

    def __init__(self, redis: str | Redis) -> None:
        self._redis = connect(redis) if isinstance(redis, str) else redis
        self._decoders: dict[tuple[str, int], _GroupDecoder] = {}
        self._on_demand: dict[str, OnlineOnDemand] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connections."""
        self._redis.close()

    def read(
        self,
        view: ViewSchema,
        rows: Sequence[Mapping[str, Any]],
        now: datetime | None = None,
        *,
        request: Mapping[str, Any] | None = None,
    ) -> OnlineVectors:
        """The vectors of the entities in `rows`, in their order.

        Args:
            rows: per vector a value for every key column of the view (`view.keys`), and for its request values
                (`view.request`) where `request` has none or another; other items are ignored.
            now: the request_time of on-demand features, and the instant at which rows must not have expired; the
                clock's unless given.
            request: request values for all rows.

        Raises:
            InputError: naming row and column, if a key column or a request value is missing or of another type, or if
                `now` is naive; naming the on-demand feature, if its function fails.
            StackError: if Redis does not answer, or a stored value cannot be read; it names the key.
            ConflictError: if the view has a feature under another type than the online store.
        """
        if now is not None and now.tzinfo is None:
            raise InputError(
                f"now={now.isoformat()} has no time zone",
                remedy="add an offset, such as +00:00",
                code="naive-timestamp",
            )
        instant = to_micros(now or datetime.now(UTC))
        given = self._request_values(view, rows, request or {})
        view_id = view.id
        fetch = self._fetch if view.is_plain else _each_once(self._fetch)
        freshness = [last_updated_key(viewed.group) for viewed in view.groups]
        updated: list[LastUpdated | None] = []
        read: dict[int, GroupVectors] = {}
        for round_ in view.rounds:
            groups = [view.groups[i] for i in round_]
            keys, places = _entity_keys(groups, _with_features(rows, groups, read.values()) if read else rows)
            asked = keys if read else freshness + keys
            values = fetch(asked) if asked else []
            if not read:
                updated = [parse_last_updated(value, key) for value, key in zip(values, freshness, strict=False)]
                values = values[len(freshness) :]
            start = 0
            for i, places_of_group in zip(round_, places, strict=True):
                end = start + len(places_of_group)
                found = zip(places_of_group, keys[start:end], values[start:end], strict=True)
                read[i] = self._decoder(view_id, i, view.groups[i]).decode(len(rows), found, instant)
                start = end
        vectors = [read[i] for i in range(len(view.groups))]
        computed = self._on_demand_of(view).compute(rows, vectors, given, instant) if view.on_demand else None
        return OnlineVectors(
            view=view,
            rows=tuple(rows),
            groups=tuple(vectors),
            stale={g.id: _is_stale(g.group, u, instant) for g, u in zip(view.groups, updated, strict=True)},
            updated_at={
                g.id: from_micros(u.complete_at) if u else None for g, u in zip(view.groups, updated, strict=True)
            },
            on_demand=computed.values if computed else (),
            overflows=_all_overflows(vectors, computed.overflows if computed else {}),
        )

    def _request_values(
        self, view: ViewSchema, rows: Sequence[Mapping[str, Any]], request: Mapping[str, Any]
    ) -> dict[str, list[Value]]:
        if not view.request and not request:
            return {}
        from feature_store.online.on_demand import request_values

        return request_values(view, rows, request)

    def _on_demand_of(self, view: ViewSchema) -> OnlineOnDemand:
        known = self._on_demand.get(view.id)
        if known is None or known.view is not view:
            from feature_store.online.on_demand import OnlineOnDemand  # Polars: only for views that need it

            known = self._on_demand[view.id] = OnlineOnDemand(view)
        return known

    def _fetch(self, keys: list[str]) -> list[bytes | None]:
        # A cluster has no MGET over slots; its client asks every node once instead.
        fetch = getattr(self._redis, "mget_nonatomic", self._redis.mget)
        with redis_errors(self._redis):
            return cast("list[bytes | None]", fetch(keys))

    def _decoder(self, view_id: str, place: int, viewed: ViewedSchema) -> _GroupDecoder:
        decoder = self._decoders.get((view_id, place))
        if decoder is None or decoder.viewed != viewed:  # a definition of the view that this reader has not met
            decoder = self._decoders[view_id, place] = _GroupDecoder(self._redis, viewed)
        return decoder


class _GroupDecoder:
    """Decodes the values of one group as one view sees them; keeps the layouts it has met."""

    def __init__(self, redis: Redis, viewed: ViewedSchema) -> None:
        self.viewed = viewed
        self.group = group = viewed.group
        self._redis = redis
        self._defaults = [wire_round_trip(feature.dtype, feature.default) for feature in group.features]
        self._limited = [(i, f.overflow) for i, f in enumerate(group.features) if f.overflow is not None]
        self._fillable = [(i, default) for i, default in enumerate(self._defaults) if default is not None]
        self._layouts: dict[int, _Known] = {}

    def decode(self, size: int, found: Iterable[tuple[int, str, bytes | None]], now: int) -> GroupVectors:
        """The group's part of `size` vectors from what was found: position, key and stored value of each."""
        values: list[Sequence[Value]] = [self._defaults] * size
        statuses = [Status.NOT_FOUND] * size
        timestamps: list[datetime | None] = [None] * size
        overflows: dict[str, list[int]] = {}
        for place, key, value in found:
            if value is None:
                continue
            number, timestamp, created, start = unpack_header(value, key)
            if len(value) == start or is_expired(self.group, timestamp, now):
                if timestamp != OLDEST and not is_forgotten(self.group, timestamp, created, now):
                    statuses[place] = Status.EXPIRED
                    timestamps[place] = from_micros(timestamp)
                continue
            timestamps[place] = from_micros(timestamp)
            known = self._layouts.get(number) or self._look_up(number, key)
            stored = known.codec.decode(value, start, key)
            row = stored if known.positions is None else [None if p is None else stored[p] for p in known.positions]
            for i, overflow in self._limited:
                if row[i] is None and known.has(i) and evaluate(overflow, known.named(stored)):
                    overflows.setdefault(self.viewed.features[i].name, []).append(place)
            status = Status.PRESENT
            for i, default in self._fillable:
                if row[i] is None:
                    row[i] = default
                    status = Status.DEFAULTED
            values[place] = row
            statuses[place] = status
        lost = {name: frozenset(places) for name, places in overflows.items()}
        return GroupVectors(self.viewed, values, statuses, timestamps, lost)

    def _look_up(self, number: int, key: str) -> _Known:
        """The layout of a value whose number was not met before; all layouts are read again."""
        with redis_errors(self._redis):
            loaded = load_layouts(self._redis, self.group)
        self._layouts = {n: _known(self.group, n, layout) for n, layout in loaded.items()}
        if number not in self._layouts:
            raise StackError(
                f"the stored value has layout {number}, which nobody registered",
                where=f"Redis key {key!r}",
                remedy="materialize the group again with full=True",
                code="unknown-layout",
            )
        return self._layouts[number]


def _known(group: GroupSchema, number: int, layout: Layout) -> _Known:
    check_types(group, layout)
    names = tuple(name for name, _ in layout)
    if layout == layout_of(group):
        return _Known(Codec(layout, number), None, names)
    places = {name: i for i, name in enumerate(names)}
    return _Known(Codec(layout, number), tuple(places.get(feature.name) for feature in group.features), names)


def _all_overflows(
    groups: Iterable[GroupVectors], on_demand: Mapping[str, frozenset[int]]
) -> dict[str, frozenset[int]]:
    return {name: places for part in groups for name, places in part.overflows.items()} | dict(on_demand)


def _key_names(viewed: ViewedSchema) -> tuple[str, ...]:
    return tuple(key.name for key in viewed.keys)


def _entity_keys(
    groups: Sequence[ViewedSchema], rows: Sequence[Mapping[str, Any]]
) -> tuple[list[str], list[list[int]]]:
    """The keys of the rows in every group, one group after the other, and of each group the rows that have one."""
    columns = {_key_names(viewed): viewed.keys for viewed in groups}
    tags = {names: [entity_tag(keys, row, i) for i, row in enumerate(rows)] for names, keys in columns.items()}
    found: list[str] = []
    places: list[list[int]] = []
    for viewed in groups:
        prefix = f"{viewed.group.id}:"
        present = [(i, tag) for i, tag in enumerate(tags[_key_names(viewed)]) if tag is not None]
        places.append([i for i, _ in present])
        found += [prefix + tag for _, tag in present]
    return found, places


def _with_features(
    rows: Sequence[Mapping[str, Any]], groups: Sequence[ViewedSchema], read: Iterable[GroupVectors]
) -> list[dict[str, Any]]:
    """The rows with those features that hold keys of some groups."""
    names = {key.name for viewed in groups for key in viewed.keys}
    columns = {
        feature.name: [values[i] for values in part.values]
        for part in read
        for i, feature in enumerate(part.group.features)
        if feature.name in names
    }
    found = (dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True))
    return [{**row, **features} for row, features in zip(rows, found, strict=True)]


def _each_once(fetch: Callable[[list[str]], list[bytes | None]]) -> Callable[[list[str]], list[bytes | None]]:
    """Asks for every key once, however often and in however many round trips it is wanted."""
    known: dict[str, bytes | None] = {}

    def fetch_new(keys: list[str]) -> list[bytes | None]:
        new = [key for key in dict.fromkeys(keys) if key not in known]
        if new:
            known.update(zip(new, fetch(new), strict=True))
        return [known[key] for key in keys]

    return fetch_new


def _is_stale(group: GroupSchema, updated: LastUpdated | None, now: int) -> bool:
    return updated is None or now - updated.complete_at > group.freshness
