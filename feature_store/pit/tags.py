"""Tags of training datasets: they keep the snapshots that a dataset has read, for as long as there is the dataset."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta

from pyiceberg.table import Table

from feature_store.datasets.storage import Folder, is_dataset
from feature_store.offline.refs import drop_tag, tag_snapshot
from feature_store.pit.planning import GroupPlan

LONGEST_BUILD = timedelta(days=3)
"""A dataset that is not there so long after its build began will not come any more: its process has ended."""

_TAG = re.compile(r"training-(?P<name>.+)-(?P<id>(?P<begun>\d{8}T\d{6}Z)-[0-9a-f]{8})")


def tag_of(name: str, dataset_id: str) -> str:
    """The tag of the snapshots that a dataset reads, in each group's table."""
    return f"training-{name}-{dataset_id}"


@contextmanager
def tagged(tables: Mapping[str, Table], plans: Sequence[GroupPlan], tag: str) -> Iterator[None]:
    """Tags the snapshots that a dataset reads, so that they are never expired; not if the dataset fails."""
    read = {plan.group.id: plan.snapshot_id for plan in plans if plan.snapshot_id is not None}
    try:
        for group, snapshot in read.items():
            tag_snapshot(tables[group], snapshot, tag)
        yield
    except BaseException:
        for group in read:
            with suppress(Exception):  # what has failed is told; a tag that stays is swept
                drop_tag(tables[group], tag)
        raise


def sweep_tags(table: Table, datasets: Folder, recorded: Collection[str], now: datetime) -> list[str]:
    """Drops the tags that killed builds have left in a group's table, and gives their names.

    Those are the tags of builds that began longer ago than any takes and whose dataset is neither recorded nor stored.

    Args:
        datasets: where datasets are stored, as `<name>/<id>/`.
        recorded: the ids of the datasets that the registry knows.
    """
    dropped = []
    for tag in list(table.refresh().metadata.refs):
        match = _TAG.fullmatch(tag)
        if match is None or match["id"] in recorded or _begun(match["begun"]) >= now - LONGEST_BUILD:
            continue
        if not is_dataset(datasets.inside(match["name"], match["id"])):
            drop_tag(table, tag)
            dropped.append(tag)
    return dropped


def sweep_unfinished(datasets: Folder, now: datetime) -> list[str]:
    """Removes the folders that killed builds have left, and gives their URLs."""
    removed = []
    for folder in (each for named in datasets.folders() for each in named.folders()):
        match = _TAG.fullmatch(tag_of(folder.parent.name, folder.name.removeprefix(".")))
        if match is None or _begun(match["begun"]) >= now - LONGEST_BUILD:
            continue
        if folder.name.startswith(".") or not is_dataset(folder):
            folder.remove()
            removed.append(folder.url)
    return removed


def _begun(text: str) -> datetime:
    return datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
