"""Answers that the native core writes, where the rows are its own; the members that are rare are written here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from feature_store.online.native.core import NativeCore
from feature_store.online.read.entities import KeyColumns
from feature_store.online.vectors import OnlineVectors
from feature_store.plan.schema import ViewSchema

_json = msgspec.json.Encoder().encode
_msgpack = msgspec.msgpack.Encoder().encode
Members = Mapping[str, Any]


class NativeAnswers:
    """Writes the answers of one view with certain features, if it has no on-demand features among them.

    Args:
        names: of each group the names of the features in an answer.
        masked: those whose values are withheld.
    """

    def __init__(
        self, core: NativeCore, view: ViewSchema, names: Sequence[Sequence[str]], masked: Sequence[str]
    ) -> None:
        self._keys = [key.name for key in view.keys]
        hidden = frozenset(masked)
        parts = []
        for viewed, chosen in zip(view.groups, names, strict=True):
            places = {feature.name: i for i, feature in enumerate(viewed.features)}
            picks = [(places[name], name in hidden, _json(name)) for name in chosen]
            is_whole = len(chosen) == len(viewed.features) and hidden.isdisjoint(chosen)
            parts.append((_json(viewed.id), _msgpack(viewed.id), _msgpack(chosen), is_whole, picks))
        features = _json([name for chosen in names for name in chosen])
        self.form = core.Form(_json(view.id), features, _msgpack(view.id), [*map(_json, self._keys)], parts)
        self._masked = [*masked]
        self._more = self._json_members({})

    def write(self, vectors: OnlineVectors, shape: str, overflows: Members) -> bytes | None:
        """An answer's body; None if the core cannot write it."""
        match shape:
            case "columns":
                return self._columns(vectors, overflows)
            case "records":
                return self._records(vectors, overflows)
            case "msgpack":
                return self._packed(vectors, overflows)
            case _:
                return None

    def usual_members(self, shape: str) -> tuple[bytes, int]:
        """The further members of an answer that has none that are rare, and how many."""
        members = self._members({})
        return self._packed_members(members) if shape == "msgpack" else self._more, len(members)

    def _columns(self, vectors: OnlineVectors, overflows: Members) -> bytes | None:
        more = self._json_members(overflows) if overflows else self._more
        return self.form.columns(vectors.instant, len(vectors), _parts(vectors), more)

    def _records(self, vectors: OnlineVectors, overflows: Members) -> bytes | None:
        if overflows:
            return None  # each record has its own
        rows = vectors.rows
        if isinstance(rows, KeyColumns):
            keys = [rows.columns[key] for key in self._keys]
        else:
            keys = [[row[key] for row in rows] for key in self._keys]
        return self.form.records(vectors.instant, len(vectors), _parts(vectors), self._more, keys)

    def _packed(self, vectors: OnlineVectors, overflows: Members) -> bytes | None:
        members = self._members_packed(overflows)
        more = self._packed_members(members)
        return self.form.packed(vectors.instant, len(vectors), _parts(vectors), more, len(members))

    def _packed_members(self, members: Members) -> bytes:
        return b"".join(_msgpack(name) + _msgpack(value) for name, value in members.items())

    def _json_members(self, overflows: Members) -> bytes:
        members = self._members(overflows)
        return b"".join(b',"%b":%b' % (name.encode(), _json(value)) for name, value in members.items())

    def _members_packed(self, overflows: Members) -> Members:
        """Those of MessagePack."""
        return self._members(overflows)

    def _members(self, overflows: Members) -> Members:
        """The members that most answers do not have."""
        found: dict[str, Any] = {}
        if overflows:
            found["overflowed"] = overflows
        if self._masked:
            found["masked"] = self._masked
        return found


def _parts(vectors: OnlineVectors) -> list[tuple[Any, Sequence[int] | None, bool, int | None]]:
    return [
        (part.entities.rows, part.places, vectors.is_stale(i), vectors.complete_at[i])
        for i, part in enumerate(vectors.groups)
    ]
