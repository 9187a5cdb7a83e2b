"""The table of a size: a line for each way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple
from statistics import median

from benchmarks.training.made import Size
from benchmarks.training.ways import Run, Way

_HEADS = ("s", "x sort", "CPU s", "x sort", "labels/s", "peak MB", "read MB", "rows in", "rows out")
_WIDTHS = (8, 7, 8, 7, 11, 8, 8, 13, 13)


def medians(runs: Sequence[Run]) -> Run:
    """Of each figure the median; which may be of different runs."""
    return Run(*map(median, zip(*map(astuple, runs), strict=True)))


def table(size: Size, measured: Mapping[Way, Sequence[Run] | str], differs: Mapping[Way, str]) -> list[str]:
    """The lines of a size.

    Args:
        measured: the runs of each way, or why there are none.
        differs: of each way, how its result compares with ours.
    """
    found = {way: medians(runs) for way, runs in measured.items() if not isinstance(runs, str)}
    sorts = [run for way, run in found.items() if way.kind == "sort"]
    seconds = min((run.seconds for run in sorts), default=float("nan"))
    cpu = min((run.cpu for run in sorts), default=float("nan"))
    heads = (f"{head:>{width}}" for head, width in zip(_HEADS, _WIDTHS, strict=True))
    lines = [f"\n{size}", f"{'':22} {' '.join(heads)}  differs from ours"]
    rows = size.rows * size.groups
    for way, runs in measured.items():
        if isinstance(runs, str):
            lines.append(f"{way.name:22} {runs}")
            continue
        run = found[way]
        cells = (
            f"{run.seconds:.2f}",
            f"{run.seconds / seconds:.2f}",
            f"{run.cpu:.2f}",
            f"{run.cpu / cpu:.2f}",
            f"{size.labels / run.seconds:,.0f}" if way.kind != "sort" else "",
            f"{run.peak / 1e6:,.0f}",
            f"{run.read / 1e6:,.0f}",
            f"{rows if way.kind == 'sort' else rows + size.labels:,}",
            f"{run.rows:,}",
        )
        aligned = " ".join(f"{cell:>{width}}" for cell, width in zip(cells, _WIDTHS, strict=True))
        lines.append(f"{way.name:22} {aligned}  {differs.get(way, '')}".rstrip())
    return lines
