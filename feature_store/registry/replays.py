"""Replays of dead letters as the registry knows them: what was sent to its topic again, when, by whom."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Engine, insert, select, update
from sqlalchemy.orm import Session

from feature_store.registry.database import service_errors
from feature_store.registry.tables import ReplayedLetterRow, ReplayRow

Place = tuple[str, int, int]
"""Where a message is in Kafka: topic, partition, offset."""


@dataclass(frozen=True)
class Replay:
    """Letters that are sent together.

    Args:
        recorded_since: the instant since which the letters were recorded.
        ends: of each partition of their topic the offset after its last message, before any letter was sent.
    """

    id: int
    source: str
    reason: str
    recorded_since: datetime
    ends: Mapping[int, int]
    begun_at: datetime
    begun_by: str
    done_at: datetime | None


class Replays:
    """The records of all replays. All methods raise StackError when the database does not answer."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def of_source(self, source: str) -> list[Replay]:
        """Every replay of a source, the oldest first."""
        with service_errors(self.engine), Session(self.engine) as session:
            wanted = select(ReplayRow).where(ReplayRow.source == source).order_by(ReplayRow.replay_id)
            return [_replay(row) for row in session.scalars(wanted)]

    def begin(self, replay: Replay, places: Iterable[Place]) -> Replay:
        """Records a replay and its letters, before any of them is sent; gives it with its id."""
        with service_errors(self.engine), Session(self.engine) as session, session.begin():
            row = ReplayRow(
                source=replay.source,
                reason=replay.reason,
                recorded_since=replay.recorded_since,
                ends={str(number): end for number, end in replay.ends.items()},
                begun_at=replay.begun_at,
                begun_by=replay.begun_by,
            )
            session.add(row)
            session.flush()
            letters = [
                {"topic": topic, "partition": partition, "offset": offset, "replay_id": row.replay_id}
                for topic, partition, offset in places
            ]
            session.execute(insert(ReplayedLetterRow), letters)
            return _replay(row)

    def end(self, replay: Replay) -> None:
        """Records that Kafka has all letters of a replay."""
        with service_errors(self.engine), Session(self.engine) as session, session.begin():
            done = {"done_at": datetime.now(UTC)}
            session.execute(update(ReplayRow).where(ReplayRow.replay_id == replay.id).values(**done))

    def letters(self, topic: str, replay: Replay | None = None) -> set[Place]:
        """The messages of a topic that were sent again, by one replay or by all."""
        letter = ReplayedLetterRow
        with service_errors(self.engine), Session(self.engine) as session:
            wanted = select(letter.topic, letter.partition, letter.offset).where(letter.topic == topic)
            if replay is not None:
                wanted = wanted.where(letter.replay_id == replay.id)
            return {(row.topic, row.partition, row.offset) for row in session.execute(wanted)}


def _replay(row: ReplayRow) -> Replay:
    return Replay(
        id=row.replay_id,
        source=row.source,
        reason=row.reason,
        recorded_since=row.recorded_since,
        ends={int(number): end for number, end in row.ends.items()},
        begun_at=row.begun_at,
        begun_by=row.begun_by,
        done_at=row.done_at,
    )
