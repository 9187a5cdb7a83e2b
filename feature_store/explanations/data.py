"""Errors of data: what sources, labels and requests hold, and what was computed from them."""

from __future__ import annotations

from feature_store.explanations.explanation import Explanation

DATA = (
    Explanation(
        "source",
        "A source cannot be read",
        "Spark does not find the table, the files or the database, or may not read them.",
        "Check the name in the source's definition, and that the data were loaded.",
    ),
    Explanation(
        "source-type",
        "A column of a source has another type than the definition says",
        "Values are not converted silently.",
        "Declare the type that the column has, or store one of those that the message lists.",
    ),
    Explanation(
        "naive-timestamp",
        "A timestamp has no time zone",
        "All times are UTC instants; without a zone it is not known which one is meant.",
        "Add a time zone in the source: timestamp with time zone, pandas .dt.tz_localize('UTC'), or an offset "
        "such as +00:00.",
    ),
    Explanation(
        "not-an-instant",
        "A text or value is not an instant",
        "It is not a datetime with a time zone, nor ISO text.",
        "Write a datetime with a time zone, or 2026-01-31T12:00:00Z.",
    ),
    Explanation(
        "null-timestamp",
        "A label has no label_timestamp",
        "Without its time it is not known what a model could have seen.",
        "Drop these labels, or fill in their time.",
    ),
    Explanation(
        "finer-than-microseconds",
        "A timestamp is finer than a microsecond",
        "Times have microseconds everywhere; rounding silently could move a label across an event.",
        "Round it yourself: pandas .dt.floor('us'), Polars .dt.cast_time_unit('us').",
    ),
    Explanation(
        "out-of-range",
        "A timestamp lies outside the years 1 to 9999",
        "Neither Python nor Iceberg can hold it; often it is a placeholder for 'never'.",
        "Use NULL for what is not known, or correct the value.",
    ),
    Explanation(
        "wrong-type",
        "A value is not of the type that it should have",
        "A label column, a row or a stored value does not fit its declared type.",
        "Cast it to the type that the message names.",
    ),
    Explanation(
        "missing-column",
        "The labels lack a column",
        "A view is joined by the keys of its entities and label_timestamp; its on-demand features read request values.",
        "Add the columns that the message lists to the labels.",
    ),
    Explanation(
        "name-collision",
        "A column of the labels has a name that is taken",
        "Two columns of the labels, or one of them and a feature of the view, have one name.",
        "Rename or drop it in the labels.",
    ),
    Explanation(
        "unreadable-labels",
        "The labels cannot be read",
        "They are no table, no list of dicts and no file that can be read, or files differ in their columns.",
        "Give a Polars, pandas or Spark DataFrame, a pyarrow Table, a list of dicts, the path or glob of Parquet or "
        "CSV files, or the name of an Iceberg table.",
    ),
    Explanation(
        "no-labels",
        "There are no label rows",
        "A training dataset has the rows of its labels, so it would be empty; often a filter has left nothing.",
        "Give one row for each entity and time at which a model is to be trained.",
    ),
    Explanation(
        "label-query",
        "A query of labels cannot be run",
        "It is one SELECT of DuckDB's SQL, and sees the tables that are given with it: no files, no other databases.",
        "Correct it as the message says; give what else it reads as one of its tables.",
    ),
    Explanation(
        "time-range",
        "A span cannot stand for labels",
        "time_range makes a label for each entity and time of a view's rows: its groups have to share their keys, it "
        "must not ask for request values, and it stands in place of labels.",
        "Give labels: a table of the entities and times at which a model is to be trained.",
    ),
    Explanation(
        "row-count",
        "A training dataset would have other rows than its labels",
        "Every label makes one row; a join that wrote more or fewer has a fault, and its dataset was not kept.",
        "Report it, with the view and the labels.",
    ),
    Explanation(
        "dataset-name",
        "A training dataset cannot have this name",
        "The name becomes a folder.",
        "Use letters, digits, '_', '-' and '.'.",
    ),
    Explanation(
        "known-by",
        "There is no cut-off of this name",
        "known_by='label' hides rows that were written after a label; without it all rows count.",
        "Leave it out, or give 'label'.",
    ),
    Explanation(
        "snapshot-group",
        "A snapshot is given for a group that the view does not read",
        "Snapshots say, for groups of the view, which state of their tables is read.",
        "Take the groups that the message lists.",
    ),
    Explanation(
        "no-snapshot",
        "A table has no snapshot of this number any more",
        "Snapshots expire, unless a training dataset or model refers to them.",
        "Leave the snapshot out to read the table as it is now.",
    ),
    Explanation(
        "not-materialized",
        "The offline table of a group does not exist",
        "Nothing was computed yet.",
        "Backfill the group's offline asset in Dagster.",
    ),
    Explanation(
        "missing-columns",
        "The table of a group lacks columns of its definition",
        "The definition has features that no run has written yet.",
        "Run ./fs apply, then the newest partition; or materialize the group anew.",
    ),
    Explanation(
        "type-change",
        "A feature has another type than the one it is stored with",
        "What is stored under a version keeps its type, so that no reader misreads it.",
        "Give the group a new version.",
    ),
    Explanation(
        "delete-files",
        "An Iceberg table has delete files",
        "They are written by merge-on-read, and the readers of features do not apply them.",
        "Keep the table copy-on-write (write.delete.mode=copy-on-write), and rewrite its data files once.",
    ),
    Explanation(
        "concurrent-write",
        "Another run has written the same days",
        "Two runs of one partition at a time; this one has written nothing.",
        "Run the partition again.",
    ),
    Explanation(
        "expectation",
        "Computed rows do not meet an expectation",
        "They were judged before anything was written: Iceberg and Redis are as they were.",
        "Correct the source or the expectation, then run the partition again.",
    ),
    Explanation(
        "function-failed",
        "The function of an on-demand feature fails on some values",
        "It raised an error for the values of this request or training set.",
        "Give other values, or let the function return NULL for them.",
    ),
    Explanation(
        "embedding",
        "An embedding does not have its size, or holds a number that is not finite",
        "An EMBEDDING(n) has n finite numbers.",
        "Store NULL instead of an embedding that is not whole.",
    ),
    Explanation(
        "run-rows",
        "The rows given to FeatureGroup.run are not those of the group's sources",
        "A group with several sources takes its rows by source name.",
        "Give {'source': [rows], …}, with an empty list for a source without rows.",
    ),
    Explanation(
        "skew-dataset",
        "A folder is no training dataset that a view can be compared with",
        "What a view has served is compared with a training dataset that has all its features.",
        "Name the folder of a dataset of this view, or leave it out to compare with rows of the offline store.",
    ),
)
