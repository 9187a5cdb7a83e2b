"""Errors of the local stack: services, programs, settings."""

from __future__ import annotations

from feature_store.explanations.explanation import Explanation

STACK = (
    Explanation(
        "unknown-code",
        "There is no error code of this name",
        "Codes stand in brackets behind the text of an error.",
        "./fs errors lists all of them.",
    ),
    Explanation(
        "no-stack",
        "No stack is running",
        "There is no record of one in the state folder, or its supervisor has ended.",
        "Run ./fs up; or set FS_PG_URL and FS_REDIS_URL to services of your own.",
    ),
    Explanation(
        "no-streams",
        "The stack runs without Kafka and Flink",
        "It was started before a stream was defined, or with --no-streams.",
        "Run ./fs up --streams.",
    ),
    Explanation(
        "service-failed",
        "A service did not start",
        "It ended before it was ready.",
        "./fs logs SERVICE shows why; then run ./fs up again.",
    ),
    Explanation(
        "supervisor",
        "The supervisor of the stack did not start or ended unexpectedly",
        "It is the process that keeps the services running.",
        "The end of its log has the reason; then run ./fs up again.",
    ),
    Explanation(
        "stopped",
        "The stack was stopped while it started",
        "Another process has run ./fs down.",
        "Run ./fs up again.",
    ),
    Explanation(
        "state-folder",
        "The state folder cannot be used",
        "Another supervisor holds it, perhaps in another container; or it is full, or not ours to write.",
        "Stop the other one, make room, or set FS_HOME to another folder.",
    ),
    Explanation(
        "data-folder",
        "The data folder of a service could not be made",
        "The disk is full, or the folder is not ours to write.",
        "Free some disk space, or set FS_HOME to another folder.",
    ),
    Explanation(
        "damaged-data",
        "The data folder of a service is damaged",
        "A file that it always has is missing.",
        "Put the folder back as it was, or start empty with ./fs reset.",
    ),
    Explanation(
        "port",
        "A port cannot be used",
        "It is taken by another program, or the setting is not a port.",
        "Stop that program, or set FS_PORT to another first port, 1024 to 65000.",
    ),
    Explanation(
        "join-memory",
        "FS_JOIN_MEMORY is not a size of memory",
        "So much memory may a training join take; with less, labels and features go through scratch files, which takes "
        "longer.",
        "Write megabytes or gigabytes, such as 512m or 4g; at least 256m.",
    ),
    Explanation(
        "pool-slots",
        "FS_POOL_SLOTS is not a number of slots",
        "So many steps of each of Dagster's pools run at once, each with a Spark driver or a load of Redis.",
        "Write a number from 1 to 1000.",
    ),
    Explanation(
        "materialize-rows",
        "FS_MATERIALIZE_ROWS is not a number of rows",
        "A materialization into Redis reads so many rows at once, and keeps the newest rows of so many entities; about "
        "four times as many are in memory. A bucket with more entities is read once for each part of them.",
        "Write a whole number, such as 1000000; a smaller one needs less memory and takes longer.",
    ),
    Explanation(
        "root",
        "Postgres cannot run as root here",
        "It refuses to, and there is no way to become another user.",
        "Run as a plain user; or set FS_HOME to a folder that every user can reach, or FS_PG_URL to a server.",
    ),
    Explanation(
        "service-address",
        "A setting is not the address of a service",
        "Its URL could not be understood, or names more or less than it should.",
        "Write what the message shows; all settings are listed in feature_store/settings.py.",
    ),
    Explanation(
        "postgres-down",
        "The PostgreSQL server cannot be used",
        "It does not answer, or refuses the user.",
        "Start it or correct FS_PG_URL; without the variable there is an embedded server.",
    ),
    Explanation(
        "postgres-privilege",
        "The user of the PostgreSQL server may not create databases",
        "The feature store keeps several databases.",
        "Create them there, or grant CREATEDB.",
    ),
    Explanation(
        "kafka-address",
        "FS_KAFKA is not the address of a Kafka",
        "It has no host and port, or a mechanism that is not supported.",
        "Write host:port,host:port or sasl_ssl://user:password@host:port?mechanism=SCRAM-SHA-512.",
    ),
    Explanation(
        "kafka-down",
        "Kafka does not answer",
        "It is not running, or cannot be reached or used from here.",
        "Run ./fs up; or correct FS_KAFKA.",
    ),
    Explanation(
        "flink-down",
        "Flink does not answer",
        "Its JobManager is not running, or cannot be reached from here.",
        "Run ./fs up; or correct FS_FLINK_URL.",
    ),
    Explanation(
        "flink-refused",
        "Flink refuses a request",
        "It does not know the job any more, or cannot do what was asked.",
        "Look at ./fs stream status and at Flink's page.",
    ),
    Explanation(
        "flink-version",
        "The Flink cluster has another version",
        "Jobs are made for one version of Flink.",
        "Run the version that the message names; without FS_FLINK_URL there is an embedded one.",
    ),
    Explanation(
        "flink-python",
        "A Python for Flink cannot be used",
        "It does not run, or has no usable package pyflink.",
        "Install apache-flink 2.1 there, or unset FS_FLINK_PYTHON to get an environment of our own.",
    ),
    Explanation(
        "flink-environment",
        "The Python environment of Flink could not be made",
        "Its packages could not be installed.",
        "Check the network and pip's index settings, then run ./fs up again.",
    ),
    Explanation(
        "workspace",
        "There is no usable Dagster workspace",
        "The file is missing, or is not a list of code locations.",
        "Restore workspace.yaml, or set FS_WORKSPACE.",
    ),
    Explanation(
        "java",
        "There is no Java that Spark can run on",
        "Spark needs Java 17 or 21.",
        "Set FS_JAVA_HOME to one, or unset it to use the embedded one.",
    ),
    Explanation(
        "spark-start",
        "Spark does not start",
        "Java ended, or a setting is wrong.",
        "Run ./fs status, then ./fs logs.",
    ),
    Explanation(
        "missing-jars",
        "Jars of Spark are missing",
        "They are fetched once, by ./fs up.",
        "Run ./fs up.",
    ),
    Explanation(
        "download",
        "A jar could not be downloaded",
        "The server does not answer, or what arrived is not the file that is locked.",
        "Check the network, or set FS_JAR_MIRROR to a Maven repository; what has arrived is kept.",
    ),
    Explanation(
        "warehouse",
        "FS_WAREHOUSE or a variable of S3 cannot be used",
        "It names S3 but no bucket, or FS_S3_PATH_STYLE is neither true nor false.",
        "Write s3://bucket/prefix; for a server other than AWS set FS_S3_ENDPOINT, too.",
    ),
    Explanation(
        "spark-conf",
        "FS_SPARK_CONF cannot be used",
        "It is neither a file nor pairs spark.name=value, or sets what rows depend on, where tables are, or a secret.",
        "Correct or leave out what the message names; secrets belong into the environment of driver and workers.",
    ),
    Explanation(
        "jars-lock",
        "The file jars.lock has a line that cannot be read",
        "Each line is 'group:artifact:version sha256 size groups'.",
        "Restore the file.",
    ),
    Explanation(
        "java-build",
        "What is written in Java cannot be compiled",
        "The sources are missing or changed.",
        "Restore the folder that is named, or correct what the compiler names.",
    ),
    Explanation(
        "missing-package",
        "A Python package is missing, or has nothing for this machine",
        "The environment is not the one that ./fs makes, or the package has no build for this processor.",
        "Start through ./fs, which installs the locked requirements; or set FS_REDIS_URL to a Redis server.",
    ),
    Explanation(
        "program",
        "A program of the stack does not run",
        "It is not made for this machine, or a library is missing.",
        "The message says how to use another one.",
    ),
    Explanation(
        "lock",
        "The requirements could not be locked",
        "uv is missing, or finds no versions that go together.",
        "Install uv, or correct pyproject.toml.",
    ),
    Explanation(
        "no-log",
        "There is no log of this service",
        "It was never started in this state folder.",
        "Take one of those that the message lists.",
    ),
)
