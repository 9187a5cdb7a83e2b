"""Errors of stored training datasets: finding one, making it again, reading and splitting it."""

from __future__ import annotations

from feature_store.explanations.explanation import Explanation

DATASETS = (
    Explanation(
        "no-dataset",
        "There is no training dataset at a place",
        "A folder is a dataset when it has a manifest, which is written last: this one has none.",
        "Name the folder of a dataset, or its manifest.json; a build that has not ended is not there yet.",
    ),
    Explanation(
        "manifest",
        "The manifest of a training dataset cannot be used",
        "It is no manifest, it was written by a later version, or it lacks what is asked of it.",
        "Name the folder of a dataset that this version of the feature store has made.",
    ),
    Explanation(
        "dataset-storage",
        "The bucket of training datasets cannot be used",
        "The S3 server does not answer, the bucket is missing, or the credentials do not fit. Nothing was kept.",
        "Look at FS_WAREHOUSE, FS_S3_ENDPOINT and the credentials in the environment, then ask again.",
    ),
    Explanation(
        "like",
        "A dataset cannot be like another one and different",
        "like= makes a dataset again, of the view, snapshots and known_by that it was made of; others were given.",
        "Leave these arguments out, or leave like= out.",
    ),
    Explanation(
        "labels-changed",
        "The labels are not those of the dataset that is to be made again",
        "The hash of their values, types and order is another one, so the rows would be others.",
        "Give the same labels, or none: the dataset has them. For other labels leave like= out.",
    ),
    Explanation(
        "split",
        "A dataset cannot be split like this",
        "The parts overlap or are empty, a time has no zone, or it is not known how far features look back.",
        "Give times with a zone, or shares of the rows: split(validation=0.1, test=0.1, gap='30d').",
    ),
    Explanation(
        "sample",
        "A sample of a dataset makes no sense",
        "A share is not between 0 and 1, or the column of the classes does not fit.",
        "Write sample(0.1, seed=1), or sample({True: 1.0, False: 0.1}, by='bought', seed=1).",
    ),
    Explanation(
        "batch-rows",
        "A batch has at least one row",
        "The number of rows of a batch is not positive.",
        "Give a positive number, such as 8192.",
    ),
    Explanation(
        "no-tensor",
        "A column cannot be in a tensor",
        "Tensors hold numbers, truth values and embeddings; a whole-numbered target has no way to say that it is NULL.",
        "Choose other columns, encode texts yourself from batches(rows), or leave out the rows without a target.",
    ),
    Explanation(
        "reader-library",
        "A library that a reader needs is not installed",
        "torch and datasets are no part of the feature store: only who uses them installs them.",
        "Install it in the Python environment that trains, such as pip install torch.",
    ),
)
