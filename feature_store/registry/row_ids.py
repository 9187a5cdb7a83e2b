"""The keys of recorded groups and views, by their ids."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from feature_store.errors import NotFoundError
from feature_store.registry.records import Kind, name_and_version
from feature_store.registry.tables import FeatureGroupRow, FeatureViewRow


def row_id(session: Session, wanted: str, kind: Kind) -> int:
    """The key of a group's or a view's row.

    Raises:
        NotFoundError: if it is not recorded; names the versions there are, or else what there is.
    """
    name, version = name_and_version(wanted)
    table = FeatureViewRow if kind == "view" else FeatureGroupRow
    key = FeatureViewRow.view_id if kind == "view" else FeatureGroupRow.group_id
    found = session.scalar(select(key).where(table.name == name, table.version == version))
    if found is not None:
        return found
    ids = sorted(f"{name}@{version}" for name, version in session.execute(select(table.name, table.version)))
    near = [known for known in ids if known.partition("@")[0] == name] or ids[:20]
    remedy = f"recorded are: {', '.join(near)}" if near else "nothing is recorded yet: run ./fs apply"
    raise NotFoundError(f"there is no feature {kind} {wanted!r} in the registry", remedy=remedy, code="not-recorded")
