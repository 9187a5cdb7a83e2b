"""A stored training dataset, opened by its manifest: no registry and no table is asked."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path

import pyarrow as pa

from feature_store.datasets.manifest import MANIFEST, read_manifest
from feature_store.datasets.rows import DatasetRows
from feature_store.datasets.storage import Folder
from feature_store.dsl.packages import DEFINITION_PACKAGES
from feature_store.dsl.view import FeatureView
from feature_store.errors import InputError, NotFoundError, StackError
from feature_store.object_storage import AWS, ObjectStorage
from feature_store.plan.build import view_schema
from feature_store.plan.schema import ViewSchema


@dataclass(frozen=True)
class StoredDataset(DatasetRows):
    """A training dataset: label rows in their order with all their columns, then the features of the view, then its
    on-demand features."""

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def id(self) -> str:
        return self.manifest.id

    @property
    def view_id(self) -> str:
        return self.manifest.view

    @property
    def url(self) -> str:
        """Where its folder is: `file:///folder` or `s3://bucket/folder`."""
        return self.folder.url

    @property
    def manifest_url(self) -> str:
        """Where its manifest is, which `load_dataset` and `like=` take."""
        return f"{self.url}/{MANIFEST}"

    @property
    def path(self) -> Path:
        """Its folder on this machine: Parquet files, whose names sort in the order of the rows, and the manifest.

        Raises:
            InputError: if it is in a bucket.
        """
        if self.folder.in_bucket:
            raise InputError("it is in a bucket", where=self.url, remedy="use its url", code="manifest")
        return Path(self.folder.path)

    @property
    def feature_names(self) -> list[str]:
        """The names of its features, those that are computed on demand among them."""
        return [column.name for column in self.manifest.columns if column.role != "label"]

    @property
    def snapshots(self) -> dict[str, int | None]:
        """The snapshot of each group's table that was read, by group id; None: nothing was written to it yet."""
        return self.manifest.snapshots

    @property
    def tag(self) -> str:
        """The tag of the snapshots that it read, in each group's table; they are kept as long as it is."""
        return self.manifest.tag

    @property
    def labels_hash(self) -> str:
        return self.manifest.labels_hash

    @property
    def engine(self) -> str:
        """What ran the join."""
        return self.manifest.engine

    @property
    def known_by(self) -> str | None:
        return self.manifest.known_by

    @property
    def seconds(self) -> float:
        """How long it took, from reading the labels to the stored result."""
        return self.manifest.seconds

    @property
    def null_rates(self) -> dict[str, float]:
        """By feature, the share of labels that found no value, or NULL."""
        return self.manifest.null_rates

    @property
    def created(self) -> datetime:
        return self.manifest.created

    @property
    def masked(self) -> tuple[str, ...]:
        """The features that whoever made it must not see: they are NULL on all rows."""
        return self.manifest.masked

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was odd about the labels: how many lie before the rows of a group, or in the future."""
        return self.manifest.warnings

    @cached_property
    def table(self) -> pa.Table:
        """All rows, read when first asked for."""
        return super().to_arrow()

    def to_arrow(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All rows, or some columns of them, in memory; `table` if there is no choice of columns."""
        return self.table if columns is None else super().to_arrow(columns)

    def labels(self) -> pa.RecordBatchReader:
        """The label rows that it was made of, read piece by piece."""
        names = [column.name for column in self.manifest.columns if column.role == "label"]
        schema = pa.schema([self.schema.field(name) for name in names])
        batches = (batch for table in self.tables(names) for batch in table.cast(schema).to_batches())
        return pa.RecordBatchReader.from_batches(schema, batches)

    def recorded_view(self, packages: Collection[str] = DEFINITION_PACKAGES) -> ViewSchema:
        """The view as it was defined then, whatever the registry says now.

        Args:
            packages: those that functions of on-demand features may be imported from.

        Raises:
            InputError: if the manifest has no definition.
            DefinitionErrors: if a function of an on-demand feature is gone, or says something else than then.
        """
        if not self.manifest.definitions:
            raise InputError(
                "the manifest has no definition of the view",
                where=self.manifest_url,
                remedy="make the dataset with FeatureStore.training_dataset",
                code="manifest",
            )
        (definition,) = self.manifest.definitions
        return view_schema(FeatureView.from_json(definition), packages)


def load_dataset(place: str | Path, storage: ObjectStorage = AWS) -> StoredDataset:
    """The dataset of a folder, or of the manifest in it.

    Args:
        place: a path, `file:///…` or `s3://…`.
        storage: how a bucket is reached.

    Raises:
        NotFoundError: if there is no dataset.
        InputError: if the manifest cannot be read.
        StackError: if the bucket does not answer.
    """
    folder = Folder.of(str(place).removesuffix(f"/{MANIFEST}"), storage)
    try:
        content = folder.read(MANIFEST)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFoundError(
            f"there is no {MANIFEST}: no dataset, or one whose build has not ended",
            where=folder.url,
            remedy="name the folder of a training dataset, or its manifest",
            code="no-dataset",
        ) from error
    except OSError as error:
        raise StackError(
            f"the manifest cannot be read: {str(error).splitlines()[0]}",
            where=folder.url,
            remedy="look at FS_S3_ENDPOINT and the credentials",
            code="dataset-storage",
        ) from error
    return StoredDataset(read_manifest(content, f"{folder.url}/{MANIFEST}"), folder)
