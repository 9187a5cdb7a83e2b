"""Errors of streams: of their definitions, and of the jobs that compute them."""

from __future__ import annotations

from feature_store.explanations.explanation import Explanation

_STREAM = (
    'clicks = StreamSource("clicks", topic="clicks", event_timestamp="ts",\n'
    '                      schema={"user_id": STRING, "ts": TIMESTAMP}'
)
_GROUP = """FeatureGroup("user_clicks", entity=user, source=clicks,  # <-
             owner="team:shop", features=[click_count]"""

STREAM_DEFINITIONS = (
    Explanation(
        "topic",
        "A topic has a name that Kafka does not take",
        "Kafka's names have 1 to 200 letters, digits, '.', '_' and '-'.",
        "Give the name of the topic as Kafka lists it.",
        _STREAM.replace('topic="clicks"', 'topic="my clicks"') + f")\n{_GROUP})",
    ),
    Explanation(
        "stream-setting",
        "A setting of streams is given to a group that reads none",
        "commit_interval and parallelism belong to the Flink job of a group over a StreamSource.",
        "Leave them out: Spark commits a partition at once.",
        'FeatureGroup("user_orders", entity=user, source=orders,  # <-\n'
        '             owner="team:shop", parallelism=8, features=[order_count])',
    ),
    Explanation(
        "emit",
        "A stream cannot write snapshots",
        "A streaming group writes a row when a value changes; a row for every entity at every second would be most of "
        "the work for nothing.",
        "Leave emit out, or make a group over the stream's history, which Spark computes.",
        f'{_STREAM})\n{_GROUP},\n             emit="snapshot")',
    ),
    Explanation(
        "freshness",
        "The freshness of a stream is shorter than a second",
        "It is looked at once a second at most.",
        "Use '1s' or more.",
        f'{_STREAM})\n{_GROUP},\n             freshness="10ms")',
    ),
    Explanation(
        "commit-interval",
        "The commit interval of a stream is out of range",
        "Each commit to Iceberg is a snapshot with files of its own; without commits, nothing is ever in the table.",
        "Use '1s' to '1h'; the default '5m' is right for most.",
        f'{_STREAM})\n{_GROUP},\n             commit_interval="1d")',
    ),
    Explanation(
        "parallelism",
        "The parallelism of a stream is out of range",
        "It is the number of tasks of the group's Flink job.",
        "Use 1 to 256, at most the number of slots of your Flink.",
        f"{_STREAM})\n{_GROUP},\n             parallelism=0)",
    ),
    Explanation(
        "lateness",
        "A stream allows less lateness than one slide",
        "An event that is late by less than a slide would already be a dead letter.",
        "Allow at least one slide.",
        f'{_STREAM},\n                      allowed_lateness="0s")\n{_GROUP})',
    ),
    Explanation(
        "history",
        "A stream's history does not hold the same rows as the stream",
        "Spark backfills and reconciles from the event log what Flink computes from the topic, so both have the same "
        "columns, event time and event id; and Flink appends to it, so it is an Iceberg table.",
        "Give the history a table= and the same schema, or leave it out: then it is events.<name>.",
        f'{_STREAM},\n                      history=BatchSource("log", path="clicks/*.parquet",\n'
        '                                          event_timestamp="ts",\n'
        '                                          schema={"user_id": STRING,\n'
        f'                                                  "ts": TIMESTAMP}}))\n{_GROUP})',
    ),
    Explanation(
        "avro-schema",
        "The Avro schema of a topic does not fit the columns that are read",
        "Every column of the schema is a field of the record, with a type that holds its values.",
        "Give the text of the .avsc file the messages are written with, and declare the types it has.",
        f'{_STREAM},\n                      format="avro", avro_schema="{{}}")\n{_GROUP})',
    ),
)

STREAM_JOBS = (
    Explanation(
        "unknown-stream",
        "There is no stream of this name",
        "The name is looked up among the StreamSources of the project.",
        "Take one of those that the message lists.",
    ),
    Explanation(
        "unknown-job",
        "There is no stream job of this name",
        "A job is called after its group (user_activity@1) or its event log ('log of clicks').",
        "Take one of those that ./fs stream status lists.",
    ),
    Explanation(
        "no-topic",
        "Kafka has no topic of this name",
        "A job reads its topic from the beginning of what Kafka keeps, so the topic must be there first.",
        "Create the topic, or correct topic= of the StreamSource.",
    ),
    Explanation(
        "job-busy",
        "Another process is at the same stream job",
        "A job is started and stopped by one process at a time: a command, or Dagster's sensor.",
        "Try again; if it goes on, look at the job's sensor in Dagster.",
    ),
    Explanation(
        "job-start",
        "A Flink job could not be started or stopped",
        "Flink refused the job, the command of your platform failed, or its cluster has not come up in time.",
        "The message has Flink's reason; ./fs logs and the logs of the cluster have more.",
    ),
    Explanation(
        "job-failing",
        "A Flink job fails again and again, or does not run",
        "Flink restarts it after each failure; nothing is lost, but its rows are getting stale.",
        "Correct the cause that the message names; Flink goes on trying.",
    ),
    Explanation(
        "savepoint",
        "A job could not be stopped with a savepoint",
        "The savepoint failed three times, or took too long. The job goes on, or resumes from its last checkpoint.",
        "Look at the job in Flink's page and at ./fs logs, then stop it again.",
    ),
    Explanation(
        "places-changed",
        "Redis is not as the loader of stream updates left it",
        "It was restarted or emptied, or another loader is at work.",
        "Nothing: the loader reads again from where Redis is.",
    ),
    Explanation(
        "log-behind",
        "The event log is not complete up to the instant that is needed",
        "A reconcile computes from the event log, so it waits until the log has all events of its days: those that "
        "Kafka has already, and those that can still come.",
        "See the job 'log of …' in ./fs stream status; reconcile when it has caught up.",
    ),
    Explanation(
        "log-columns",
        "The table of an event log does not fit the stream",
        "Columns that a source gains are added to the table of its log. But the time of the events has to be in it "
        "from the beginning, and a type cannot change: the events that are there have the old one. The jobs of the "
        "source go on as they were.",
        "Name another table in history=, or give the column the type that it has in the table.",
    ),
    Explanation(
        "job-kept",
        "A changed stream job did not come up, and the one before goes on",
        "Flink took the changed job and could not start it, for instance because it cannot read the state of the one "
        "before. That one goes on from the savepoint that it stopped with; it computes what the old definition says.",
        "Correct the definition. If the cause was elsewhere, try it again: ./fs stream restart user_activity@1.",
    ),
    Explanation(
        "kafka-refused",
        "Kafka did not take some messages",
        "They were sent again (./fs stream replay), and the broker did not confirm them in time.",
        "Look at ./fs status and ./fs logs kafka, then replay again: what Kafka has already is not sent twice.",
    ),
    Explanation(
        "log-gap",
        "The event log ends before the topic begins",
        "A new stream takes its history from the event log and goes on in Kafka. Kafka has deleted messages that the "
        "log does not have, so windows over them would be wrong.",
        "Append the events to the log from another copy, with kafka_partition and kafka_offset; or accept that they "
        "are missing: ./fs stream start user_activity@1 --accept-gap.",
    ),
    Explanation(
        "topic-gap",
        "Kafka does not have the messages that a job has to read next",
        "The job was down, or behind, for longer than the topic keeps its messages, or the topic was made anew. "
        "Without them the event log, or the windows of a group, would be wrong, and nothing would say so.",
        "Raise the retention of the topic. To go on without them: ./fs stream start user_activity@1 --accept-gap. What "
        "the event log has of them is in the rows after the next reconcile.",
    ),
    Explanation(
        "replay-runs",
        "Dead letters of this source are being sent already",
        "Two replays at once would send the same letters.",
        "Wait until it has ended: ./fs stream dead-letters shows it.",
    ),
    Explanation(
        "unsettled",
        "A day is reconciled before all its events can be there",
        "Events may still arrive within allowed_lateness, and would be taken for missing.",
        "Reconcile at the time that the message names; to compute the day from what is there, backfill the offline "
        "asset.",
    ),
)
