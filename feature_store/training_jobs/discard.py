"""Removing a dataset that nobody will hear of: its job was cancelled, or somebody else has made it."""

from __future__ import annotations

from contextlib import suppress

from pyiceberg.catalog import Catalog

from feature_store.offline.refs import drop_tag
from feature_store.pit.dataset import TrainingDataset


def discard_dataset(made: TrainingDataset, catalog: Catalog) -> None:
    """Removes the files of a dataset, and the tags that keep the snapshots it was made from."""
    with suppress(OSError):  # maintenance removes what is left
        made.folder.remove()
    for viewed in made.view.groups:
        if made.snapshots.get(viewed.group.id) is not None:
            drop_tag(catalog.load_table(viewed.group.table), made.tag)
