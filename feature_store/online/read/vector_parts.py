"""Reading pre-joined views: vectors in place of the values of groups, where they are complete.

A set's `last_updated` comes with its vectors. Where it is there, vectors say what the values of the groups say, and it
says what their `last_updated` keys say (vector_sets.py has the reasons). Where it is not, the groups are read, as those
of any view: at once if that was so at the last read, else in a second round trip. In a cluster it says which vectors
can be taken (cluster_sets.py); of entities without one the groups are read in a second round trip.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from itertools import chain, islice
from typing import Any, NamedTuple, TypeVar

import msgspec

from feature_store.errors import StackError
from feature_store.online.native.core import NativeCore
from feature_store.online.read.decoding import UNREACHABLE, StoredValue
from feature_store.online.read.entities import EntityTags
from feature_store.online.vector_sets import vector_set
from feature_store.plan.schema import ViewSchema

Ask = Callable[[Sequence[str]], Generator[Any, Any, Sequence[StoredValue]]]
"""Asks for the values under some keys."""
Part = bytes | None
T = TypeVar("T")

_ARRAY_32 = b"\xdd"  # MessagePack: an array whose length is a u32
_PARTS_IN_CLUSTER = 2
"""Of a set's `last_updated` in a cluster: the ids of its groups and its token; on one node it has more."""
_decode_summary = msgspec.msgpack.Decoder(list[Part]).decode


class _Found(msgspec.Struct, frozen=True):
    """What was found of groups, by their places in the view: `last_updated`, where values are, and these values."""

    freshness: list[StoredValue]
    keys: dict[int, Sequence[str]]
    values: dict[int, Sequence[StoredValue]]


class _Said(NamedTuple):
    """What a set's `last_updated` says of its vectors.

    Attributes:
        freshness: on one node, of each group, in order of the parts, its `last_updated`; vectors are complete.
        token: in a cluster, what vectors begin with; None on one node.
    """

    freshness: Sequence[StoredValue] = ()
    token: bytes | None = None

    @property
    def is_of_cluster(self) -> bool:
        return self.token is not None


class _Set:
    """A set of the view; keeps in mind what its `last_updated` said, as it nearly always says the same."""

    def __init__(self, view: ViewSchema, places: Sequence[int], core: NativeCore | None = None) -> None:
        kept = vector_set(view, places)
        self._core = core
        self.places = places
        self.parts = [kept.groups.index(view.groups[i].group.id) for i in places]
        self.width = len(kept.groups)
        vector: Any = tuple[(Part,) * self.width]  # type: ignore[misc]
        self._decode = msgspec.msgpack.Decoder(vector).decode
        self._decode_all = msgspec.msgpack.Decoder(list[vector]).decode
        self.key = kept.last_updated_key
        self.prefix = kept.prefix
        self._ids = kept.ids.encode()
        self._last: tuple[StoredValue, _Said | None] = (None, None)

    def said(self, value: StoredValue) -> _Said | None:
        """What `last_updated` says; None if there are no vectors to be read.

        Raises:
            StackError: if somebody else wrote the key.
        """
        known, said = self._last
        if value != known:
            parts = [] if not isinstance(value, bytes) else _decoded(_decode_summary, value, self.key)
            said = None
            if parts[:1] == [self._ids] and len(parts) == self.width + 1:
                said = _Said(parts[1:])
            elif parts[:1] == [self._ids] and len(parts) == _PARTS_IN_CLUSTER and parts[1] is not None:
                said = _Said(token=parts[1])
            self._last = value, said
        return said

    def columns(self, vectors: Sequence[StoredValue], keys: Sequence[str]) -> Sequence[Sequence[StoredValue]]:
        """The parts of vectors, those of each group together.

        Raises:
            StackError: if one is no vector of the set; it names the key.
        """
        split = None if self._core is None else self._core.split_vectors(vectors, self.width, None)
        if split is not None:
            return split[0]
        if len(vectors) == 1 and isinstance(vectors[0], bytes):
            return [(part,) for part in _decoded(self._decode, vectors[0], keys[0])]
        present = [vector for vector in vectors if isinstance(vector, bytes)]
        try:
            rows: list[Any] = self._decode_all(b"".join([_ARRAY_32, len(present).to_bytes(4, "big"), *present]))
        except ValueError as error:
            for key, vector in zip(keys, vectors, strict=True):
                if isinstance(vector, bytes):
                    _decoded(self._decode, vector, key)  # says which one it is
            raise AssertionError("each vector can be read, and not all of them") from error
        if len(present) < len(vectors):
            found = iter(rows)
            rows = [next(found) if isinstance(vector, bytes) else [vector] * self.width for vector in vectors]
        return [*zip(*rows, strict=True)] if rows else [()] * self.width

    def columns_with(
        self, token: bytes, vectors: Sequence[StoredValue], keys: Sequence[str]
    ) -> tuple[Sequence[Sequence[StoredValue]], Sequence[int]]:
        """The same of a cluster: the parts of vectors that begin with a token, and the places of the others, which say
        nothing.

        Raises:
            StackError: as `columns`.
        """
        split = None if self._core is None else self._core.split_vectors(vectors, self.width, token)
        if split is not None:
            return split
        rows: list[Sequence[StoredValue]] = []
        others: list[int] = []
        for i, (vector, key) in enumerate(zip(vectors, keys, strict=True)):
            if vector is UNREACHABLE:
                rows.append([UNREACHABLE] * self.width)
                continue
            parts = [] if vector is None else _decoded(_decode_summary, vector, key)
            if parts[:1] == [token] and len(parts) == self.width + 1:
                rows.append(parts[1:])
            else:
                rows.append([None] * self.width)
                others.append(i)
        return [[row[part] for row in rows] for part in range(self.width)], others


class VectorParts:
    """The first round of reads of a pre-joined view; keeps in mind which vectors can be read.

    Args:
        view: with `prejoin`.
        freshness: the keys of the `last_updated` of its groups.
        prefixes: what the keys of the groups' values begin with.
        core: takes vectors apart; None: Python does.
    """

    def __init__(
        self, view: ViewSchema, freshness: Sequence[str], prefixes: Sequence[str], core: NativeCore | None = None
    ) -> None:
        self._freshness = freshness
        self._prefixes = prefixes
        self._sets = tuple(_Set(view, places, core) for places in view.prejoined)
        self._state = self._reading([None] * len(self._sets))

    def read(
        self, tags: Mapping[int, EntityTags], ask: Ask
    ) -> Generator[Any, Any, tuple[list[Sequence[str]], Sequence[StoredValue]]]:
        """Reads the groups of the round: of each where the values of its entities are; then `last_updated` of all
        groups of the view and the values of these groups, one after the other.

        Args:
            tags: of each group, by its place in the view, the entities that are read.

        Raises:
            StackError: if a vector cannot be read; it names the key.
        """
        joined, alone = self._state
        found = _Found([None] * len(self._freshness), dict.fromkeys(tags, ()), {})
        asked = [each.key for each in self._sets]
        vectors: list[list[str]] = []
        for each, before in zip(self._sets, joined, strict=True):
            vectors.append([] if before is None else tags[each.places[0]].keys(each.prefix))
            asked += vectors[-1]
            if before is not None and before.is_of_cluster:
                asked += [self._freshness[i] for i in each.places]
        answer = yield from self._read_groups(alone, tags, ask, asked, found)
        rest = iter(answer[len(vectors) :])
        state: list[_Said | None] = []
        lacking: dict[int, Sequence[int] | None] = {}
        for each, before, keys, head in zip(self._sets, joined, vectors, answer, strict=False):
            said = before if head is UNREACHABLE else each.said(head)
            state.append(said)
            if before is not None:
                stored = [*islice(rest, len(keys))]
                freshness = [*islice(rest, len(each.places))] if before.is_of_cluster else []
                is_same = said is not None and said.is_of_cluster == before.is_of_cluster
                lacking |= self._taken(each, said if is_same else None, head, keys, stored, freshness, found)
        if state != joined:
            self._state = self._reading(state)
        if lacking:
            yield from self._read_lacking(lacking, tags, ask, found)
        return [*found.keys.values()], [*found.freshness, *chain.from_iterable([found.values[i] for i in tags])]

    def _taken(
        self,
        each: _Set,
        said: _Said | None,
        head: StoredValue,
        keys: Sequence[str],
        stored: Sequence[StoredValue],
        freshness: Sequence[StoredValue],
        found: _Found,
    ) -> Mapping[int, Sequence[int] | None]:
        """Notes what vectors say; gives the places of groups of which they say nothing, or only of some entities."""
        columns: Sequence[Sequence[StoredValue]]
        others: Sequence[int] | None = None
        if said is None or (said.is_of_cluster and head is UNREACHABLE):
            return dict.fromkeys(each.places, others)
        if said.token is not None:
            columns, others = each.columns_with(said.token, stored, keys)
        elif head is UNREACHABLE:  # it is on the same node
            freshness, columns = [head] * len(each.places), each.columns([head] * len(keys), keys)
        else:
            freshness, columns = [said.freshness[part] for part in each.parts], each.columns(stored, keys)
        for place, part, fresh in zip(each.places, each.parts, freshness, strict=True):
            found.freshness[place] = fresh
            found.keys[place], found.values[place] = keys, columns[part]
        return dict.fromkeys(each.places, others) if others else {}

    def _reading(self, joined: Sequence[_Said | None]) -> tuple[Sequence[_Said | None], Sequence[int]]:
        """What the vectors are that are read, and the places of the other groups."""
        places = {i for each, said in zip(self._sets, joined, strict=True) if said is not None for i in each.places}
        return joined, [i for i in range(len(self._freshness)) if i not in places]

    def _read_lacking(
        self, lacking: Mapping[int, Sequence[int] | None], tags: Mapping[int, EntityTags], ask: Ask, found: _Found
    ) -> Generator[Any, Any, None]:
        """Reads groups of which vectors say nothing; of those with places only these entities."""
        some = {i: places for i, places in lacking.items() if places is not None}
        asked: list[str] = []
        for i, places in some.items():
            of_group = tags[i].keys(self._prefixes[i])
            keys = [*found.keys[i]]
            for place in places:
                keys[place] = of_group[place]
                asked.append(of_group[place])
            found.keys[i] = keys
        whole = [i for i in lacking if i not in some]
        answer = iter((yield from self._read_groups(whole, tags, ask, asked, found)))
        for i, places in some.items():
            values = [*found.values[i]]
            for place in places:
                values[place] = next(answer)
            found.values[i] = values

    def _read_groups(
        self, places: Sequence[int], tags: Mapping[int, EntityTags], ask: Ask, more: Sequence[str], found: _Found
    ) -> Generator[Any, Any, Sequence[StoredValue]]:
        """Reads some groups by themselves and notes what it finds; gives the answer, which begins with more keys."""
        if not places:
            return (yield from ask(more))
        asked = {i: tags[i].keys(self._prefixes[i]) for i in places if i in tags}
        answer = yield from ask([*more, *(self._freshness[i] for i in places), *chain.from_iterable(asked.values())])
        start = len(more)
        for i in places:
            found.freshness[i] = answer[start]
            start += 1
        for i, of_group in asked.items():
            found.keys[i], found.values[i] = of_group, answer[start : start + len(of_group)]
            start += len(of_group)
        return answer


def _decoded(decode: Callable[[bytes], T], value: bytes, key: str) -> T:
    """What a vector holds.

    Raises:
        StackError: if it is none of the set.
    """
    try:
        return decode(value)
    except ValueError as error:
        raise StackError(
            f"the vector cannot be read: {error}",
            where=f"Redis key {key!r}",
            remedy="materialize one of its groups again with full=True",
            code="unreadable-value",
        ) from None
