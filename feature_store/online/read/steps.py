"""The steps of reading a view: what to ask Redis for, round after round, and what its answers mean.

Steps talk to no Redis: they yield commands and are sent the answers, so that reading is the same over every connection.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from feature_store.dtypes import Value, from_micros
from feature_store.online.keys import last_updated_key, layouts_key
from feature_store.online.layout import parse_layouts
from feature_store.online.progress import LastUpdated, parse_last_updated
from feature_store.online.read.decoding import UNREACHABLE, EntityColumns, GroupDecoder, StoredValue, UnknownLayout
from feature_store.online.read.entities import EntityTags, entity_tags
from feature_store.online.vectors import GroupVectors, OnlineVectors, Status
from feature_store.plan.schema import GroupSchema, ViewedSchema, ViewSchema

if TYPE_CHECKING:
    from feature_store.online.on_demand import OnDemandValues, OnlineOnDemand


class GetValues(NamedTuple):
    """Asks for the values under some keys: None where there is none, UNREACHABLE where nobody can be asked."""

    keys: Sequence[str]


class GetLayouts(NamedTuple):
    """Asks for a hash; UNREACHABLE if nobody can be asked."""

    key: str


Steps = Generator[GetValues | GetLayouts, Any, OnlineVectors]


class ViewReading:
    """One view, ready to be read; keeps the layouts it has met, and is used from any thread."""

    def __init__(self, view: ViewSchema) -> None:
        self.view = view
        self._decoders = [GroupDecoder(viewed) for viewed in view.groups]
        self._freshness = [last_updated_key(viewed.group) for viewed in view.groups]

    def steps(self, rows: Sequence[Mapping[str, Any]], request: Mapping[str, Any], instant: int) -> Steps:
        """Reads the vectors of some rows.

        Args:
            request: request values for all rows.
            instant: the request's time, in microseconds.

        Raises:
            InputError, StackError, ConflictError: as `OnlineReader.read`.
        """
        view = self.view
        given = self._request_values(rows, request)
        answers: dict[str, StoredValue] = {}
        updated: list[LastUpdated | None] = []
        read: dict[int, GroupVectors] = {}
        for round_ in view.rounds:
            wanted = rows if not read else _with_features(rows, [view.groups[i] for i in round_], read.values())
            entities = self._entities(round_, wanted)
            keys = {i: entities[i].keys(view.groups[i].group) for i in round_}
            if read:
                values = yield from _values([key for i in round_ for key in keys[i]], answers, view.is_plain)
            else:
                asked = [*self._freshness, *(key for i in round_ for key in keys[i])]
                values = yield from _values(asked, answers, view.is_plain)
                updated = [_last_updated(v, key) for v, key in zip(values, self._freshness, strict=False)]
                values = values[len(self._freshness) :]
            start = 0
            for i in round_:
                end = start + len(keys[i])
                columns = yield from self._decoded(self._decoders[i], keys[i], values[start:end], instant)
                read[i] = _of_rows(self._decoders[i], entities[i], columns)
                start = end
        vectors = [read[i] for i in range(len(view.groups))]
        computed = self._on_demand.compute(rows, vectors, given, instant) if self._on_demand is not None else None
        return _together(view, rows, vectors, updated, computed, instant)

    def _entities(self, round_: Sequence[int], rows: Sequence[Mapping[str, Any]]) -> dict[int, EntityTags]:
        """The entities of the rows in each group of a round; groups of the same key columns share them."""
        known: dict[tuple[str, ...], EntityTags] = {}
        found = {}
        for i in round_:
            columns = self.view.groups[i].keys
            names = tuple(column.name for column in columns)
            if names not in known:
                known[names] = entity_tags(columns, rows)
            found[i] = known[names]
        return found

    def _decoded(
        self, decoder: GroupDecoder, keys: Sequence[str], values: Sequence[StoredValue], instant: int
    ) -> Generator[GetLayouts, Any, EntityColumns]:
        while True:
            try:
                return decoder.decode(keys, values, instant)
            except UnknownLayout as met:
                entries = yield GetLayouts(layouts_key(decoder.group))
                if entries is UNREACHABLE:  # nobody can say what the values mean
                    return decoder.decode(keys, [UNREACHABLE] * len(keys), instant)
                decoder.learn(parse_layouts(decoder.group, entries), met)

    def _request_values(self, rows: Sequence[Mapping[str, Any]], request: Mapping[str, Any]) -> dict[str, list[Value]]:
        if not self.view.request and not request:
            return {}
        from feature_store.online.on_demand import request_values

        return request_values(self.view, rows, request)

    @cached_property
    def _on_demand(self) -> OnlineOnDemand | None:
        if not self.view.on_demand:
            return None
        from feature_store.online.on_demand import OnlineOnDemand  # Polars: only for views that need it

        return OnlineOnDemand(self.view)


def _values(
    keys: Sequence[str], answers: dict[str, StoredValue], is_plain: bool
) -> Generator[GetValues, Any, Sequence[StoredValue]]:
    """The values under some keys; of a view that may come to a key twice, each is asked for once."""
    if is_plain:
        found: Sequence[StoredValue] = yield GetValues(keys)
        return found
    new = [key for key in dict.fromkeys(keys) if key not in answers]
    if new:
        answers.update(zip(new, (yield GetValues(new)), strict=True))
    return [answers[key] for key in keys]


def _last_updated(value: StoredValue, key: str) -> LastUpdated | None:
    return None if value is UNREACHABLE else parse_last_updated(value, key)


def _of_rows(decoder: GroupDecoder, entities: EntityTags, found: EntityColumns) -> GroupVectors:
    """What is known of entities as what is known of rows."""
    places, overflows = entities.places, found.overflows
    if places is None:
        lost = {name: frozenset(rows) for name, rows in overflows.items()}
        return GroupVectors(decoder.viewed, found.columns, found.statuses, found.timestamps, lost)
    flagged = {name: frozenset(of) for name, of in overflows.items()}
    lost = {name: frozenset(row for row, place in enumerate(places) if place in of) for name, of in flagged.items()}
    return GroupVectors(
        decoder.viewed,
        [entities.spread(column, default) for column, default in zip(found.columns, decoder.defaults, strict=True)],
        entities.spread(found.statuses, Status.NOT_FOUND),
        entities.spread(found.timestamps, None),
        lost,
    )


def _with_features(
    rows: Sequence[Mapping[str, Any]], groups: Sequence[ViewedSchema], read: Iterable[GroupVectors]
) -> list[dict[str, Any]]:
    """The rows with those features that hold keys of some groups."""
    names = {key.name for viewed in groups for key in viewed.keys}
    columns = {
        feature.name: values
        for part in read
        for feature, values in zip(part.group.features, part.columns, strict=True)
        if feature.name in names
    }
    found = (dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True))
    return [{**row, **features} for row, features in zip(rows, found, strict=True)]


def _together(
    view: ViewSchema,
    rows: Sequence[Mapping[str, Any]],
    vectors: Sequence[GroupVectors],
    updated: Sequence[LastUpdated | None],
    computed: OnDemandValues | None,
    instant: int,
) -> OnlineVectors:
    overflows = {name: places for part in vectors for name, places in part.overflows.items()}
    known = list(zip(view.groups, updated, strict=True))
    return OnlineVectors(
        view=view,
        rows=tuple(rows),
        groups=tuple(vectors),
        stale={viewed.id: _is_stale(viewed.group, last, instant) for viewed, last in known},
        updated_at={viewed.id: from_micros(last.complete_at) if last else None for viewed, last in known},
        on_demand=computed.values if computed else (),
        overflows=overflows | (computed.overflows if computed else {}),
    )


def _is_stale(group: GroupSchema, updated: LastUpdated | None, now: int) -> bool:
    return updated is None or now - updated.complete_at > group.freshness
