"""Stored values of one group to columns: many rows at once, as one view sees the group.

Values are decoded in batches of the same format, layout and number of tombstones, which their first four bytes tell:
nearly always one batch, whose rows are decoded by one call. What depends on the time (EXPIRED, forgotten) is looked at
row by row only where the oldest row of a batch is past its ttl.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from struct import unpack
from typing import Any, Final, NamedTuple

from feature_store.compile.reference_expressions import evaluate
from feature_store.dtypes import Value
from feature_store.errors import StackError
from feature_store.online.codec import (
    FORMAT,
    HEADER_SIZE,
    OFFSET,
    OLDEST,
    Codec,
    unpack_header,
    wire_round_trip,
)
from feature_store.online.layout import Layout, check_types, layout_of
from feature_store.online.vectors import Status
from feature_store.online.writer import is_expired, is_forgotten
from feature_store.plan.schema import GroupSchema, ViewedSchema

_ALIKE = 4
"""Bytes of a header that say how a value is laid out: format, layout, tombstones."""
_ORDER = slice(_ALIKE, HEADER_SIZE)


class Unreachable(Enum):
    """In the place of a value whose node of Redis does not answer."""

    UNREACHABLE = "unreachable"


UNREACHABLE: Final = Unreachable.UNREACHABLE
StoredValue = bytes | None | Unreachable


@dataclass
class EntityColumns:
    """What is known of some entities.

    Attributes:
        columns: per feature a value for each entity.
        statuses: of each entity.
        timestamps: of each entity the feature_timestamp of its newest row (microseconds); None where there is none.
        overflows: the places of entities on which a feature does not fit 64 bits, by what the view calls it.
    """

    columns: list[list[Value]]
    statuses: list[Status]
    timestamps: list[int | None]
    overflows: dict[str, list[int]]


class _Batch(NamedTuple):
    """Values of the same format, layout and number of tombstones.

    Attributes:
        places: of their entities among those that are decoded.
        keys: under which they are stored.
        layout: their layout's number.
        start: where their features begin.
        orders: feature and created timestamp of each in turn, as headers have them: microseconds + OFFSET.
    """

    places: Sequence[int]
    keys: Sequence[str]
    values: Sequence[bytes]
    layout: int
    start: int
    orders: Sequence[int]

    @classmethod
    def of(cls, places: Sequence[int], keys: Sequence[str], values: Sequence[bytes]) -> _Batch:
        """Reads the headers.

        Raises:
            StackError: if a value has no header of a known format; it names the key.
        """
        if values[0][:1] == bytes([FORMAT]) and min(map(len, values)) >= HEADER_SIZE:
            layout, _, _, start = unpack_header(values[0], keys[0])
            orders = unpack(f">{2 * len(values)}Q", b"".join([value[_ORDER] for value in values]))
            return cls(places, keys, values, layout, start, orders)
        headers = [unpack_header(value, key) for value, key in zip(values, keys, strict=True)]  # of an older format
        layout, _, _, start = headers[0]
        return cls(places, keys, values, layout, start, [t + OFFSET for header in headers for t in header[1:3]])

    @property
    def timestamps(self) -> list[int]:
        """Their feature timestamps, in microseconds."""
        return [order - OFFSET for order in self.orders[::2]]

    def may_lack_rows(self, ttl: int | None, now: int) -> bool:
        """Whether one of them has expired, or holds no row."""
        oldest = min(self.orders[::2]) - OFFSET
        return (ttl is not None and oldest + ttl < now) or min(map(len, self.values)) <= self.start

    def only(self, kept: Sequence[int]) -> _Batch:
        """Some of these values."""
        return _Batch(
            [self.places[i] for i in kept],
            [self.keys[i] for i in kept],
            [self.values[i] for i in kept],
            self.layout,
            self.start,
            [order for i in kept for order in self.orders[2 * i : 2 * i + 2]],
        )


class UnknownLayout(Exception):  # noqa: N818 - not an error: whoever decodes looks the layouts up and decodes again
    """A value of a layout that was not met before."""

    def __init__(self, number: int, key: str) -> None:
        self.number = number
        self.key = key


@dataclass(frozen=True)
class _Known:
    """A layout that can be decoded, and where it has each feature of the definition (None: nowhere).

    Without positions it is the layout of the definition itself.
    """

    codec: Codec
    positions: tuple[int | None, ...] | None
    names: tuple[str, ...]

    def has(self, feature: int) -> bool:
        """Whether values of the layout have a feature of the definition."""
        return self.positions is None or self.positions[feature] is not None

    def columns(self, batch: _Batch) -> list[list[Value]]:
        """The features of the definition."""
        stored = self.codec.decode_columns(batch.values, batch.start, batch.keys)
        if self.positions is None:
            return stored
        return [[None] * len(batch.values) if place is None else [*stored[place]] for place in self.positions]

    def named(self, value: bytes, start: int, key: str) -> dict[str, Value]:
        """A stored row by the names of its features."""
        return dict(zip(self.names, self.codec.decode(value, start, key), strict=True))


class GroupDecoder:
    """Decodes the values of one group as one view sees them; keeps the layouts it has met."""

    def __init__(self, viewed: ViewedSchema) -> None:
        self.viewed = viewed
        self.group = group = viewed.group
        self.defaults = [wire_round_trip(feature.dtype, feature.default) for feature in group.features]
        self._limited = [(i, f.overflow) for i, f in enumerate(group.features) if f.overflow is not None]
        self._fillable = [(i, default) for i, default in enumerate(self.defaults) if default is not None]
        self._layouts: Mapping[int, _Known] = {}

    def learn(self, layouts: Mapping[int, Layout], met: UnknownLayout) -> None:
        """Takes all layouts of the group over, after a value had one that was not known.

        Raises:
            StackError: if that one is not among them.
            ConflictError: if one has a feature of the view under another type.
        """
        self._layouts = {number: _known(self.group, number, layout) for number, layout in layouts.items()}
        if met.number not in self._layouts:
            raise StackError(
                f"the stored value has layout {met.number}, which nobody registered",
                where=f"Redis key {met.key!r}",
                remedy="materialize the group again with full=True",
                code="unknown-layout",
            )

    def decode(self, keys: Sequence[str], values: Sequence[StoredValue], now: int) -> EntityColumns:
        """What is stored of some entities.

        Args:
            keys, values: of every entity its key and the value: None where there is none, UNREACHABLE if unknown.
            now: the instant at which rows must not have expired, in microseconds.

        Raises:
            UnknownLayout: if a layout has to be looked up first.
            StackError: if a value cannot be read; it names the key.
        """
        size = len(values)
        statuses = [Status.NOT_FOUND] * size
        if UNREACHABLE in values:
            statuses = [Status.UNAVAILABLE if value is UNREACHABLE else Status.NOT_FOUND for value in values]
        found = EntityColumns([], statuses, [None] * size, {})
        for batch in _batches(keys, values):
            usable = self._usable(batch, now, found)
            if usable.values:
                self._decode_batch(usable, found)
        if not found.columns:
            found.columns = self._default_columns(size)
        return found

    def _usable(self, batch: _Batch, now: int, found: EntityColumns) -> _Batch:
        """The values with a usable row; notes the status of the others."""
        if not batch.may_lack_rows(self.group.ttl, now):
            return batch
        kept = []
        for i, place in enumerate(batch.places):
            timestamp, created = batch.orders[2 * i] - OFFSET, batch.orders[2 * i + 1] - OFFSET
            if len(batch.values[i]) != batch.start and not is_expired(self.group, timestamp, now):
                kept.append(i)
            elif timestamp != OLDEST and not is_forgotten(self.group, timestamp, created, now):
                found.statuses[place] = Status.EXPIRED
                found.timestamps[place] = timestamp
        return batch.only(kept)

    def _decode_batch(self, batch: _Batch, found: EntityColumns) -> None:
        """Decodes usable rows and puts them where they belong."""
        known = self._layouts.get(batch.layout)
        if known is None:
            raise UnknownLayout(batch.layout, batch.keys[0])
        columns = known.columns(batch)
        self._note_overflows(known, columns, batch, found)
        statuses = [Status.PRESENT] * len(batch.places)
        for i, default in self._fillable:
            if None in columns[i]:
                _fill(columns[i], default, statuses)
        if len(batch.places) == len(found.statuses):
            found.columns, found.statuses, found.timestamps = columns, statuses, [*batch.timestamps]
            return
        if not found.columns:
            found.columns = self._default_columns(len(found.statuses))
        for column, decoded in zip(found.columns, columns, strict=True):
            _put(column, batch.places, decoded)
        _put(found.statuses, batch.places, statuses)
        _put(found.timestamps, batch.places, batch.timestamps)

    def _note_overflows(
        self, known: _Known, columns: Sequence[Sequence[Value]], batch: _Batch, found: EntityColumns
    ) -> None:
        for i, overflow in self._limited:
            if None not in columns[i] or not known.has(i):
                continue
            for row, place in enumerate(batch.places):
                if columns[i][row] is None:
                    stored = known.named(batch.values[row], batch.start, batch.keys[row])
                    if evaluate(overflow, stored):
                        found.overflows.setdefault(self.viewed.features[i].name, []).append(place)

    def _default_columns(self, size: int) -> list[list[Value]]:
        return [[default] * size for default in self.defaults]


def _batches(keys: Sequence[str], values: Sequence[StoredValue]) -> Iterator[_Batch]:
    """The values that are there, alike ones together."""
    present = [value for value in values if isinstance(value, bytes)]
    kinds = {value[:_ALIKE] for value in present}
    if len(kinds) == 1 and len(present) == len(values):
        yield _Batch.of(range(len(values)), keys, present)
        return
    for kind in kinds:
        found = [(i, value) for i, value in enumerate(values) if isinstance(value, bytes) and value[:_ALIKE] == kind]
        yield _Batch.of([i for i, _ in found], [keys[i] for i, _ in found], [value for _, value in found])


def _fill(column: list[Value], default: Value, statuses: list[Status]) -> None:
    for row, value in enumerate(column):
        if value is None:
            column[row] = default
            statuses[row] = Status.DEFAULTED


def _put(column: list[Any], places: Iterable[int], values: Iterable[Any]) -> None:
    for place, value in zip(places, values, strict=True):
        column[place] = value


def _known(group: GroupSchema, number: int, layout: Layout) -> _Known:
    check_types(group, layout)
    names = tuple(name for name, _ in layout)
    if layout == layout_of(group):
        return _Known(Codec(layout, number), None, names)
    places = {name: i for i, name in enumerate(names)}
    return _Known(Codec(layout, number), tuple(places.get(feature.name) for feature in group.features), names)
