"""Folders of files in a warehouse: on this machine, or in an S3 bucket."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from pyarrow import NativeFile
from pyarrow.fs import FileSelector, FileSystem, FileType, LocalFileSystem, S3FileSystem, resolve_s3_region

from feature_store.datasets.manifest import MANIFEST
from feature_store.errors import InputError, StackError
from feature_store.object_storage import AWS, ObjectStorage, is_in_bucket

_LOCAL = "file://"


@dataclass(frozen=True)
class Folder:
    """A folder; it can be sent to other processes.

    Attributes:
        url: `file:///folder` or `s3://bucket/folder`, without a slash at the end.
        storage: how the bucket is reached.
    """

    url: str
    storage: ObjectStorage = AWS

    @classmethod
    def of(cls, place: str | Path, storage: ObjectStorage = AWS) -> Folder:
        """The folder of a path or URL.

        Raises:
            InputError: if the URL is of neither kind.
        """
        text = str(place).rstrip("/")
        if is_in_bucket(text):
            return cls(f"s3://{urlsplit(text).netloc}{urlsplit(text).path}", storage)
        if "://" in text and not text.startswith(_LOCAL):
            raise InputError(
                "there is no access to such a place",
                where=text,
                remedy="give a path, file:///folder or s3://bucket/folder",
                code="manifest",
            )
        return cls(f"{_LOCAL}{Path(text.removeprefix(_LOCAL)).absolute()}", storage)

    @property
    def in_bucket(self) -> bool:
        return is_in_bucket(self.url)

    @property
    def path(self) -> str:
        """Its path in the file system; of a folder in a bucket, it begins with the bucket's name."""
        return self.url.partition("://")[2]

    @property
    def name(self) -> str:
        return PurePosixPath(self.path).name

    @property
    def parent(self) -> Folder:
        return Folder(self.url.rpartition("/")[0], self.storage)

    @cached_property
    def filesystem(self) -> FileSystem:
        """The file system that it is in. Credentials are what AWS's library finds."""
        if not self.in_bucket:
            return LocalFileSystem()
        return S3FileSystem(
            region=self.storage.region or resolve_s3_region(urlsplit(self.url).netloc),
            endpoint_override=self.storage.endpoint or None,
            force_virtual_addressing=not self.storage.path_style,
        )

    def inside(self, *names: str) -> Folder:
        """A folder in it."""
        return Folder("/".join((self.url, *names)), self.storage)

    def open(self, name: str) -> NativeFile:
        """A file to read from, at any place.

        Raises:
            FileNotFoundError: if there is none.
        """
        return self.filesystem.open_input_file(f"{self.path}/{name}")

    def create(self, name: str) -> NativeFile:
        """A new file to write to; in a bucket it is there when it is closed."""
        return self.filesystem.open_output_stream(f"{self.path}/{name}")

    def write(self, name: str, content: bytes) -> None:
        """Writes a file as a whole."""
        with self.create(name) as file:
            file.write(content)

    def read(self, name: str) -> bytes:
        """All of a file.

        Raises:
            FileNotFoundError: if there is none.
        """
        with self.open(name) as file:
            return bytes(file.read())

    def has(self, name: str) -> bool:
        """Whether there is a file or folder of a name."""
        return bool(self.filesystem.get_file_info(f"{self.path}/{name}").type != FileType.NotFound)

    def folders(self) -> list[Folder]:
        """The folders in it, by name; none if there is no such folder."""
        found = self.filesystem.get_file_info(FileSelector(self.path, allow_not_found=True))
        return [self.inside(name) for name in sorted(info.base_name for info in found if not info.is_file)]

    def remove(self) -> None:
        """Removes it with all that is in it."""
        self.filesystem.delete_dir(self.path)


@contextmanager
def appearing(folder: Folder) -> Iterator[Folder]:
    """A folder to write a dataset to, its manifest last, so that it is there whole or not at all.

    On this machine it has another name until it is complete. In a bucket the manifest makes it a dataset.

    Raises:
        StackError: if the bucket cannot be written to.
    """
    if folder.in_bucket:
        try:
            yield folder
        except BaseException as error:
            with suppress(OSError):  # what is left has no manifest, and is swept
                folder.remove()
            if isinstance(error, OSError):
                raise _unavailable(folder, error) from error
            raise
        return
    unfinished = folder.parent.inside(f".{folder.name}")
    Path(unfinished.path).mkdir(parents=True)
    try:
        yield unfinished
        Path(unfinished.path).rename(folder.path)
    except BaseException:
        with suppress(OSError):
            unfinished.remove()
        raise


def is_dataset(folder: Folder) -> bool:
    """Whether a folder has all of a dataset."""
    return folder.has(MANIFEST)


def latest_dataset(folder: Folder) -> Folder | None:
    """The latest of the datasets of one name, whose ids sort by time."""
    return next((found for found in reversed(folder.folders()) if found.name[0] != "." and is_dataset(found)), None)


def _unavailable(folder: Folder, error: OSError) -> StackError:
    return StackError(
        f"the bucket cannot be used: {str(error).splitlines()[0]}",
        where=folder.url,
        remedy="look at FS_WAREHOUSE, FS_S3_ENDPOINT and the credentials, then ask again: nothing was kept",
        code="dataset-storage",
    )
