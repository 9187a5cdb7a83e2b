"""Branches and tags of an Iceberg table: named snapshots, changed while others commit to the same table."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import Table, Transaction
from pyiceberg.table.snapshots import Snapshot
from pyiceberg.table.update.snapshot import ManageSnapshots

from feature_store.errors import NotFoundError

_ATTEMPTS = 10
_FIRST_WAIT, _LONGEST_WAIT = 0.02, 1.0


def commit(table: Table, change: Callable[[Transaction], None]) -> None:
    """Commits a change of a table's properties, branches or tags; again if somebody else committed at that moment.

    Raises:
        CommitFailedException: if that happens every time.
    """
    for attempt in range(_ATTEMPTS):
        try:
            with table.transaction() as transaction:
                change(transaction)
            return
        except CommitFailedException:
            if attempt == _ATTEMPTS - 1:
                raise
            time.sleep(min(_FIRST_WAIT * 2**attempt, _LONGEST_WAIT) * random.uniform(0.5, 1))
            table.refresh()


@contextmanager
def commit_once(table: Table) -> Iterator[Transaction]:
    """A transaction that fails where somebody else has committed meanwhile, also if it adds files.

    pyiceberg repeats such a commit by itself: it adds the files to what is there then, but sets the properties as they
    were made in view of the older metadata, and what others have noted there would be lost.

    Raises:
        CommitFailedException: if somebody else has committed.
    """
    with table.transaction() as transaction:
        yield transaction
        transaction._snapshot_producers.clear()  # noqa: SLF001 - without them it is not repeated


def tag_snapshot(table: Table, snapshot: int, tag: str) -> None:
    """Gives a snapshot a name, which keeps it until the tag is dropped."""
    commit(table, lambda transaction: ManageSnapshots(transaction).create_tag(snapshot, tag).commit())


def drop_tag(table: Table, tag: str) -> None:
    """Drops a tag, if the table has it."""
    if tag in table.refresh().metadata.refs:
        commit(table, lambda transaction: ManageSnapshots(transaction).remove_tag(tag).commit())


def snapshot_of(table: Table, wanted: int | str | None, where: str) -> Snapshot | None:
    """A snapshot by its id, or by the name of a tag or branch; None for None.

    Args:
        where: what an error is about.

    Raises:
        NotFoundError: if the table has no such snapshot.
    """
    if wanted is None:
        return None
    found = table.snapshot_by_id(wanted) if isinstance(wanted, int) else table.snapshot_by_name(wanted)
    if found is None:
        kind = "no snapshot" if isinstance(wanted, int) else "no tag or branch"
        raise NotFoundError(
            f"{'.'.join(table.name())} has {kind} {wanted} (any more)",
            where=where,
            remedy="leave the snapshot out to read the table as it is now",
            code="no-snapshot",
        )
    return found
