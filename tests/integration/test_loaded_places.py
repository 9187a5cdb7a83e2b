"""The loader's places in Redis move with the rows, or not at all."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis import Redis

from feature_store import INT, STRING, TIMESTAMP, Entity, Feature, FeatureGroup, StreamSource, agg
from feature_store.errors import ConflictError, StackError
from feature_store.online.connection import connect
from feature_store.plan.build import build_plan
from feature_store.settings import Settings
from feature_store.streaming.loaded import LoadedPlaces
from feature_store.streaming.marks import PartitionMarks

GROUP = FeatureGroup(
    "user_places",
    entity=Entity("user", join_key="user_id"),
    source=StreamSource(
        "places", topic="places", schema={"user_id": STRING, "ts": TIMESTAMP}, event_timestamp="ts", time_format="us"
    ),
    owner="team:test",
    features=[Feature("user_count_1h", agg.count(), window="1h", dtype=INT)],
)


@pytest.fixture
def other(stack: Settings) -> Iterator[Redis]:
    with connect(stack.redis_url) as client:
        yield client


@pytest.fixture
def places(redis: Redis) -> LoadedPlaces:
    """Partition 0 was loaded up to offset 5, partition 1 up to 7; of 2 nothing is known."""
    redis.delete("user_places@1:loaded:2", "user_places@1:marks:2")
    found = LoadedPlaces(redis, build_plan(GROUP).schema)
    found.write({0: 5, 1: 7})
    return found


def test_places_move(places: LoadedPlaces) -> None:
    assert places.read([0, 1, 2]) == {0: 5, 1: 7}
    assert places.read([]) == {}
    with places.moving({0: 5}, {0: 9}):
        assert places.read([0, 1]) == {0: 5, 1: 7}
    assert places.read([0, 1]) == {0: 9, 1: 7}


def test_marks_move_with_their_places(places: LoadedPlaces) -> None:
    passed = PartitionMarks('[["job",0,1,0,2,1000,1001]]')
    with places.moving({0: 5}, {0: 9}, {0: passed}):
        assert not places.marks([0])[0].marks(), "not before the rows are written"
    with places.moving({0: 9}, {0: 10}):
        pass
    found = places.marks([0, 1, 2])
    assert found[0].marks() == passed.marks()
    assert not found[1].marks()
    assert not found[2].marks()
    places.write({0: 10})
    assert not places.marks([0])[0].marks(), "its rows are read from elsewhere: what was passed before is not known"


def test_two_loaders_have_partitions_of_their_own(places: LoadedPlaces) -> None:
    with places.moving({0: 5}, {0: 9}), places.moving({1: 7}, {1: 8}):
        pass
    assert places.read([0, 1]) == {0: 9, 1: 8}


@pytest.mark.parametrize("believed", [{0: 6}, {0: 5, 1: 8}, {2: 0}])
def test_nothing_is_written_where_redis_is_elsewhere(places: LoadedPlaces, believed: dict[int, int]) -> None:
    with pytest.raises(ConflictError), places.moving(believed, {0: 9}):
        pytest.fail("rows were written")
    assert places.read([0, 1]) == {0: 5, 1: 7}


def test_places_stay_when_the_rows_could_not_be_written(places: LoadedPlaces) -> None:
    with pytest.raises(StackError, match="rows"), places.moving({0: 5}, {0: 9}):
        raise StackError("no rows", code="redis-down")
    assert places.read([0]) == {0: 5}


def test_places_stay_where_somebody_moved_them_meanwhile(places: LoadedPlaces, other: Redis) -> None:
    with pytest.raises(ConflictError), places.moving({0: 5}, {0: 9}):
        other.set("user_places@1:loaded:0", 5)
    assert places.read([0]) == {0: 5}


def test_places_are_not_made_where_redis_was_emptied_meanwhile(places: LoadedPlaces, other: Redis) -> None:
    with pytest.raises(ConflictError), places.moving({0: 5}, {0: 9}):
        other.delete("user_places@1:loaded:0")
    assert places.read([0]) == {}


def test_places_stay_where_the_connection_was_lost_meanwhile(places: LoadedPlaces, other: Redis) -> None:
    """It is lost when Redis restarts; the rows of the block may be lost then, and all before them is there."""
    with pytest.raises((ConflictError, StackError)), places.moving({0: 5}, {0: 9}):
        other.client_kill_filter(_type="normal", skipme=True)
    assert places.read([0]) == {0: 5}
