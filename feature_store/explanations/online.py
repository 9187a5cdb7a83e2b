"""Errors of online reading and writing."""

from __future__ import annotations

from feature_store.explanations.explanation import Explanation

ONLINE = (
    Explanation(
        "nothing-to-read",
        "Redis has no row of a group",
        "A load on the server asks for entities that are there.",
        "Materialize the group: in Dagster, or by ./fs demo.",
    ),
    Explanation(
        "missing-key-column",
        "A request lacks a part of the key",
        "Every entity of the view is identified by its join key.",
        "Give all columns of the key, in every row.",
    ),
    Explanation(
        "wrong-key-type",
        "A key of a request has another type than the entity says",
        "5 and '5' are different keys, unless the entity's type makes them one.",
        "Give keys of the entity's type.",
    ),
    Explanation(
        "unknown-request-value",
        "A request gives a value that the view does not take",
        "The name may be misspelt, and the value would be ignored.",
        "Give the request values of the view.",
    ),
    Explanation(
        "missing-request-value",
        "A request lacks a value that on-demand features read",
        "request= of the view declares it.",
        "Give it for all rows; None is a value.",
    ),
    Explanation(
        "wrong-request-type",
        "A request value has another type than the view says",
        "Values are not converted silently.",
        "Give a value of the declared type.",
    ),
    Explanation(
        "not-in-view",
        "A vector has no feature of this name",
        "Only the view's features are in it.",
        "Take names from view.outputs.",
    ),
    Explanation(
        "not-numeric",
        "A feature is not a number, and a NumPy matrix holds numbers only",
        "STRING, BOOL, TIMESTAMP and LIST features have no place in it; an EMBEDDING is a column for each number.",
        "Name the numeric features, to_numpy([...]), or use to_arrow().",
    ),
    Explanation(
        "matrix-type",
        "A matrix of vectors has float32 or float64 numbers",
        "Other types cannot hold NULL, which is NaN.",
        'Use to_numpy(dtype="float32") or "float64", and convert the matrix.',
    ),
    Explanation(
        "package-missing",
        "A package that this needs is not installed",
        "Reading vectors needs few packages; to_arrow() needs PyArrow, to_torch() PyTorch.",
        "Install it, or use another form of the vectors.",
    ),
    Explanation(
        "unreadable-value",
        "A value in Redis cannot be read",
        "It was written by something else, or by a newer version of the feature store.",
        "Upgrade this client; or materialize the group again with full=True.",
    ),
    Explanation(
        "unknown-layout",
        "A value in Redis has a layout that is not recorded there",
        "A newer writer has stored it, or a part of Redis was deleted.",
        "Materialize the group again with full=True.",
    ),
    Explanation(
        "layouts-used-up",
        "A group has had too many sets of features",
        "Each change of a group's features is a layout, so that old values stay readable.",
        "Give the group a new version.",
    ),
    Explanation(
        "redis-function",
        "Another version keeps replacing the function inside Redis",
        "Two versions of the feature store write to one Redis.",
        "Run one version against this Redis.",
    ),
    Explanation(
        "redis-address",
        "The address of Redis is not a URL of Redis",
        "FS_REDIS_URL could not be understood.",
        "Write redis://host:port/0, or rediss:// for TLS.",
    ),
    Explanation(
        "unknown-online-store",
        "A group is in an online store that nobody knows",
        "online_store= of the group is not among the names in FS_ONLINE_STORES, as this process was started with.",
        "Add name=redis://host:port to FS_ONLINE_STORES wherever groups are planned, written and served.",
    ),
    Explanation(
        "online-stores",
        "FS_ONLINE_STORES cannot be understood",
        "It gives each online store a name and a URL of Redis.",
        "Write hot=redis://host:port/0,cold=rediss://host:port/0.",
    ),
    Explanation(
        "redis-down",
        "Redis does not answer",
        "It is not running, or cannot be reached from here.",
        "Run ./fs up; or correct FS_REDIS_URL.",
    ),
    Explanation(
        "redis-refused",
        "Redis refuses a command",
        "It is out of memory, read-only, or the user lacks a permission.",
        "The message has Redis' reason.",
    ),
)
