"""Bringing a registry database to the tables of this version."""

from __future__ import annotations

import threading

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, inspect, text

from feature_store.errors import StackError
from feature_store.registry.database import described, service_errors, take_turn

VERSION_TABLE = "registry_version"
_ONE_AT_A_TIME = threading.Lock()  # Alembic keeps the migration that runs in global variables


def upgrade(engine: Engine) -> None:
    """Runs the migrations that the database has not seen, all or none; of two at once, one waits for the other.

    Raises:
        StackError: if the database cannot be reached, or was migrated by a newer version of the feature store.
    """
    config = Config()
    config.set_main_option("script_location", "feature_store.registry:migrations")
    with service_errors(engine), engine.begin() as connection:
        if _is_current(connection, config):
            return
    with _ONE_AT_A_TIME, service_errors(engine), engine.begin() as connection:
        take_turn(connection)
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise StackError(
                f"the registry was made by another version of the feature store ({error})",
                where=described(engine),
                remedy="update the feature store to at least the version that wrote it",
                code="registry-newer",
            ) from error


def _is_current(connection: Connection, config: Config) -> bool:
    """Whether there is nothing to do, told without the lock, so that readers never wait for a running apply."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return False
    recorded = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalars().all()
    return list(recorded) == ScriptDirectory.from_config(config).get_heads()
