"""Stored values of one group to rows: those of many entities at once, as one view sees the group.

Values are read in batches of the same format, layout and number of tombstones, which their first four bytes tell:
nearly always one batch, whose rows are read by one call. What depends on the time (EXPIRED, forgotten) is looked at
row by row only where the oldest row of a batch is past its ttl.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from struct import Struct
from typing import Final, cast

import msgspec
from msgspec import Raw

from feature_store.compile.reference_expressions import evaluate
from feature_store.dtypes import Value
from feature_store.errors import StackError
from feature_store.online.codec import OFFSET, OLDEST, Codec, StoredRow, stored_form, unpack_header
from feature_store.online.layout import Layout, check_types, layout_of
from feature_store.online.native.core import NativeCore, NativeGroup, TypeNumbers, type_numbers
from feature_store.online.vectors import EntityRows, Status
from feature_store.online.writer import is_expired, is_forgotten
from feature_store.plan.schema import GroupSchema, ViewedSchema

_HEAD = 12
"""Bytes of a header, in every format: how a value is laid out (format, layout, tombstones), then feature_timestamp."""


_NIL = b"\xc0"
"""MessagePack's NULL; in a number or a text the byte means something else."""


class Unreachable(Enum):
    """In the place of a value whose node of Redis does not answer."""

    UNREACHABLE = "unreachable"


UNREACHABLE: Final = Unreachable.UNREACHABLE
StoredValue = bytes | None | Unreachable
_pack = msgspec.msgpack.Encoder().encode


class _Batch(msgspec.Struct, frozen=True):
    """Values of the same format, layout and number of tombstones.

    Attributes:
        places: of their entities among those that are read.
        keys: under which they are stored.
        layout: their layout's number.
        start: where their features begin.
        timestamps: the feature_timestamp of each, in microseconds.
    """

    places: Sequence[int]
    keys: Sequence[str]
    values: Sequence[bytes]
    layout: int
    start: int
    timestamps: Sequence[int]

    @classmethod
    def of(
        cls, places: Sequence[int], keys: Sequence[str], values: Sequence[bytes], timestamps: Sequence[int]
    ) -> _Batch:
        """Reads the rest of the headers.

        Raises:
            StackError: if a value has no header of a known format; it names the key.
        """
        layout, _, _, start = unpack_header(values[0], keys[0])
        if min(map(len, values)) < start:
            for value, key in zip(values, keys, strict=True):
                unpack_header(value, key)  # says which one it is
        return cls(places, keys, values, layout, start, timestamps)

    def may_lack_rows(self, ttl: int | None, now: int) -> bool:
        """Whether one of them has expired, or holds no row."""
        if ttl is not None and min(self.timestamps) + ttl < now:
            return True
        return min(map(len, self.values)) <= self.start

    def only(self, kept: Sequence[int]) -> _Batch:
        """Some of these values."""
        return _Batch(
            [self.places[i] for i in kept],
            [self.keys[i] for i in kept],
            [self.values[i] for i in kept],
            self.layout,
            self.start,
            [self.timestamps[i] for i in kept],
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

    def rows(self, batch: _Batch) -> list[StoredRow]:
        """The features of the definition."""
        rows = self.codec.decode_rows(batch.values, batch.start, batch.keys)
        if self.positions is None:
            return rows
        return [[None if place is None else row[place] for place in self.positions] for row in rows]

    def named(self, value: bytes, start: int, key: str) -> dict[str, Value]:
        """A stored row by the names of its features."""
        return dict(zip(self.names, self.codec.decode(value, start, key), strict=True))


class GroupDecoder:
    """Decodes the values of one group as one view sees them; keeps the layouts it has met.

    Args:
        core: reads what it can; None: Python reads everything.
    """

    def __init__(self, viewed: ViewedSchema, core: NativeCore | None = None) -> None:
        self.viewed = viewed
        self.group = group = viewed.group
        self.absent = tuple(stored_form(feature.dtype, feature.default) for feature in group.features)
        self._limited = [(i, f.overflow) for i, f in enumerate(group.features) if f.overflow is not None]
        self._fillable = [i for i, default in enumerate(self.absent) if default is not None]
        self._layouts: Mapping[int, _Known] = {}
        self.native = None if core is None else _native_group(core, group, self.absent)
        """Reads what it can; None: Python reads everything."""

    def learn(self, layouts: Mapping[int, Layout], met: UnknownLayout) -> None:
        """Takes all layouts of the group over, after a value had one that was not known.

        Raises:
            StackError: if that one is not among them.
            ConflictError: if one has a feature of the view under another type.
        """
        self._layouts = {number: _known(self.group, number, layout) for number, layout in layouts.items()}
        if self.native is not None:
            self.native.learn([_native_layout(self.group, *each) for each in layouts.items()])
        if met.number not in self._layouts:
            raise StackError(
                f"the stored value has layout {met.number}, which nobody registered",
                where=f"Redis key {met.key!r}",
                remedy="materialize the group again with full=True",
                code="unknown-layout",
            )

    def decode(
        self, keys: Sequence[str], values: Sequence[StoredValue], now: int, *, packed: bool = False
    ) -> EntityRows:
        """What is stored of some entities.

        Args:
            keys, values: of every entity its key and the value: None where there is none, UNREACHABLE if unknown.
            now: the instant at which rows must not have expired, in microseconds.
            packed: whether rows may be left as they are stored, for who only writes an answer: as `msgspec.Raw`, or as
                NativeRows where there is a native core.

        Raises:
            UnknownLayout: if a layout has to be looked up first.
            StackError: if a value cannot be read; it names the key.
        """
        if self.native is not None:
            native = self.decode_natively(values, now, packed=packed)
            if native is not None:
                return native
            packed = False  # the row that the native core cannot read is looked at
        batches = _batches(keys, values)
        if len(batches) == 1 and len(batches[0].places) == len(values):
            (batch,) = batches
            if not batch.may_lack_rows(self.group.ttl, now):
                rows, statuses, overflows = self._read(batch, packed)
                return EntityRows(rows, statuses, [*batch.timestamps], overflows)
        found = EntityRows([self.absent] * len(values), [*map(_status_without_value, values)], [None] * len(values), {})
        for batch in batches:
            usable = self._usable(batch, now, found)
            if usable.values:
                self._put(usable, found, packed)
        return found

    def decode_natively(self, values: Sequence[StoredValue], now: int, *, packed: bool) -> EntityRows | None:
        """The same by the native core; None if there is none, or it cannot read all of them."""
        native = None if self.native is None else self.native.decode(values, now)
        if native is None:
            return None
        overflows: dict[str, list[int]] = {}
        for place in native.suspects():
            batch = _Batch.of((place,), ("",), (cast("bytes", values[place]),), ())  # it was read: no error names a key
            known = self._layouts[batch.layout]
            noted: dict[str, list[int]] = {}
            self._note_overflows(known, batch, 0, known.rows(batch)[0], noted)
            for name in noted:
                overflows.setdefault(name, []).append(place)
        if not packed:
            return EntityRows([*native.decoded()], native.statuses, native.timestamps, overflows)
        if overflows:
            native.overflows = overflows
        return cast("EntityRows", native)  # it has the same attributes

    def _usable(self, batch: _Batch, now: int, found: EntityRows) -> _Batch:
        """The values with a usable row; notes the status of the others."""
        if not batch.may_lack_rows(self.group.ttl, now):
            return batch
        kept = []
        for i, place in enumerate(batch.places):
            value, timestamp = batch.values[i], batch.timestamps[i]
            if len(value) != batch.start and not is_expired(self.group, timestamp, now):
                kept.append(i)
                continue
            _, _, created, _ = unpack_header(value, batch.keys[i])
            if timestamp != OLDEST and not is_forgotten(self.group, timestamp, created, now):
                found.statuses[place] = Status.EXPIRED
                found.timestamps[place] = timestamp
        return batch.only(kept)

    def _put(self, batch: _Batch, found: EntityRows, packed: bool) -> None:
        """Reads usable rows and puts them where they belong."""
        rows, statuses, overflows = self._read(batch, packed)
        for i, place in enumerate(batch.places):
            found.rows[place], found.statuses[place] = rows[i], statuses[i]
            found.timestamps[place] = batch.timestamps[i]
        for name, places in overflows.items():
            found.overflows.setdefault(name, []).extend(batch.places[i] for i in places)

    def _read(self, batch: _Batch, packed: bool) -> tuple[list[StoredRow], list[Status], dict[str, list[int]]]:
        """Usable rows with their defaults filled in, the status of each, and where features do not fit 64 bits."""
        known = self._layouts.get(batch.layout)
        if known is None:
            raise UnknownLayout(batch.layout, batch.keys[0])
        statuses = [Status.PRESENT] * len(batch.values)
        overflows: dict[str, list[int]] = {}
        nulls_matter = bool(self._fillable or self._limited)
        if packed and known.positions is None:
            bodies = [value[batch.start :] for value in batch.values]
            rows = cast("list[StoredRow]", [*map(Raw, bodies)])  # who asked for them only writes them
            suspects = [i for i, body in enumerate(bodies) if _NIL in body] if nulls_matter else []
            with_nulls = [*zip(suspects, known.rows(batch.only(suspects)), strict=True)] if suspects else []
        else:
            rows = known.rows(batch)
            with_nulls = [(i, row) for i, row in enumerate(rows) if None in row] if nulls_matter else []
        for i, row in with_nulls:
            self._note_overflows(known, batch, i, row, overflows)
            if any(row[feature] is None for feature in self._fillable):
                rows[i] = [self.absent[j] if value is None else value for j, value in enumerate(row)]
                statuses[i] = Status.DEFAULTED
        return rows, statuses, overflows

    def _note_overflows(
        self, known: _Known, batch: _Batch, place: int, row: StoredRow, overflows: dict[str, list[int]]
    ) -> None:
        suspects = [(i, overflow) for i, overflow in self._limited if row[i] is None and known.has(i)]
        if suspects:
            stored = known.named(batch.values[place], batch.start, batch.keys[place])
            for i, overflow in suspects:
                if evaluate(overflow, stored):
                    overflows.setdefault(self.viewed.features[i].name, []).append(place)


def _native_group(core: NativeCore, group: GroupSchema, absent: StoredRow) -> NativeGroup:
    features = [
        (type_numbers(feature.dtype), _pack(default), default, feature.overflow is not None)
        for feature, default in zip(group.features, absent, strict=True)
    ]
    return core.Group(features, group.ttl, tuple(Status), UNREACHABLE, Raw)


def _native_layout(group: GroupSchema, number: int, layout: Layout) -> tuple[int, list[TypeNumbers], list[int], bool]:
    places = {feature.name: i for i, feature in enumerate(group.features)}
    types = [type_numbers(dtype) for _, dtype in layout]
    return number, types, [places.get(name, -1) for name, _ in layout], layout == layout_of(group)


def _status_without_value(value: StoredValue) -> Status:
    return Status.UNAVAILABLE if value is UNREACHABLE else Status.NOT_FOUND


def _batches(keys: Sequence[str], values: Sequence[StoredValue]) -> list[_Batch]:
    """The values that are there, alike ones together.

    Raises:
        StackError: if one has no header of a known format; it names the key.
    """
    if len(values) == 1 and isinstance(values[0], bytes):
        layout, timestamp, _, start = unpack_header(values[0], keys[0])
        return [_Batch((0,), keys, (values[0],), layout, start, (timestamp,))]
    complete = set(map(type, values)) == {bytes}
    present = cast("Sequence[bytes]", values) if complete else [value for value in values if isinstance(value, bytes)]
    if not present:
        return []
    kinds, timestamps = _heads(present, keys, values)
    alike = set(kinds)
    if len(alike) == 1 and complete:
        return [_Batch.of(range(len(values)), keys, present, timestamps)]
    places = [i for i, value in enumerate(values) if isinstance(value, bytes)]
    found = []
    for kind in alike:
        of_kind = [i for i, each in enumerate(kinds) if each == kind]
        found.append(
            _Batch.of(
                [places[i] for i in of_kind],
                [keys[places[i]] for i in of_kind],
                [present[i] for i in of_kind],
                [timestamps[i] for i in of_kind],
            )
        )
    return found


def _heads(
    present: Sequence[bytes], keys: Sequence[str], values: Sequence[StoredValue]
) -> tuple[Sequence[int], list[int]]:
    """Of every value that is there how it is laid out, as a number, and its feature_timestamp: all are read at once."""
    text = b"".join([value[:_HEAD] for value in present])
    if len(text) < _HEAD * len(present):
        for key, value in zip(keys, values, strict=True):
            if isinstance(value, bytes):
                unpack_header(value, key)  # says which one it is
    fields = _heads_of(len(present)).unpack(text)
    return fields[::2], [timestamp - OFFSET for timestamp in fields[1::2]]


@lru_cache(maxsize=1_024)
def _heads_of(count: int) -> Struct:
    """So many heads, one after the other."""
    return Struct(f">{'IQ' * count}")


def _known(group: GroupSchema, number: int, layout: Layout) -> _Known:
    check_types(group, layout)
    names = tuple(name for name, _ in layout)
    if layout == layout_of(group):
        return _Known(Codec(layout, number), None, names)
    places = {name: i for i, name in enumerate(names)}
    return _Known(Codec(layout, number), tuple(places.get(feature.name) for feature in group.features), names)
