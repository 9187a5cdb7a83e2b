"""The skew reports of views that are kept: the newest ones, for people and for the server."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, Select, delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from feature_store.registry.database import service_errors
from feature_store.registry.records import name_and_version
from feature_store.registry.tables import FeatureViewRow, SkewReportRow

KEEP = 100
"""Reports of one view."""


class SkewReports:
    """The kept reports. All methods raise StackError when the database does not answer."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def keep(self, view: str, created: datetime, document: Mapping[str, Any]) -> None:
        """Keeps a report of a recorded view, in place of one of the same instant; the oldest go when there are many."""
        with service_errors(self.engine), Session(self.engine) as session, session.begin():
            view_id = session.scalars(_view_id(view)).one()
            report = insert(SkewReportRow).values(view_id=view_id, created_at=created, document=dict(document))
            session.execute(
                report.on_conflict_do_update(
                    index_elements=["view_id", "created_at"], set_={"document": report.excluded.document}
                )
            )
            of_view = SkewReportRow.view_id == view_id
            newest = select(SkewReportRow.created_at).where(of_view).order_by(SkewReportRow.created_at.desc())
            session.execute(delete(SkewReportRow).where(of_view, SkewReportRow.created_at.not_in(newest.limit(KEEP))))

    def newest(self, view: str, count: int = 1) -> list[dict[str, Any]]:
        """The newest reports of a view, as JSON, the newest first; none if there are none."""
        kept = select(SkewReportRow.document).where(SkewReportRow.view_id.in_(_view_id(view)))
        with service_errors(self.engine), Session(self.engine) as session:
            return list(session.scalars(kept.order_by(SkewReportRow.created_at.desc()).limit(count)))


def _view_id(view: str) -> Select[tuple[int]]:
    name, version = name_and_version(view)
    return select(FeatureViewRow.view_id).where(FeatureViewRow.name == name, FeatureViewRow.version == version)
