"""Why something failed, in a line, from all the lines that Java writes about it."""

from __future__ import annotations

_LONGEST = 400


def root_cause(words: str) -> str:
    """The innermost cause in a Java stack trace; of other words the last line; empty if there are none."""
    lines = [line.strip() for line in words.splitlines()]
    said = [line for line in lines if line and not line.startswith(("at ", "... "))]
    causes = [line.removeprefix("Caused by: ") for line in said if line.startswith("Caused by: ")]
    return (causes or said or [""])[-1][:_LONGEST]
