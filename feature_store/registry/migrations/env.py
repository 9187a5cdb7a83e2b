"""Run by Alembic: takes the connection of `upgrade`, and its transaction, instead of opening one from an ini file."""

from __future__ import annotations

from alembic import context

from feature_store.registry.migrate import VERSION_TABLE
from feature_store.registry.training_tables import TrainingJobRow

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=TrainingJobRow.metadata,
    version_table=VERSION_TABLE,
)
context.run_migrations()
