"""Parts of a dataset for training, validation and test, one after the other in time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from feature_store.datasets.filters import LABEL_TIMESTAMP, TimeSpan, label_times
from feature_store.datasets.rows import DatasetRows
from feature_store.dtypes import from_micros
from feature_store.duration import parse_duration
from feature_store.errors import InputError

_REMEDY = "give validation= and test= as times with a zone or as shares of the rows, such as validation=0.1, test=0.1"


@dataclass(frozen=True)
class TimeSplit:
    """Parts of a dataset, the later the later.

    Attributes:
        train: before all others.
        validation, test: None if they were not asked for.
        gap: what was left out before each part but the first.
    """

    train: DatasetRows
    validation: DatasetRows | None
    test: DatasetRows | None
    gap: timedelta


def split_by_time(
    rows: DatasetRows,
    validation: datetime | float | None,
    test: datetime | float | None,
    gap: timedelta | str | None,
) -> TimeSplit:
    """`DatasetRows.split`."""
    if validation is None and test is None:
        raise _refused("there is no part beside that for training", "validation, test")
    kept = _gap(rows, gap)
    begins = [begin for begin in _begins(rows, validation, test) if begin is not None]
    if begins != sorted(set(begins)):
        raise _refused("the test does not begin after the validation", "validation, test")
    ends = [begin - kept for begin in begins]
    train, *later = [rows.part(TimeSpan(start, end)) for start, end in zip([None, *begins], [*ends, None], strict=True)]
    if validation is None:
        return TimeSplit(train, None, later[0], kept)
    return TimeSplit(train, later[0], later[1] if test is not None else None, kept)


def _begins(
    rows: DatasetRows, validation: datetime | float | None, test: datetime | float | None
) -> tuple[datetime | None, datetime | None]:
    """When validation and test begin; rows of one time are all in the later part."""
    given = {name: begin for name, begin in (("validation", validation), ("test", test)) if begin is not None}
    begins: dict[str, datetime] = {}
    shares: dict[str, float] = {}
    for name, begin in given.items():
        if not isinstance(begin, datetime):
            if not 0 < begin < 1:
                raise _refused(f"{begin} is no share of the rows between 0 and 1", name)
            shares[name] = begin
        elif begin.tzinfo is None:
            raise _refused("the time has no zone", name)
        else:
            begins[name] = begin
    if begins and shares:
        raise _refused("one is a time and the other one a share", "validation, test")
    if shares:
        begins = _begins_of_shares(rows, shares)
    return begins.get("validation"), begins.get("test")


def _begins_of_shares(rows: DatasetRows, shares: Mapping[str, float]) -> dict[str, datetime]:
    times = np.sort(np.concatenate([label_times(table) for table in rows.tables([LABEL_TIMESTAMP])]))
    begins, left = {}, len(times)
    for name, share in reversed(list(shares.items())):
        count = round(len(times) * share)
        if not count:
            raise _refused(f"of {len(times)} rows it gets none", name)
        left -= count
        if left <= 0:
            raise _refused(f"of {len(times)} rows none are left for training", "validation, test")
        begins[name] = from_micros(int(times[left]))
    return begins


def _gap(rows: DatasetRows, gap: timedelta | str | None) -> timedelta:
    if gap is None:
        if rows.manifest.longest_window is None:
            raise InputError(
                f"it is not known how far the features of view {rows.manifest.view} look back",
                where="gap",
                remedy="give the time that their longest window spans: gap='30d'; '0s' for none",
                code="split",
            )
        return timedelta(microseconds=rows.manifest.longest_window)
    try:
        found = gap if isinstance(gap, timedelta) else timedelta(microseconds=parse_duration(gap))
    except ValueError as error:
        raise InputError(str(error), where="gap", remedy="write a duration, such as '30d'", code="split") from None
    if found < timedelta(0):
        raise InputError("it is negative", where="gap", remedy="write a duration, such as '30d'", code="split")
    return found


def _refused(message: str, where: str) -> InputError:
    return InputError(message, where=where, remedy=_REMEDY, code="split")
