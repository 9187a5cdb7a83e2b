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
        "serving-native",
        "FS_SERVING_NATIVE has no such value",
        "It says whether the server uses its native core.",
        "Write on or off, or leave it out: then the core is used where it can be compiled.",
    ),
    Explanation(
        "native-core",
        "The native core of the server cannot be compiled here",
        "There is no C++17 compiler or no Python.h. Python answers instead: the same values, more slowly.",
        "Install both (Debian, Ubuntu: apt-get install g++ python3-dev) and start it again; CXX names a compiler.",
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
        "serving-cache",
        "FS_SERVING_CACHE is not a number of values",
        "The server remembers so many values of groups with cache= at most; 0 switches that off.",
        "Write a whole number, or leave it out.",
    ),
    Explanation(
        "traces-exporter",
        "Traces are to be sent in a way that the server does not know",
        "It sends them by OTLP over HTTP to a collector, which OTEL_EXPORTER_OTLP_ENDPOINT names.",
        "Write otlp or none, and http/protobuf for the protocol; a collector listens for that on its port 4318.",
    ),
    Explanation(
        "serving-deadline",
        "FS_SERVING_DEADLINE is not a time",
        "Redis has so many milliseconds for an answer; after that the entities of a request are UNAVAILABLE.",
        "Write a whole number from 1 to 60000, or leave it out.",
    ),
    Explanation(
        "serving-request-seconds",
        "FS_SERVING_REQUEST_SECONDS is not a time",
        "The head of a request may take so many seconds to arrive, and its body as many after that.",
        "Write a whole number from 1 to 3600, or leave it out.",
    ),
    Explanation(
        "serving-silence",
        "FS_SERVING_SILENCE is not a time",
        "One of several server processes that hangs for so many seconds is killed, and another one takes its place.",
        "Write a whole number from 1 to 3600, or leave it out.",
    ),
    Explanation(
        "on-demand-deadline",
        "FS_SERVING_ON_DEMAND_DEADLINE is not a time",
        "The function of an on-demand feature has so many milliseconds; after that the feature fails, and no other.",
        "Write a whole number from 1 to 60000, or leave it out.",
    ),
    Explanation(
        "serving-replicas",
        "FS_SERVING_REPLICAS does not say whether replicas answer",
        "Replicas of a Redis Cluster have rows that may be older than those of their primary.",
        "Write never, fallback (where their primary does not answer) or prefer.",
    ),
    Explanation(
        "serving-rate",
        "FS_SERVING_RATE is not a number of requests",
        "Each token may make so many requests in a second; those beyond them get a 429.",
        "Write a whole number, 0 for no limit, or leave it out.",
    ),
    Explanation(
        "serving-processes",
        "FS_SERVING_PROCESSES is not a number of processes",
        "So many processes of one server listen on the same ports, each on a core of its own; Linux only.",
        'Write a whole number from 1 to 256, or "auto" for the number of cores, or leave it out.',
    ),
    Explanation(
        "rate-limited",
        "A token asks more often than it may",
        "The limit, FS_SERVING_RATE, keeps one caller from slowing all others down.",
        "Wait a second, ask for more rows at once, or ask the operator to raise the limit.",
    ),
    Explanation(
        "serving-tls",
        "The server's certificate cannot be used",
        "FS_SERVING_CERT and FS_SERVING_KEY name files in PEM that belong together; FS_SERVING_CLIENT_CA an authority.",
        "Correct the files, or leave the variables out: connections are not encrypted then.",
    ),
    Explanation(
        "shutting-down",
        "The server is about to end",
        "It answers the calls that have begun, and takes no more.",
        "Ask again in a moment, or another server.",
    ),
    Explanation(
        "registrar-ended",
        "The process that registers groups has ended before it answered",
        "A server plans posted groups in a process of its own, which was killed or ran out of memory.",
        "Post the group again: another process is started, and what was recorded already is said to be unchanged.",
    ),
    Explanation(
        "malformed-request",
        "A request cannot be read",
        "Its query or its body is not written as the server reads it.",
        'Send {"rows": [{…key columns…}]} as JSON; encode queries as UTF-8 with percent signs.',
    ),
    Explanation(
        "wrong-definition",
        "A posted definition has faults",
        "It is checked as definitions in code are; errors has each fault, with its place in the body.",
        "Correct them; docs/definitions.schema.json is the form, ./fs errors explains the code of each fault.",
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
        "A head or a body is too large",
        "Each may have a megabyte; 1,000 rows of keys and request values fit in it.",
        "Ask for the rows in several requests.",
    ),
    Explanation(
        "slow-request",
        "A head or a body did not arrive in time",
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
        "Vectors are read with GET or POST, training jobs are asked for with POST and cancelled with DELETE.",
        "Use the method of the route.",
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
        "No model of this name or version is recorded with a view",
        "A model is registered with its view (store.register_model); one that is not is recorded when it trains "
        "(model= of training_dataset) or says in a request who it is (X-Model), without a version.",
        "Register it, or read the view by its own name; ./fs get lists the registered ones.",
    ),
    Explanation(
        "no-server",
        "A client does not know where the server of vectors is",
        "No address was given, FS_SERVING_URL is not set, and no stack runs here.",
        "Give the address, FeatureStoreClient(url), or set FS_SERVING_URL, or run ./fs up.",
    ),
    Explanation(
        "deadline",
        "A client got no answer in time",
        "The server is down, slow or not reached; the client has tried again as long as its deadline allowed.",
        "Look whether the server runs (its /health); or give the call a longer deadline=.",
    ),
    Explanation(
        "unexpected-answer",
        "What answers a client is no server of vectors",
        "The address may be another server's, or a gateway in between answers in its place.",
        "Correct the address; look at the gateway's log; use versions of client and server that fit.",
    ),
)
