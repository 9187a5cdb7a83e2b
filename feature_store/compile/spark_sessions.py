"""Sessions in Spark SQL: gaps and islands over the first and last event of each tile.

A gap is a whole number of slides, so all events of a tile belong to one session, and two sessions never share one.
"""

from __future__ import annotations

from dataclasses import dataclass

from feature_store.compile.spark_expressions import quote, spark_sql
from feature_store.duration import format_duration
from feature_store.plan.expression_nodes import Expression
from feature_store.plan.nodes import Aggregate, WindowedRows


@dataclass(frozen=True)
class Session:
    """The sessions that the features of one gap (microseconds) and one condition share; `name` is their column."""

    name: str
    gap: int
    where: Expression | None

    @property
    def partials(self) -> tuple[tuple[str, str], ...]:
        """The times of the first and the last event of a tile that belong to a session, as SQL by name."""
        at = f"CASE WHEN {spark_sql(self.where)} THEN _at END" if self.where is not None else "_at"
        return (self.first, f"min({at})"), (self.last, f"max({at})")

    @property
    def first(self) -> str:
        return quote(f"{self.name}:first")

    @property
    def last(self) -> str:
        return quote(f"{self.name}:last")

    def holds(self, aggregate: Aggregate) -> bool:
        """Whether a feature is over these sessions."""
        return aggregate.session and (aggregate.window, aggregate.where) == (self.gap, self.where)


def sessions_of(rows: WindowedRows) -> list[Session]:
    """The different sessions of a group's features, in order of their first use."""
    different = dict.fromkeys((a.window, a.where) for a in rows.aggregates if a.session and a.window is not None)
    return [
        Session(f"session_{format_duration(gap)}_{number}", gap, where)
        for number, (gap, where) in enumerate(different, start=1)
        if gap is not None
    ]


def number_sessions(key: str, sessions: list[Session]) -> str:
    """The points with the number of the session that goes on there, for each kind of sessions; NULL where none does.

    Points without a session hold no event of one, so what is merged over them is the aggregate of nothing.
    """
    begins, numbers = [], []
    for session in sessions:
        begin = quote(f"{session.name}:begins")
        since = f"{session.first} - max({session.last}) OVER earlier"
        begins.append(f"{session.first} IS NOT NULL AND coalesce({since} > {session.gap}L, TRUE) AS {begin}")
        numbers.append(
            f"CASE WHEN t - max({session.last}) OVER so_far <= {session.gap}L "
            f"THEN count_if({begin}) OVER so_far END AS {session.name}"
        )
    outer, inner = ",\n  ".join(numbers), ",\n    ".join(begins)
    window = f"(PARTITION BY {key} ORDER BY t ROWS BETWEEN UNBOUNDED PRECEDING AND"
    return (
        f"SELECT *,\n  {outer}\nFROM (\n"
        f"  SELECT *,\n    {inner}\n  FROM points\n"
        f"  WINDOW earlier AS {window} 1 PRECEDING)\n)\n"
        f"WINDOW so_far AS {window} CURRENT ROW)"
    )
