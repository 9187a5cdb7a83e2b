"""The manifest of a training dataset: what was made, of what, by which definitions, and what its features look like."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import msgspec

from feature_store.errors import InputError

MANIFEST = "manifest.json"
"""The name of its file, which is written last: a folder without it is no dataset."""

FORMAT = 1
"""The number of this form of manifests; others of the same number may have more fields."""

Scalar = int | float | str | bool


class TopValue(msgspec.Struct, frozen=True):
    """A value and how many rows have it."""

    value: Scalar
    count: int


class FeatureStatistics(msgspec.Struct, frozen=True, omit_defaults=True):
    """A feature over all rows of a dataset, defaults filled in.

    Attributes:
        nulls: rows without a value.
        minimum, maximum: of numbers and, as ISO text, of instants.
        mean, stddev: of numbers; stddev is that of the sample. None where they are not finite.
        distinct: how many different values there are; exact up to 1,000, then to about 3 %.
        top: the most frequent texts or truth values; exact of up to 100 of them, otherwise so many rows or more.
    """

    nulls: int
    minimum: Scalar | None = None
    maximum: Scalar | None = None
    mean: float | None = None
    stddev: float | None = None
    distinct: int | None = None
    top: tuple[TopValue, ...] = ()


class DatasetColumn(msgspec.Struct, frozen=True, omit_defaults=True):
    """A column of the files.

    Attributes:
        dtype: of a feature the type of its definition, such as "EMBEDDING(8)"; of a label's column that of Arrow.
        role: "label" came with the labels, "feature" was joined, "on_demand" was computed from both.
    """

    name: str
    dtype: str
    role: Literal["label", "feature", "on_demand"]


class DatasetFile(msgspec.Struct, frozen=True):
    """A Parquet file of a dataset; `size` is in bytes."""

    name: str
    rows: int
    size: int


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """How a training dataset was made: enough to read it, and to make it again.

    Attributes:
        view: the id of the view.
        definitions: the view as JSON, with its groups, their entities and sources: one, or none where it was not known.
        snapshots: the snapshot of each group's table that was read, by group id; None: nothing was written to it yet.
        tag: the tag of these snapshots in the groups' tables, which keeps them.
        labels_hash: hash of the label rows.
        rows: how many there are, as many as there were labels.
        null_rates: by feature, the share of labels that found no value, or NULL; they hold the default if there is one.
            Of an on-demand feature, the share for which it gave NULL.
        masked: the features that are NULL on all rows, because whoever asked must not see them.
        longest_window: of the view's features, in microseconds; None where it is not known (`windows.longest_window`).
        requested_by: who asked; empty where that was not said.
        code_version: of the feature store.
        seconds: how long it took, from reading the labels to the stored result.
    """

    format: int = FORMAT
    name: str
    id: str
    view: str
    definitions: tuple[dict[str, Any], ...]
    columns: tuple[DatasetColumn, ...]
    snapshots: dict[str, int | None]
    tag: str
    labels_hash: str
    known_by: Literal["label"] | None
    engine: str
    rows: int
    files: tuple[DatasetFile, ...]
    null_rates: dict[str, float]
    statistics: dict[str, FeatureStatistics]
    masked: tuple[str, ...]
    warnings: tuple[str, ...]
    longest_window: int | None
    requested_by: str
    code_version: str
    spilled: bool
    seconds: float
    created: datetime

    def to_json(self) -> bytes:
        """Its file."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"


def read_manifest(content: bytes, where: str) -> Manifest:
    """The manifest of a file.

    Raises:
        InputError: if it is none, or one of a later feature store.
    """
    try:
        found = msgspec.json.decode(content, type=Manifest)
    except msgspec.DecodeError as error:
        raise _unreadable(f"it is no manifest of a training dataset: {error}", where) from error
    if found.format != FORMAT:
        raise _unreadable(f"it has the format {found.format}, and {FORMAT} is known", where)
    return found


def _unreadable(message: str, where: str) -> InputError:
    return InputError(
        message, where=where, remedy="name the folder of a dataset that this version has made", code="manifest"
    )
