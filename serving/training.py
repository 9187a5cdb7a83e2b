"""Training jobs as the server takes them: how many at once, and from where labels may be read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from feature_store.environment import folder, whole_number
from feature_store.errors import AccessError, StackError
from feature_store.settings import Settings
from feature_store.training_jobs.request import (
    FileLabels,
    LabelReference,
    PostgresLabels,
    QueryLabels,
    TableLabels,
)

MOST_JOBS = 4
_ICEBERG, _POSTGRES = "iceberg:", "postgres:"
_WILD = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class OfferedLabels:
    """Where label rows of requests may be. The server reads with its own rights, so callers name no other place.

    Attributes:
        folders: of files.
        namespaces: of Iceberg tables, such as "labels".
        schemas: of PostgreSQL tables, as "database.schema".
    """

    folders: tuple[Path, ...] = ()
    namespaces: tuple[str, ...] = ()
    schemas: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> OfferedLabels:
        """The places in a text: folders, "iceberg:namespace" and "postgres:database.schema", separated by commas.

        Raises:
            StackError: if one of them is neither.
        """
        folders, namespaces, schemas = list[Path](), list[str](), list[str]()
        for place in filter(None, map(str.strip, text.split(","))):
            if place.startswith(_ICEBERG):
                namespaces.append(place.removeprefix(_ICEBERG))
            elif place.startswith(_POSTGRES) and place.count(".") == 1:
                schemas.append(place.removeprefix(_POSTGRES))
            elif place.startswith(("/", "~")):
                folders.append(folder(place))
            else:
                raise StackError(
                    f"{place!r} is no place of labels",
                    where="FS_SERVING_LABELS",
                    remedy="write folders, iceberg:namespace and postgres:database.schema, separated by commas",
                    code="serving-labels",
                )
        return cls(tuple(folders), tuple(namespaces), tuple(schemas))

    def admitted(self, labels: LabelReference) -> LabelReference:
        """A reference that may be read; a relative path is one in the first folder.

        Raises:
            AccessError: if it may not.
        """
        match labels:
            case FileLabels():
                return FileLabels(self._path(labels.path), labels.types)
            case TableLabels():
                self._require(labels.table, labels.table.rpartition(".")[0] in self.namespaces)
            case PostgresLabels():
                self._require(labels.table, labels.table.rpartition(".")[0] in self.schemas)
            case QueryLabels():
                tables = {name: self.admitted(table) for name, table in labels.tables.items()}
                named = {n: t for n, t in tables.items() if isinstance(t, FileLabels | TableLabels | PostgresLabels)}
                return QueryLabels(labels.sql, named)
        return labels

    def _path(self, path: str) -> str:
        parts = Path(path).parts
        if self.folders and "\0" not in path and ".." not in parts:
            whole = self.folders[0] / path
            start = (self.folders[0] / Path(*parts[: _plain_parts(parts)])).resolve()
            if any(start.is_relative_to(each) for each in self.folders):
                return str(whole)
        self._require(path, False)
        raise AssertionError("unreachable")

    def _require(self, place: str, is_offered: bool) -> None:
        if not is_offered:
            offered = [*map(str, self.folders), *(f"{_ICEBERG}{each}" for each in self.namespaces)]
            offered += [f"{_POSTGRES}{each}" for each in self.schemas]
            raise AccessError(
                f"labels in {place[:200]!r} may not be named in a request",
                where="labels",
                remedy=f"send the rows, or put them to one of {', '.join(offered) or 'nowhere'} (FS_SERVING_LABELS)",
                code="labels-not-offered",
            )


@dataclass(frozen=True)
class TrainingLimits:
    """What the server needs to take training jobs.

    Attributes:
        settings: where tables, datasets and Dagster are.
        most: how many jobs of one token may be in the making.
    """

    settings: Settings
    most: int = MOST_JOBS
    offered: OfferedLabels = OfferedLabels()

    @classmethod
    def load(cls, environ: Mapping[str, str], settings: Settings) -> TrainingLimits:
        """The limits that the environment sets.

        Raises:
            StackError: if a variable makes no sense.
        """
        default = f"{settings.data_root / 'labels'},{_ICEBERG}labels"
        most = whole_number(
            environ,
            "FS_SERVING_TRAINING_JOBS",
            MOST_JOBS,
            least=1,
            most=10_000,
            noun="number of jobs",
            code="serving-training-jobs",
        )
        return cls(settings, most, OfferedLabels.parse(environ.get("FS_SERVING_LABELS", default)))

    def at(self, dagster_url: str) -> TrainingLimits:
        """The same with Dagster at this address."""
        return replace(self, settings=replace(self.settings, dagster_url=dagster_url))


def _plain_parts(parts: tuple[str, ...]) -> int:
    """How many parts of a path come before the first one with a wildcard."""
    return next((place for place, part in enumerate(parts) if _WILD.search(part)), len(parts))
