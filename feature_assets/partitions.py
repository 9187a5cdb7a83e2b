"""Partitions: one shared object for each cadence and first day."""

from __future__ import annotations

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
