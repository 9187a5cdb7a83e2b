"""Reading pre-joined views: vectors in place of the values of groups, where they are complete.

A set's `last_updated` comes with its vectors. Where it is there, vectors say what the values of the groups say, and it
says what their `last_updated` keys say (vector_sets.py has the reasons). Where it is not, the groups are read, as those
of any view: at once if that was so at the last read, else in a second round trip.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from itertools import chain
from typing import Any, TypeVar

import msgspec

from feature_store.errors import StackError
from feature_store.online.read.decoding import UNREACHABLE, StoredValue
from feature_store.online.read.entities import EntityTags
from feature_store.online.vector_sets import vector_set
from feature_store.plan.schema import ViewSchema

Ask = Callable[[Sequence[str]], Generator[Any, Any, Sequence[StoredValue]]]
"""Asks for the values under some keys."""
Part = bytes | None
T = TypeVar("T")

_ARRAY_32 = b"\xdd"  # MessagePack: an array whose length is a u32
_decode_summary = msgspec.msgpack.Decoder(list[Part]).decode


class _Found(msgspec.Struct, frozen=True):
    """What was found of groups, by their places in the view: `last_updated`, where values are, and these values."""

    freshness: list[StoredValue]
    keys: dict[int, Sequence[str]]
    values: dict[int, Sequence[StoredValue]]


class _Set:
    """A set of the view; keeps in mind what its `last_updated` said, as it nearly always says the same."""

    def __init__(self, view: ViewSchema, places: Sequence[int]) -> None:
        kept = vector_set(view, places)
        self.places = places
        self.parts = [kept.groups.index(view.groups[i].group.id) for i in places]
        self.width = len(kept.groups)
        vector: Any = tuple[(Part,) * self.width]  # type: ignore[misc]
        self._decode = msgspec.msgpack.Decoder(vector).decode
        self._decode_all = msgspec.msgpack.Decoder(list[vector]).decode
        self.key = kept.last_updated_key
        self.prefix = kept.prefix
        self._ids = kept.ids.encode()
        self._said: tuple[StoredValue, Sequence[StoredValue] | None] = (None, None)

    def freshness(self, value: StoredValue) -> Sequence[StoredValue] | None:
        """Of each group, in order of the parts, its `last_updated`; None if the vectors are not complete.

        Raises:
            StackError: if somebody else wrote the key.
        """
        if value is UNREACHABLE:
            return [UNREACHABLE] * self.width
        known, said = self._said
        if value != known:
            parts = [] if value is None else _decoded(_decode_summary, value, self.key)
            said = parts[1:] if parts[:1] == [self._ids] and len(parts) == self.width + 1 else None
            self._said = value, said
        return said

    def columns(self, vectors: Sequence[StoredValue], keys: Sequence[str]) -> Sequence[Sequence[StoredValue]]:
        """The parts of vectors, those of each group together.

        Raises:
            StackError: if one is no vector of the set; it names the key.
        """
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


class VectorParts:
    """The first round of reads of a pre-joined view; keeps in mind which vectors are complete.

    Args:
        view: with `prejoin`.
        freshness: the keys of the `last_updated` of its groups.
        prefixes: what the keys of the groups' values begin with.
    """

    def __init__(self, view: ViewSchema, freshness: Sequence[str], prefixes: Sequence[str]) -> None:
        self._freshness = freshness
        self._prefixes = prefixes
        self._sets = tuple(_Set(view, places) for places in view.prejoined)
        self._state = self._reading([False] * len(self._sets))

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
        for each, is_joined in zip(self._sets, joined, strict=True):
            vectors.append(tags[each.places[0]].keys(each.prefix) if is_joined else [])
            asked += vectors[-1]
        start = len(vectors)
        answer = yield from self._read_groups(alone, tags, ask, asked, found)
        complete: list[bool] = []
        lacking: list[int] = []
        for each, is_joined, of_set, head in zip(self._sets, joined, vectors, answer, strict=False):
            said = each.freshness(head)
            if is_joined and said is None:
                lacking += each.places
            elif is_joined and said is not None:
                stored = answer[start : start + len(of_set)] if head is not UNREACHABLE else [head] * len(of_set)
                columns = each.columns(stored, of_set)
                for place, part in zip(each.places, each.parts, strict=True):
                    found.freshness[place] = said[part]
                    found.keys[place], found.values[place] = of_set, columns[part]
            complete.append(is_joined if head is UNREACHABLE else said is not None)
            start += len(of_set)
        if complete != joined:
            self._state = self._reading(complete)
        if lacking:
            yield from self._read_groups(lacking, tags, ask, [], found)
        return [*found.keys.values()], [*found.freshness, *chain.from_iterable([found.values[i] for i in tags])]

    def _reading(self, joined: Sequence[bool]) -> tuple[Sequence[bool], Sequence[int]]:
        """Of which sets vectors are read, and the places of the other groups."""
        places = {i for each, is_joined in zip(self._sets, joined, strict=True) if is_joined for i in each.places}
        return joined, [i for i in range(len(self._freshness)) if i not in places]

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
