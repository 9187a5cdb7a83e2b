"""Answers for registered models: the features that a version pins, in its order.

An order that is not the view's is made by Python: the native core writes group by group.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from feature_store.online.codec import StoredRow
from feature_store.online.native.core import NativeCore
from feature_store.online.packed import PackedAnswer
from feature_store.online.vectors import OnlineVectors
from feature_store.plan.schema import ViewSchema
from serving.rest.answers import AnswerWriter
from serving.rest.native_answers import Members, NativeAnswers


class ModelAnswerWriter(AnswerWriter):
    """Writes the answers of one view for a model.

    Args:
        chosen: the names of the features, in the model's order; None: all, in the view's.
        masked, core: as of `AnswerWriter`.

    Raises:
        InputError: if the view has no feature of a name.
    """

    def __init__(
        self, view: ViewSchema, chosen: Sequence[str] | None, masked: frozenset[str], core: NativeCore | None = None
    ) -> None:
        super().__init__(view, chosen, masked, core)
        names = self._names
        self._order = names if chosen is None else [*dict.fromkeys(chosen)]
        self._places: list[int] | None = None
        if self._order != names:
            self._places, self.native = [names.index(name) for name in self._order], None
            self._set_names(self._order, masked)
        elif core is not None and self.native is not None:
            of_groups = [part.names for part in self._stored]
            self.native = _NativeModelAnswers(core, view, of_groups, self._masked, self._order)

    def _in_order(self, rows: Sequence[StoredRow]) -> Sequence[StoredRow]:
        places = self._places
        return rows if places is None else [[row[place] for place in places] for row in rows]

    def _packed(self, vectors: OnlineVectors) -> PackedAnswer:
        return replace(super()._packed(vectors), order=self._order)


class _NativeModelAnswers(NativeAnswers):
    """The same by the native core; MessagePack says the order."""

    def __init__(
        self,
        core: NativeCore,
        view: ViewSchema,
        names: Sequence[Sequence[str]],
        masked: Sequence[str],
        order: Sequence[str],
    ) -> None:
        super().__init__(core, view, names, masked)
        self._order = order

    def _members_packed(self, overflows: Members) -> Members:
        return {**super()._members_packed(overflows), "order": self._order}
