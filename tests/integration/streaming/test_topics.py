"""Topics of a real Kafka: one that was just made can be used."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest

from feature_store.errors import NotFoundError
from feature_store.settings import Settings
from feature_store.streaming.topics import Offsets, Topics

PARTITIONS = 100  # Kafka answers that a topic is made, and needs a moment per partition to lead it
_numbers = count(1)


@pytest.fixture
def topics(streaming_stack: Settings) -> Topics:
    return Topics(streaming_stack.kafka_servers)


def test_a_topic_can_be_used_as_soon_as_it_is_ensured(topics: Topics) -> None:
    for _ in range(3):
        name = f"test.ensured_{next(_numbers)}"
        topics.ensure(name, PARTITIONS)
        assert topics.offsets(name) == dict.fromkeys(range(PARTITIONS), Offsets(0, 0))
    topics.ensure(name, 1)
    assert len(topics.offsets(name)) == PARTITIONS, "one that exists stays as it is"


def test_who_loses_the_race_to_make_a_topic_can_use_it_too(topics: Topics) -> None:
    name = f"test.ensured_{next(_numbers)}"

    def partitions(_: int) -> int:
        topics.ensure(name, PARTITIONS)
        return len(topics.offsets(name))

    with ThreadPoolExecutor(4) as pool:
        assert [*pool.map(partitions, range(4))] == [PARTITIONS] * 4


def test_a_topic_that_nobody_made_is_named(topics: Topics) -> None:
    with pytest.raises(NotFoundError, match=r"Kafka has no topic 'test\.nobodys'"):
        topics.offsets("test.nobodys")
