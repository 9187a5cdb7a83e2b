"""A training dataset made again: the same labels and the same snapshots, by the definitions of then."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from feature_store.datasets.dataset import StoredDataset
from feature_store.errors import ConflictError, InputError
from feature_store.pit.label_sources import LabelQuery, LabelSource, LabelTable
from feature_store.pit.semantics import KnownBy
from feature_store.plan.schema import ViewSchema

if TYPE_CHECKING:
    from feature_store.pit.time_range import TimeRange


@dataclass(frozen=True)
class Repetition:
    """What a dataset that is like another one is made of."""

    view: ViewSchema
    labels: LabelSource | LabelTable | LabelQuery | TimeRange
    snapshots: dict[str, int | None]
    known_by: KnownBy


def repeat(
    like: StoredDataset,
    view: ViewSchema,
    labels: LabelSource | LabelTable | LabelQuery | TimeRange | None,
    known_by: KnownBy,
    snapshots: Mapping[str, int | None] | None,
    packages: Collection[str],
) -> Repetition:
    """What a dataset was made of.

    Args:
        view: used only where the manifest has no definition; it has to be the same one by its id.
        labels: where they are; the ones that are stored in the dataset unless given.
        packages: those that functions of on-demand features may be imported from.

    Raises:
        InputError: if something else is asked for than it was made of.
        DefinitionErrors: if a function of an on-demand feature is gone, or says something else than then.
    """
    asked = {"view": view.id, "known_by": known_by, "snapshots": None if snapshots is None else dict(snapshots)}
    made = {"view": like.view_id, "known_by": like.known_by, "snapshots": like.snapshots}
    for where, value in asked.items():
        if value is not None and value != made[where]:
            raise InputError(
                f"{like.name} {like.id} was made of {made[where]}, not of {value}",
                where=where,
                remedy="leave it out, or leave like= out",
                code="like",
            )
    return Repetition(
        view=like.recorded_view(packages) if like.manifest.definitions else view,
        labels=like.labels() if labels is None else labels,
        snapshots=like.snapshots,
        known_by=cast("KnownBy", like.known_by),
    )


def check_labels(like: StoredDataset, labels_hash: str) -> None:
    """Refuses other labels than those of a dataset.

    Raises:
        ConflictError: if they are others.
    """
    if labels_hash != like.labels_hash:
        raise ConflictError(
            f"they are not those of {like.name} {like.id}: their hash is {labels_hash}, and was {like.labels_hash}",
            where="labels",
            remedy="give the same rows in the same order, or none: the dataset has them; for others leave like= out",
            code="labels-changed",
        )
