"""Where jobs read in Kafka: the offsets that they begin at, and the messages that they need and Kafka does not have.

A job begins at the offsets of its consumer group, which are written before Flink starts it, and fails where Kafka does
not have the next message: retention has deleted it, or the topic was made anew. Going on would lose events silently.
"""

from __future__ import annotations

from feature_store.compile.flink import Start, consumer_group
from feature_store.errors import ConflictError, FeatureStoreError, NotFoundError
from feature_store.streaming.topics import Topics
from feature_store.streaming.wanted import Wanted


def write_start(topics: Topics, wanted: Wanted, start: Start, *, has_state: bool) -> None:
    """Puts a job's consumer group where the job is to begin.

    Args:
        has_state: whether the job goes on from a state, which has its own offsets of every partition of which
            something was read; Kafka forgets those of a consumer group that has been silent for a week.
    """
    topic, group = wanted.stream.topic, consumer_group(wanted.name)
    kept = topics.offsets(topic)
    begin = {number: (start.offsets or {}).get(number, place.first) for number, place in kept.items()}
    known = topics.committed(group, topic, list(kept)) if has_state else {}
    topics.commit(group, topic, {number: offset for number, offset in begin.items() if number not in known})


def message_gap(topics: Topics, wanted: Wanted) -> FeatureStoreError | None:
    """What is wrong if Kafka does not have the messages that a job, once started, has to read next."""
    topic = wanted.stream.topic
    try:
        kept = topics.offsets(topic)
    except NotFoundError as error:
        return error
    read = topics.committed(consumer_group(wanted.name), topic, list(kept))
    gaps = []
    for number, at in sorted(read.items()):
        place = kept[number]
        if at < place.first:
            gaps.append(f"partition {number}: {at} to {place.first - 1} are deleted")
        elif at > place.end:
            gaps.append(f"partition {number}: {at} comes next, and the topic ends at {place.end}")
    if read and not gaps:
        return None
    forgotten = "it has forgotten how far the job was, which it does after a week, and when a topic is made anew"
    return ConflictError(
        f"Kafka does not have the messages of {topic!r} that the job has to read next: {'; '.join(gaps) or forgotten}",
        where=f"job {wanted.name}",
        remedy="raise the retention of the topic; to go on without them: ./fs stream start JOB --accept-gap",
        code="topic-gap",
    )
