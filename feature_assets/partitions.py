"""Partitions: one shared object for each cadence and first day."""

from __future__ import annotations

from datetime import datetime
from functools import cache

from dagster import DailyPartitionsDefinition, HourlyPartitionsDefinition, TimeWindowPartitionsDefinition

from feature_store.dsl.group import FeatureGroup


def partitions_of(group: FeatureGroup) -> TimeWindowPartitionsDefinition:
    """The partitions of a group: days or hours of events, UTC, from the group's start."""
    return _partitions(group.refresh, group.start)


@cache
def _partitions(cadence: str, start: str) -> TimeWindowPartitionsDefinition:
    if cadence == "hourly":
        return HourlyPartitionsDefinition(start_date=f"{start}-00:00")
    return DailyPartitionsDefinition(start_date=start)


def partition_of(group: FeatureGroup, instant: datetime) -> str:
    """The key of the partition that an instant is in."""
    return instant.strftime(partitions_of(group).fmt)


def last_over(group: FeatureGroup, instant: datetime) -> str | None:
    """The key of the last partition that is over at an instant; None before the first one is."""
    window = partitions_of(group).get_prev_partition_window(instant)
    return None if window is None else partition_of(group, window.start)
