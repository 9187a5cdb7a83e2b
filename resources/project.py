"""The project that Dagster loads: the definitions in code, and the groups that were posted to the server."""

from __future__ import annotations

import logging

from feature_store.dsl.collect import Project
from feature_store.errors import DefinitionError, FeatureStoreError
from feature_store.plan.project import CompiledProject, compile_project
from feature_store.registry.posted import PostedGroup, with_posted
from feature_store.settings import Settings

_CONNECT_SECONDS = 3
_log = logging.getLogger(__name__)


def compile_with_posted(project: Project) -> CompiledProject:
    """The project with the posted groups, as far as they can be had: without a registry, the code by itself.

    Raises:
        DefinitionErrors: if a definition in code is wrong.
    """
    posted = _posted()
    if posted:
        try:
            return compile_project(with_posted(project, posted))
        except DefinitionError as error:
            _log.warning("the groups that were posted to the server are left out: %s", error)
    return compile_project(project)


def _posted() -> tuple[PostedGroup, ...]:
    """The posted groups; none if the registry does not answer."""
    try:
        settings = Settings.load()
        from feature_store.registry.database import open_engine
        from feature_store.registry.posted_rows import read_posted

        engine = open_engine(settings.database_url("registry"), connect_seconds=_CONNECT_SECONDS)
        try:
            return read_posted(engine)
        finally:
            engine.dispose()
    except FeatureStoreError as error:
        if error.code not in ("no-registry", "no-stack"):  # then nothing was posted
            _log.warning("only the definitions in code are loaded, not what was posted to the server: %s", error)
        return ()
