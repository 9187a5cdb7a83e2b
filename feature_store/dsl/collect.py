"""Loading a package of definitions: every entity, source, group and view declared in it."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from feature_store.dsl.definition import Definition, shown_place
from feature_store.dsl.entity import Entity
from feature_store.dsl.group import FeatureGroup
from feature_store.dsl.packages import DEFINITION_PACKAGES
from feature_store.dsl.source import BatchSource, StreamSource
from feature_store.dsl.view import FeatureView
from feature_store.errors import DefinitionError, DefinitionErrors, NotFoundError, choices

D = TypeVar("D", FeatureGroup, FeatureView)


@dataclass(frozen=True)
class Project:
    """All definitions of a code base, in the order of their names.

    `domains` names for each group id the sub-package of `feature_defs` it was declared in; `errors` tell what could not
    be imported; `packages` are those that functions of on-demand features may be imported from; `posted` are the ids of
    the groups among them that are no code: they were posted to the server.
    """

    groups: tuple[FeatureGroup, ...]
    views: tuple[FeatureView, ...]
    domains: dict[str, str]
    errors: tuple[DefinitionError, ...] = ()
    packages: tuple[str, ...] = DEFINITION_PACKAGES
    posted: frozenset[str] = frozenset()

    def group(self, group_id: str) -> FeatureGroup:
        """The group called "name@version".

        Raises:
            NotFoundError: if there is none.
            DefinitionErrors: if there is none, and not all modules could be imported.
        """
        return self._find(self.groups, group_id, "feature group")

    def view(self, view_id: str) -> FeatureView:
        """The view called "name@version".

        Raises:
            NotFoundError: if there is none.
            DefinitionErrors: if there is none, and not all modules could be imported.
        """
        return self._find(self.views, view_id, "feature view")

    def _find(self, found: tuple[D, ...], wanted: str, kind: str) -> D:
        for definition in found:
            if definition.id == wanted:
                return definition
        if self.errors:
            raise DefinitionErrors(self.errors)
        remedy = choices(wanted, [definition.id for definition in found], f"{kind}s")
        raise NotFoundError(f"there is no {kind} {wanted!r}", remedy=remedy, code="not-defined")


def load_project(package: ModuleType | str) -> Project:
    """The definitions found as module variables in a package, at any depth.

    A module that cannot be imported does not hide the others: `Project.errors` has an error for each of them.

    Raises:
        DefinitionError: if the package itself cannot be imported.
    """
    root = _imported(package) if isinstance(package, str) else package
    groups: dict[int, FeatureGroup] = {}
    views: dict[int, FeatureView] = {}
    domains: dict[str, str] = {}
    errors: dict[str, DefinitionError] = {}
    for module in _modules(root, errors):
        for value in vars(module).values():
            if isinstance(value, FeatureGroup):
                groups[id(value)] = value
                if value.file == module.__file__:
                    domains[value.id] = _domain(root, module)
            elif isinstance(value, FeatureView):
                views[id(value)] = value
    return Project(
        groups=tuple(sorted(groups.values(), key=lambda group: (group.name, group.version))),
        views=tuple(sorted(views.values(), key=lambda view: (view.name, view.version))),
        domains=domains,
        errors=tuple(errors.values()),
        packages=(root.__name__,),
    )


def declarations(package: str) -> dict[Definition, tuple[str, str]]:
    """Where the entities and sources of a package are declared: their modules and variables."""
    found: dict[Definition, tuple[str, str]] = {}
    for module in _modules(_imported(package), {}):
        for variable, value in vars(module).items():
            if isinstance(value, Entity | BatchSource | StreamSource) and value.file == module.__file__:
                found.setdefault(value, (module.__name__, variable))
    return found


def _modules(root: ModuleType, errors: dict[str, DefinitionError]) -> Iterator[ModuleType]:
    """The modules of a package; of those that fail, the error by its place.

    A module that imports one that fails, fails at the same place: it has no error of its own.
    """
    yield root
    paths = getattr(root, "__path__", [])
    for info in pkgutil.walk_packages(paths, prefix=f"{root.__name__}.", onerror=lambda name: None):  # noqa: ARG005
        try:
            yield _imported(info.name)
        except DefinitionError as error:
            errors.setdefault(error.where, error)


def _imported(name: str) -> ModuleType:
    """The module.

    Raises:
        DefinitionError: if it cannot be imported; names the place in its package where that shows.
    """
    try:
        return importlib.import_module(name)
    except DefinitionError:
        raise
    except SyntaxError as error:
        raise _import_error(name, error, (error.filename or "", error.lineno or 0)) from error
    except Exception as error:
        places = [(frame.filename, frame.lineno or 0) for frame in traceback.extract_tb(error.__traceback__)]
        inside = [place for place in places if place[0].startswith(_folder(name))]
        raise _import_error(name, error, inside[-1] if inside else ("", 0)) from error


def _import_error(name: str, error: Exception, place: tuple[str, int]) -> DefinitionError:
    file, folder = place[0], _folder(name)
    if file.startswith(folder):  # of the module that fails, which may be one that `name` imports
        parts = Path(file).relative_to(Path(folder).parent).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
    return DefinitionError(
        f"{name} cannot be imported: {type(error).__name__}: {error}",
        where=shown_place(*place),
        remedy=f"correct the file; python -c 'import {name}' shows the whole traceback",
        code="import",
    )


def _folder(name: str) -> str:
    """Where the package that a module belongs to lies."""
    package = importlib.util.find_spec(name.partition(".")[0])
    return next(iter(package.submodule_search_locations or ()), "\0") if package is not None else "\0"


def _domain(root: ModuleType, module: ModuleType) -> str:
    parts = module.__name__.removeprefix(root.__name__).strip(".").split(".")
    return parts[0] or root.__name__
