"""Tags of training datasets: they keep the snapshots that a dataset has read, for as long as there is the dataset."""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pyiceberg.table import Table

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
            drop_tag(tables[group], tag)
        raise


def sweep_tags(table: Table, folder: Path, recorded: Collection[str], now: datetime) -> list[str]:
    """Drops the tags that killed builds have left in a group's table, and gives their names.

    Those are the tags of builds that began longer ago than any takes and whose dataset is neither recorded nor stored.

    Args:
        folder: where datasets are stored, as `<name>/<id>/`.
        recorded: the ids of the datasets that the registry knows.
    """
    found = []
    for tag in list(table.refresh().metadata.refs):
        match = _TAG.fullmatch(tag)
        if match is None or match["id"] in recorded or (folder / match["name"] / match["id"]).is_dir():
            continue
        if _begun(match["begun"]) < now - LONGEST_BUILD:
            drop_tag(table, tag)
            found.append(tag)
    return found


def sweep_unfinished(folder: Path, now: datetime) -> list[Path]:
    """Removes the folders that killed builds have left, and gives their paths."""
    found = []
    for path in folder.glob("*/.*Z-*"):
        match = _TAG.fullmatch(tag_of(path.parent.name, path.name.removeprefix(".")))
        if match is not None and _begun(match["begun"]) < now - LONGEST_BUILD:
            shutil.rmtree(path, ignore_errors=True)
            found.append(path)
    return found


def _begun(text: str) -> datetime:
    return datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
