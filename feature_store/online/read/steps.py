"""The steps of reading a view: what to ask Redis for, round after round, and what its answers mean.

Steps talk to no Redis: they yield commands and are sent the answers, so that reading is the same over every connection.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import msgspec

from feature_store.compile.function_calls import FunctionCalls
from feature_store.dtypes import Value
from feature_store.online.keys import last_updated_key, layouts_key
from feature_store.online.layout import parse_layouts
from feature_store.online.native.core import NativeCommand, NativeCore, NativeGroup, NativeRows
from feature_store.online.progress import parse_last_updated
from feature_store.online.read.decoding import UNREACHABLE, GroupDecoder, StoredValue, UnknownLayout
from feature_store.online.read.entities import entity_tags
from feature_store.online.read.native_round import NativeRound
from feature_store.online.read.observation import computation
from feature_store.online.read.vector_parts import VectorParts
from feature_store.online.vectors import EntityRows, GroupVectors, OnlineVectors
from feature_store.plan.schema import Column, ViewSchema

if TYPE_CHECKING:
    from feature_store.online.on_demand import OnlineOnDemand


class GetValues(msgspec.Struct, frozen=True):
    """Asks for the values under some keys: None where there is none, UNREACHABLE where nobody can be asked.

    Attributes:
        seconds: for each key how old its value may be; empty: all are asked for.
        packed: the MGET of these keys as Redis takes it, if it is made already.
    """

    keys: Sequence[str] | NativeCommand
    seconds: Sequence[float] = ()
    packed: bytes | None = None


class GetLayouts(msgspec.Struct, frozen=True):
    """Asks for a hash; UNREACHABLE if nobody can be asked."""

    key: str


Steps = Generator[GetValues | GetLayouts | FunctionCalls, Any, OnlineVectors]
_Parts = Generator[GetValues | GetLayouts, Any, tuple[list[int | None], list[GroupVectors]]]


class _Round(NamedTuple):
    """Groups that are read together.

    Attributes:
        keys: the key columns that they have, each set of columns once.
        groups: of each its place in the view, and that of its key columns in `keys`.
        lookups: the features of groups before that are keys here: name, place of the group, place of the feature.
    """

    keys: tuple[tuple[Column, ...], ...]
    groups: tuple[tuple[int, int], ...]
    lookups: tuple[tuple[str, int, int], ...]


class ViewReading:
    """One view, ready to be read; keeps the layouts it has met, and is used from any thread.

    Args:
        partial: whether an on-demand feature whose function fails only fails itself; then steps yield the calls of
            functions, so that their time can be bounded.
        core: reads the values that it can; None: Python reads all of them.
    """

    def __init__(self, view: ViewSchema, *, partial: bool = False, core: NativeCore | None = None) -> None:
        self.view = view
        self._partial = partial
        self._decoders = [GroupDecoder(viewed, core) for viewed in view.groups]
        self._prefixes = [f"{viewed.group.id}:" for viewed in view.groups]
        self._freshness = [last_updated_key(viewed.group) for viewed in view.groups]
        self._rounds = [_round(view, places) for places in view.rounds]
        self._seconds = [(viewed.group.cache or 0) / 1e6 for viewed in view.groups]
        self._is_cached = any(self._seconds)
        self._vectors = VectorParts(view, self._freshness, self._prefixes, core) if view.prejoined else None
        self.native: NativeRound | None = None
        """Makes the commands; None if Python does."""
        if core is not None and view.is_plain and not self._is_cached and self._vectors is None:
            (round_,) = self._rounds
            prefixes = [(self._prefixes[i], of) for i, of in round_.groups]
            self.native = NativeRound(core, self._freshness, round_.keys, prefixes)

    def steps(
        self,
        rows: Sequence[Mapping[str, Any]],
        request: Mapping[str, Any],
        instant: int,
        *,
        packed: bool = False,
    ) -> Steps:
        """Reads the vectors of some rows.

        Args:
            request: request values for all rows.
            instant: the request's time, in microseconds.
            packed: whether rows are only written into an answer, as they are stored; possible where `is_copyable`.

        Raises:
            InputError, StackError, ConflictError: as `OnlineReader.read`.
        """
        given = self._request_values(rows, request)
        command = None if self.native is None else self.native.command(rows)
        if command is not None:
            complete_at, vectors = yield from self._read_natively(command, instant, packed)
        else:
            complete_at, vectors = yield from self._read(rows, instant, packed)
        if self._on_demand is None:
            return OnlineVectors(self.view, rows, vectors, complete_at, instant)
        with computation(self.view, len(rows)):
            computed = yield from self._on_demand.steps(rows, vectors, given, instant, apart=self._partial)
        return OnlineVectors(
            self.view,
            rows,
            vectors,
            complete_at,
            instant,
            computed.values,
            computed.overflows,
            computed.failures,
            request=given,
        )

    def _read(self, rows: Sequence[Mapping[str, Any]], instant: int, packed: bool) -> _Parts:
        """Reads round after round: up to when each group is complete, and what it has for the rows."""
        view, width = self.view, len(self._freshness)
        answers: dict[str, StoredValue] = {}
        complete_at: list[int | None] = []
        read: dict[int, GroupVectors] = {}
        for number, round_ in enumerate(self._rounds):
            keyed = _with_features(rows, round_, read) if round_.lookups else rows
            entities = [entity_tags(columns, keyed) for columns in round_.keys]
            if number == 0 and self._vectors is not None:
                ask = _ask if view.is_plain else partial(_values, seconds=(), answers=answers)
                keys, values = yield from self._vectors.read({i: entities[of] for i, of in round_.groups}, ask)
            else:
                keys = [entities[of].keys(self._prefixes[i]) for i, of in round_.groups]
                asked = [key for part in keys for key in part]
                asked = [*self._freshness, *asked] if number == 0 else asked
                seconds = self._ages(number, round_, keys) if self._is_cached else ()
                plain = view.is_plain
                values = (yield GetValues(asked, seconds)) if plain else (yield from _values(asked, seconds, answers))
            start = 0
            if number == 0:
                start = width
                complete_at = self._complete_at(values[:start])
            for (i, of), part in zip(round_.groups, keys, strict=True):
                end = start + len(part)
                decoder = self._decoders[i]
                known = yield from _decoded(decoder, part, values[start:end], instant, packed)
                read[i] = GroupVectors(view.groups[i], known, entities[of].places, decoder.absent, values[start:end])
                start = end
        return complete_at, [read[i] for i in range(width)]

    def _read_natively(self, command: NativeCommand, instant: int, packed: bool) -> _Parts:
        """The same in one round, of keys that the native core has made."""
        (round_,) = self._rounds
        values = yield GetValues(command, packed=command.packed)
        places = [command.places(of) for of in range(len(round_.keys))]
        vectors = []
        start = len(self._freshness)
        for i, of in round_.groups:
            end = start + command.count(of)
            decoder, part = self._decoders[i], values[start:end]
            known = decoder.decode_natively(part, instant, packed=packed)
            if known is None:
                keys = [command[place] for place in range(start, end)]
                known = yield from _decoded(decoder, keys, part, instant, packed)
            vectors.append(GroupVectors(self.view.groups[i], known, places[of], decoder.absent, part))
            start = end
        return self._complete_at(values[: len(self._freshness)]), vectors

    def _complete_at(self, values: Sequence[StoredValue]) -> list[int | None]:
        return [_complete_at(value, key) for value, key in zip(values, self._freshness, strict=True)]

    def _ages(self, number: int, round_: _Round, keys: Sequence[Sequence[str]]) -> list[float]:
        """For each key that a round asks for how old its value may be, in seconds."""
        ages = [*self._seconds] if number == 0 else []
        for (i, _), part in zip(round_.groups, keys, strict=True):
            ages += [self._seconds[i]] * len(part)
        return ages

    @property
    def native_groups(self) -> list[tuple[NativeGroup, int]]:
        """What reads the values of each group, and its freshness (microseconds); empty if Python reads them."""
        groups = [(decoder.native, decoder.group.freshness) for decoder in self._decoders]
        return [(native, freshness) for native, freshness in groups if native is not None]

    def native_vectors(
        self, command: NativeCommand, values: Sequence[StoredValue], rows: Sequence[NativeRows]
    ) -> list[GroupVectors]:
        """The groups' parts of vectors that were read by a command: the values it gave, and of each group its rows."""
        (round_,) = self._rounds
        found = []
        start = len(self._freshness)
        for (i, of), of_group in zip(round_.groups, rows, strict=True):
            end = start + command.count(of)
            entities = cast("EntityRows", of_group)  # it has the same attributes
            absent = self._decoders[i].absent
            found.append(GroupVectors(self.view.groups[i], entities, command.places(of), absent, values[start:end]))
            start = end
        return found

    @property
    def is_copyable(self) -> bool:
        """Whether stored rows can be answered as they are: no value is a key of others, or enters a computation."""
        return len(self._rounds) == 1 and not self.view.on_demand

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


def _decoded(
    decoder: GroupDecoder, keys: Sequence[str], values: Sequence[StoredValue], instant: int, packed: bool
) -> Generator[GetLayouts, Any, EntityRows]:
    """What is stored of entities; looks up layouts that were not met before."""
    try:
        return decoder.decode(keys, values, instant, packed=packed)
    except UnknownLayout as met:
        return (yield from _learned(decoder, met, keys, values, instant))


def _learned(
    decoder: GroupDecoder, met: UnknownLayout, keys: Sequence[str], values: Sequence[StoredValue], instant: int
) -> Generator[GetLayouts, Any, EntityRows]:
    """What is stored of entities, after the layouts of their values were looked up."""
    while True:
        entries = yield GetLayouts(layouts_key(decoder.group))
        if entries is UNREACHABLE:  # nobody can say what the values mean
            return decoder.decode(keys, [UNREACHABLE] * len(keys), instant)
        decoder.learn(parse_layouts(decoder.group, entries), met)
        try:
            return decoder.decode(keys, values, instant)
        except UnknownLayout as another:
            met = another


def _ask(keys: Sequence[str]) -> Generator[GetValues, Any, Sequence[StoredValue]]:
    """The values under some keys."""
    found: Sequence[StoredValue] = yield GetValues(keys)
    return found


def _values(
    keys: Sequence[str], seconds: Sequence[float], answers: dict[str, StoredValue]
) -> Generator[GetValues, Any, Sequence[StoredValue]]:
    """The values under some keys, of a view that may come to a key twice: each is asked for once."""
    new = [key for key in dict.fromkeys(keys) if key not in answers]
    if new:
        ages = dict(zip(keys, seconds, strict=True)) if seconds else {}
        answers.update(zip(new, (yield GetValues(new, [*map(ages.__getitem__, new)] if ages else ())), strict=True))
    return [answers[key] for key in keys]


def _complete_at(value: StoredValue, key: str) -> int | None:
    if isinstance(value, bytes):
        try:
            return int(value.partition(b" ")[0])
        except ValueError:
            pass  # the parser says what is wrong
    updated = None if value is UNREACHABLE else parse_last_updated(value, key)
    return None if updated is None else updated.complete_at


def _round(view: ViewSchema, places: Sequence[int]) -> _Round:
    columns = [view.groups[i].keys for i in places]
    names = [tuple(column.name for column in keys) for keys in columns]
    sets = dict(zip(names, columns, strict=True))
    numbers = {of: i for i, of in enumerate(sets)}
    keys = {column.name for keys in columns for column in keys}
    lookups = (
        (feature.name, i, j)
        for i, viewed in enumerate(view.groups)
        for j, feature in enumerate(viewed.features)
        if feature.name in keys
    )
    return _Round(
        tuple(sets.values()),
        tuple((i, numbers[of]) for i, of in zip(places, names, strict=True)),
        tuple(lookups),
    )


def _with_features(
    rows: Sequence[Mapping[str, Any]], round_: _Round, read: Mapping[int, GroupVectors]
) -> list[dict[str, Any]]:
    """The rows with those features that are keys of a round."""
    columns = {name: read[group].column(feature) for name, group, feature in round_.lookups}
    found = (dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True))
    return [{**row, **features} for row, features in zip(rows, found, strict=True)]
