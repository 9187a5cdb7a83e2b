"""Errors of training datasets as jobs."""

from __future__ import annotations

from feature_store.explanations.explanation import Explanation

TRAINING = (
    Explanation(
        "no-training-job",
        "There is no training job of this id",
        "Ids are given by whoever takes the job; this one was never given, or by another registry.",
        "GET /training-datasets lists the jobs that you may see.",
    ),
    Explanation(
        "training-quota",
        "Too many training datasets of a token are in the making",
        "Each token may have FS_SERVING_TRAINING_JOBS jobs that are queued or running, so that others have their turn.",
        "Wait as long as Retry-After says, or cancel one: DELETE /training-datasets/{job}.",
    ),
    Explanation(
        "training-job-taken",
        "A worker may not do a training job (any more)",
        "Another one works on it, or it was cancelled or has ended. One worker at a time runs a job.",
        "Look at the job; ask again for another one.",
    ),
    Explanation(
        "training-job-over",
        "A training job that has ended cannot be cancelled",
        "Its dataset is there, or it has failed.",
        "Nothing is to be done: a dataset that is there stays there.",
    ),
    Explanation(
        "training-cancelled",
        "A training job was cancelled",
        "Somebody has cancelled it, or has terminated its run in Dagster.",
        "Ask again for the dataset.",
    ),
    Explanation(
        "training-worker-lost",
        "Nobody works on a training job any more",
        "The process or the runs that worked on it have ended without a word, or were not heard of for two minutes. "
        "Runs of Dagster are started three times; a process of your own cannot be started again.",
        'Look at the log of the run for what ends it, such as too little memory; ask again. engine="dagster" makes '
        "datasets that outlive the process that asks.",
    ),
    Explanation(
        "training-failed",
        "A training job failed in a way that nobody has foreseen",
        "The message is that of the library that failed.",
        "Look at the log of the run, or of the process that made the dataset.",
    ),
    Explanation(
        "training-refused",
        "Dagster does not start the run of a training job",
        "The code that it has loaded has no such view, or refuses the run.",
        "Load the code location anew in Dagster, and see whether its graph has the asset training/<view>_v<version>.",
    ),
    Explanation(
        "warehouse-down",
        "The storage of the tables does not answer",
        "A training dataset is made from Iceberg tables, and a file of one cannot be read.",
        "See whether the storage is there, and FS_WAREHOUSE and its credentials are right.",
    ),
    Explanation(
        "no-dagster",
        "It is not known where Dagster is",
        "Runs of Dagster make the training datasets that a server is asked for.",
        'Set FS_DAGSTER_URL for the server, or run ./fs up; or make the dataset yourself with engine="local".',
    ),
    Explanation(
        "labels-of-process",
        "A run of Dagster cannot read these labels",
        "They need a password, or are a query over rows in the memory of the process that asks.",
        'Give files, tables of the store, or rows by themselves; or engine="local".',
    ),
    Explanation(
        "labels-not-offered",
        "A request names labels that the server does not offer",
        "The server reads with its own rights: callers may name what lies in the places of FS_SERVING_LABELS only.",
        "Send the rows in the request, or put them to one of these places.",
    ),
    Explanation(
        "too-many-labels",
        "A request has more label rows than it may",
        "Rows in a request are for small datasets.",
        "Put them to a Parquet file or a table, and name it in the request.",
    ),
    Explanation(
        "staged-labels",
        "The rows that came with a request are gone",
        "They were kept in the warehouse for the worker of the job, and somebody has removed them.",
        "Ask again, with the rows.",
    ),
    Explanation(
        "train-options",
        "The options of ./fs train do not fit together",
        "A process that does not wait makes no dataset and writes no file; --out names a .parquet or .csv file.",
        "Use --engine dagster with --no-wait, and --out only with --wait.",
    ),
    Explanation(
        "serving-labels",
        "FS_SERVING_LABELS makes no sense",
        "It lists the places of which callers may name labels.",
        "Write folders, iceberg:namespace and postgres:database.schema, separated by commas.",
    ),
    Explanation(
        "serving-training-jobs",
        "FS_SERVING_TRAINING_JOBS is no number of jobs",
        "It says how many training datasets of one token may be in the making at once.",
        "Write a whole number from 1 on, or leave it out.",
    ),
)
