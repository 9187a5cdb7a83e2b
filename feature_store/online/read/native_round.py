"""The command of a view whose groups are all keyed by what a reader gives, made by the native core."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from feature_store.online.native.core import NativeCommand, NativeCore, type_numbers
from feature_store.online.read.entities import KeyColumns
from feature_store.plan.schema import Column


class NativeRound:
    """Makes the commands of one view.

    Args:
        freshness: the keys that are read before those of entities.
        keys: the sets of key columns.
        groups: of each group the prefix of its keys, and the place of its key columns in `keys`.
    """

    def __init__(
        self,
        core: NativeCore,
        freshness: Sequence[str],
        keys: Sequence[Sequence[Column]],
        groups: Sequence[tuple[str, int]],
    ) -> None:
        types = [[type_numbers(column.dtype) for column in columns] for columns in keys]
        prefixes = [(prefix.encode(), of) for prefix, of in groups]
        self.names = [[column.name for column in columns] for columns in keys]
        """Of the sets of key columns."""
        self.form = core.CommandForm([key.encode() for key in freshness], types, prefixes)

    def command(self, rows: Sequence[Mapping[str, Any]]) -> NativeCommand | None:
        """The command; None if Python has to look at the keys: one is missing, of another type, or an instant."""
        try:
            if isinstance(rows, KeyColumns):
                given = rows.columns
                columns = [[given[name] for name in names] for names in self.names]
            else:
                columns = [[[row[name] for row in rows] for name in names] for names in self.names]
        except KeyError:
            return None
        return self.form.command(columns, len(rows))
