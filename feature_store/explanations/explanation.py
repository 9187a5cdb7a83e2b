"""What is said of one error code."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Explanation:
    """One error code, for somebody who has just met it.

    Args:
        code: the stable name that stands in brackets behind an error's text.
        title: what is wrong, in one line.
        cause: why that is an error.
        remedy: what to do.
        example: definitions that cause it; the line that the error names ends in "# <-".
    """

    code: str
    title: str
    cause: str
    remedy: str
    example: str = ""
