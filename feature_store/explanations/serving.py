"""Errors of the server."""

from __future__ import annotations

from feature_store.explanations.explanation import Explanation

SERVING = (
    Explanation(
        "open-address",
        "The server would answer a whole network without tokens",
        "Everybody there could read everything.",
        "Leave FS_SERVING_TOKENS out and make tokens with ./fs token create; or leave FS_SERVING_HOST out.",
    ),
    Explanation(
        "serving-tokens",
        "FS_SERVING_TOKENS has no such value",
        "It says whether every request needs a token.",
        "Write required or none, or leave it out: then requests from this machine need none, all others one.",
    ),
    Explanation(
        "token-missing",
        "A request has no token, and the server needs one",
        "It answers callers whom it knows.",
        'Send "Authorization: Bearer fs_…"; ./fs token create makes a token.',
    ),
    Explanation(
        "serving-queue",
        "FS_SERVING_QUEUE is not a number of commands",
        "So many commands wait for Redis at once at most; requests beyond them get a 503.",
        "Write a whole number from 1, or leave it out.",
    ),
    Explanation(
        "shutting-down",
        "The server is about to end",
        "It answers the calls that have begun, and takes no more.",
        "Ask again in a moment, or another server.",
    ),
    Explanation(
        "malformed-request",
        "A request cannot be read",
        "Its query or its body is not written as the server reads it.",
        'Send {"rows": [{…key columns…}]} as JSON; encode queries as UTF-8 with percent signs.',
    ),
    Explanation(
        "no-rows",
        "A request asks for no entity",
        "There would be nothing in the answer.",
        "Give at least one id, or one row.",
    ),
    Explanation(
        "too-many-rows",
        "A request asks for more rows than one answer has",
        "One large request would hold up those behind it.",
        "Ask for at most 1,000 rows, and for more in several requests.",
    ),
    Explanation(
        "media-type",
        "A body is of a type that the server does not read",
        "It reads JSON and MessagePack.",
        "Set Content-Type to application/json or application/msgpack.",
    ),
    Explanation(
        "unknown-shape",
        "An answer has no such shape",
        "shape= says in which form the answer is written.",
        "Use columns, records, msgpack or arrow.",
    ),
    Explanation(
        "large-request",
        "A body is too large",
        "1,000 rows of keys and request values fit in a megabyte.",
        "Ask for the rows in several requests.",
    ),
    Explanation(
        "slow-request",
        "A body did not arrive in time",
        "A caller that sends slowly would keep the server waiting.",
        "Send the request again.",
    ),
    Explanation(
        "no-route",
        "There is nothing at this address",
        "The path is not one of the server's.",
        "GET /feature-groups and /feature-views list what there is.",
    ),
    Explanation(
        "wrong-method",
        "A path does not answer this method",
        "Vectors are read with GET or POST, everything else with GET.",
        "Use the method of the route.",
    ),
    Explanation(
        "not-built",
        "A route whose work is not there yet",
        "The path is reserved for it.",
        "Use a later version.",
    ),
    Explanation(
        "busy",
        "Too many requests wait for Redis",
        "The server answers what it can and refuses the rest at once, rather than all of it late.",
        "Try again after the time in Retry-After; add servers if it happens often.",
    ),
    Explanation(
        "server-failed",
        "The server made a mistake",
        "Something happened that it was not written for.",
        "Look for the request's id in its log: ./fs logs serving.",
    ),
    Explanation(
        "unknown-model",
        "No model of this name is recorded with a view",
        "A model is recorded when it trains (model= of training_dataset) or says in a request who it is (X-Model).",
        "Train with model=, or read the view by its own name.",
    ),
)
