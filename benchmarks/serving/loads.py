"""What is asked for: R1 to R5, of users that are equally likely; some of them also otherwise."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from typing import Any, Literal

from benchmarks.serving.shop import (
    BUDGET,
    EMBEDDINGS,
    ENTITIES,
    RANKING,
    RANKINGS,
    SEED,
    USER_VIEW,
    USERS,
    ranking,
    user,
)
from feature_store import FeatureGroup, FeatureView
from feature_store.online.keys import entity_key
from feature_store.plan.build import view_schema
from feature_store.plan.schema import ViewSchema

Shape = Literal["columns", "records", "msgpack"]
Row = Mapping[str, str]

ZIPF_EXPONENT = 0.99
_ALL: tuple[Shape, ...] = ("columns", "records", "msgpack")


@dataclass(frozen=True)
class Load:
    """Requests that are sent in turn.

    Attributes:
        name: R1 to R5, with what is special.
        target: the group or view that is read.
        requests: the rows of each request, by key column.
        request_values: for all rows of all requests.
        connections: how many ask at once.
        shapes: in which our server is asked to answer.
        in_process: whether it is also measured without a server.
        least_seconds: of a slow contender, so that requests which are under way at the end do not weigh.
    """

    name: str
    target: FeatureGroup | FeatureView
    requests: Sequence[Sequence[Row]]
    shapes: tuple[Shape, ...] = _ALL
    connections: int = 32
    request_values: Mapping[str, Any] = field(default_factory=dict)
    in_process: bool = False
    least_seconds: float = 0

    @cached_property
    def view(self) -> ViewSchema:
        """The target; a group as a view of itself."""
        if isinstance(self.target, FeatureView):
            return view_schema(self.target)
        return view_schema(FeatureView(self.target.name, groups=(self.target,), owner=self.target.owner))

    def redis_keys(self, rows: Sequence[Row]) -> list[str]:
        """The different keys of what a request reads."""
        keys = {entity_key(viewed.group, row): None for viewed in self.view.groups for row in rows}
        return [key for key in keys if key is not None]


def loads() -> list[Load]:
    """All of them; the same ones each time."""
    chance = random.Random(SEED)
    orders = USERS[0]
    one, hundred, thousand = ([_uniform(chance, n) for _ in range(count)] for n, count in SIZES)
    zipf_one, zipf_hundred = zipf(chance, 4_096, 1), zipf(chance, 256, 100)
    rankings = [ranking(number) for number in range(RANKINGS)]
    asked = {"budget": 40.5}
    return [
        Load("R1 1 x 1", orders, one, in_process=True),
        Load("R2 1 x 3", USER_VIEW, one, ("columns", "records"), in_process=True),
        Load("R3 100 x 1", orders, hundred, in_process=True, least_seconds=3),
        Load("R4 1,000 x 1", orders, thousand, connections=4, in_process=True, least_seconds=5),
        Load("R5 user, 100 items", RANKING, rankings, connections=8, in_process=True, least_seconds=5),
        Load("R1 Zipf", orders, zipf_one, ("columns",)),
        Load("R3 Zipf", orders, zipf_hundred, ("columns",), least_seconds=3),
        Load("R1 on-demand", BUDGET, one, ("columns",), request_values=asked),
        Load("R3 on-demand", BUDGET, hundred, ("columns", "records"), request_values=asked, least_seconds=3),
        Load("R3 embedding", EMBEDDINGS, hundred, ("columns", "msgpack"), least_seconds=3),
    ]


SIZES = ((1, 4_096), (100, 256), (1_000, 32))
"""Users of a request, and how many different requests there are."""


def _uniform(chance: random.Random, count: int) -> list[Row]:
    return [{"user_id": user(number)} for number in chance.sample(range(ENTITIES), count)]


def zipf(chance: random.Random, requests: int, count: int) -> list[list[Row]]:
    """Users of whom the n-th is asked for 1 / n ** 0.99 times as often as the first, also twice in a request."""
    weights = list(accumulate(rank**-ZIPF_EXPONENT for rank in range(1, ENTITIES + 1)))
    users = [user(number) for number in chance.sample(range(ENTITIES), ENTITIES)]
    return [
        [{"user_id": chosen} for chosen in chance.choices(users, cum_weights=weights, k=count)] for _ in range(requests)
    ]
