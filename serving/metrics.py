"""What the server counts, for Prometheus. Counting is a dict and an addition; the rest is done when it is asked for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

from feature_store.online.vectors import OnlineVectors, Status
from serving.coverage import Coverage
from serving.families import Counting, Family, Latencies, text_of
from serving.shed import ShedRequests


class ServingMetrics:
    """The counts of one server process.

    Args:
        is_up: whether Redis can be asked.
        age: seconds since the registry confirmed the definitions; None if it has not.
    """

    def __init__(self, is_up: Callable[[], bool], age: Callable[[], float | None]) -> None:
        self.coverage, self.shed = Coverage(), ShedRequests()
        self._parts: list[Counting] = [self.coverage, self.shed]
        self.seconds: dict[tuple[str, ...], Latencies] = {}
        """Per route and target."""
        self.requests: defaultdict[tuple[str, int], int] = defaultdict(int)
        self.values: defaultdict[tuple[str, Status], int] = defaultdict(int)
        self.behind: dict[str, float] = {}
        """Per group, how long before its last request its rows were complete (seconds)."""
        self._is_up = is_up
        self._age = age

    def add(self, part: Counting) -> None:
        """Shows what another part of the server counts, too."""
        self._parts.append(part)

    def note(self, route: str, target: str, status: int, seconds: float) -> None:
        """Counts a request; `target` is the group or view, empty if none was found."""
        self.latencies(route, target).note(seconds)
        self.requests[route, status] += 1

    def latencies(self, route: str, target: str) -> Latencies:
        """What takes the times of requests."""
        latencies = self.seconds.get((route, target))
        if latencies is None:
            latencies = self.seconds[route, target] = Latencies()
        return latencies

    def note_vectors(self, vectors: OnlineVectors) -> None:
        """Counts what was found of each entity, by groups."""
        for i, part in enumerate(vectors.groups):
            self.note_statuses(part.group.id, part.entities.statuses)
            complete_at = vectors.complete_at[i]
            if complete_at is not None:
                self.behind[part.group.id] = (vectors.instant - complete_at) / 1e6

    def note_statuses(self, group: str, statuses: Sequence[Status]) -> None:
        """Counts what was found of the entities of a group."""
        present = statuses.count(Status.PRESENT)
        if present:
            self.values[group, Status.PRESENT] += present
        if present != len(statuses):
            for status in statuses:
                if status is not Status.PRESENT:
                    self.values[group, status] += 1

    def text(self) -> bytes:
        """Everything, as Prometheus reads it."""
        return text_of(self.families())

    def families(self) -> Iterator[Family]:
        """Everything, at the moment."""
        yield Family(
            "feature_store_request_seconds",
            "Time of a request from its first byte to its answer",
            "histogram",
            ("route", "target"),
            latencies=self.seconds.copy(),
        )
        yield Family(
            "feature_store_requests",
            "Requests answered",
            "counter",
            ("route", "status"),
            {(route, str(code)): count for (route, code), count in self.requests.copy().items()},
        )
        yield Family(
            "feature_store_entities",
            "Entities asked for, by what was found of them",
            "counter",
            ("group", "status"),
            {(group, status): count for (group, status), count in self.values.copy().items()},
        )
        yield Family(
            "feature_store_group_age_seconds",
            "How old a group's rows were when it was read last",
            "largest",
            ("group",),
            {(group,): age for group, age in self.behind.copy().items()},
        )
        yield Family("feature_store_redis_up", "Whether Redis can be asked", "smallest", (), {(): float(self._is_up())})
        age = self._age()
        if age is not None:
            description = "Since the registry confirmed the definitions"
            yield Family("feature_store_definitions_age_seconds", description, "largest", (), {(): age})
        for part in self._parts:
            yield from part.families()
