"""Reading the posted groups by themselves: every Dagster process does, so without the mapping of all tables."""

from __future__ import annotations

from sqlalchemy import JSON, Engine, text

from feature_store.registry.database import service_errors
from feature_store.registry.posted import PostedGroup, single_sources, sources_of

_POSTED = text(
    "SELECT g.definition, e.definition AS entity FROM feature_groups g JOIN entity_types e ON e.name = g.entity_type "
    "WHERE g.posted AND g.status <> 'RETIRED' ORDER BY g.name, g.version"
).columns(definition=JSON, entity=JSON)
_IN_CODE = text("SELECT definition FROM feature_groups WHERE NOT posted AND status <> 'RETIRED'").columns(
    definition=JSON
)


def read_posted(engine: Engine) -> tuple[PostedGroup, ...]:
    """The groups that were posted to the server and are not retired; a short query where there are none.

    Raises:
        StackError: if the database does not answer, or has no tables yet.
    """
    with service_errors(engine), engine.connect() as connection:
        found = connection.execute(_POSTED).all()
        recorded = single_sources(connection.scalars(_IN_CODE)) if found else {}
    return tuple(
        PostedGroup(
            row.definition,
            row.entity,
            frozenset(s["name"] for s in sources_of(row.definition) if recorded.get(s["name"]) == s),
        )
        for row in found
    )
