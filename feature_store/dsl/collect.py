"""Loading a package of definitions: every entity, source, group and view declared in it."""

from __future__ import annotations

import importlib
import pkgutil
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import TypeVar

from feature_store.dsl.group import FeatureGroup
from feature_store.dsl.view import FeatureView
from feature_store.errors import DefinitionError, NotFoundError


@dataclass(frozen=True)
class Project:
    """All definitions of a code base, in the order of their names.

    `domains` names for each group id the sub-package of `feature_defs` it was declared in.
    """

    groups: tuple[FeatureGroup, ...]
    views: tuple[FeatureView, ...]
    domains: dict[str, str]

    def group(self, group_id: str) -> FeatureGroup:
        """The group called "name@version".

        Raises:
            NotFoundError: if there is none.
        """
        return _find(self.groups, group_id, "feature group")

    def view(self, view_id: str) -> FeatureView:
        """The view called "name@version".

        Raises:
            NotFoundError: if there is none.
        """
        return _find(self.views, view_id, "feature view")


def load_project(package: ModuleType | str) -> Project:
    """The definitions found as module variables in a package, at any depth.

    Raises:
        DefinitionError: if a module cannot be imported; names the file and line.
    """
    root = _imported(package) if isinstance(package, str) else package
    groups: dict[int, FeatureGroup] = {}
    views: dict[int, FeatureView] = {}
    domains: dict[str, str] = {}
    for module in _modules(root):
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
    )


def _modules(root: ModuleType) -> Iterator[ModuleType]:
    yield root
    for info in pkgutil.walk_packages(getattr(root, "__path__", []), prefix=f"{root.__name__}."):
        yield _imported(info.name)


def _imported(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except DefinitionError:
        raise
    except SyntaxError as error:
        raise _import_error(name, error, f"{error.filename}:{error.lineno}") from error
    except Exception as error:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith("<frozen")]
        raise _import_error(name, error, f"{frames[-1].filename}:{frames[-1].lineno}") from error


def _import_error(name: str, error: Exception, where: str) -> DefinitionError:
    return DefinitionError(
        f"{name} cannot be imported: {type(error).__name__}: {error}",
        where=where,
        remedy=f"correct the file; python -c 'import {name}' shows the whole traceback",
        code="import",
    )


def _domain(root: ModuleType, module: ModuleType) -> str:
    parts = module.__name__.removeprefix(root.__name__).strip(".").split(".")
    return parts[0] or root.__name__


D = TypeVar("D", FeatureGroup, FeatureView)


def _find(found: tuple[D, ...], wanted: str, kind: str) -> D:
    for definition in found:
        if definition.id == wanted:
            return definition
    known = ", ".join(definition.id for definition in found) or "none"
    raise NotFoundError(f"there is no {kind} {wanted!r}", remedy=f"defined are: {known}")
