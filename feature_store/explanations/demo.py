"""Errors of the demo and the benchmarks."""

from __future__ import annotations

from feature_store.explanations.explanation import Explanation

DEMO = (
    Explanation(
        "dagster-down",
        "Dagster does not answer",
        "Its web server is not running.",
        "Run ./fs status, then ./fs logs dagster-webserver.",
    ),
    Explanation(
        "dagster-empty",
        "Dagster has loaded no definitions",
        "A module of definitions cannot be imported.",
        "Look at ./fs logs dagster-code.",
    ),
    Explanation(
        "dagster-refused",
        "Dagster refuses a request",
        "The message has its reason.",
        "Look at ./fs logs.",
    ),
    Explanation(
        "run-failed",
        "A run of the demo failed",
        "The message has the reason of each step that failed.",
        "Open the run, correct the cause, run ./fs demo again.",
    ),
    Explanation(
        "label-window",
        "Labels are asked for whose outcome is not known yet",
        "A label says what a customer does in the days after it, and the data end before.",
        "Ask for labels up to the date that the message names.",
    ),
    Explanation(
        "demo-labels",
        "There are not enough labels to train a model and to judge it",
        "It is judged on the labels of the last 10 days, and trained on those whose 30 days had passed by then.",
        "Give labels of more than 40 days, true ones and others.",
    ),
    Explanation(
        "no-dead-letters",
        "The demo's bad events did not become dead letters",
        "The job that writes them may not run.",
        "Look at ./fs stream status.",
    ),
    Explanation(
        "demo-served",
        "The server did not answer the demo with vectors",
        "It may not run, or not know the view yet.",
        "Look at ./fs status and ./fs logs serving.",
    ),
    Explanation(
        "benchmark",
        "A benchmark did not come to an end",
        "What it measured is not what it meant to measure.",
        "The message has the reason; look at ./fs logs.",
    ),
)
