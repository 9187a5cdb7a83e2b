"""Has partitions computed again that rows which came late into a source have touched."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import dagster as dg

from feature_assets.chunks import in_chunks
from feature_assets.keys import offline_key, online_key
from feature_assets.partitions import partitions_of
from feature_store.dtypes import from_micros
from feature_store.plan.nodes import GroupPlan
from resources.store import FeatureStoreResource

if TYPE_CHECKING:
    from feature_store.offline.late import Bounds

LOOK_SECONDS = 60


def late_row_sensors(plans: Iterable[GroupPlan]) -> list[dg.SensorDefinition]:
    """One sensor for all groups; none without groups."""
    given = tuple(plans)
    return [_sensor(given)] if given else []


def _sensor(plans: tuple[GroupPlan, ...]) -> dg.SensorDefinition:
    keys = [key for plan in plans for key in (offline_key(plan.group), online_key(plan.group))]
    unmoved: dict[str, str] = {}  # of this process: where the metadata of tables is that had no late rows

    @dg.sensor(
        name="late_rows",
        description="Computes partitions again that late rows of a source have touched, and publishes what is newest.",
        minimum_interval_seconds=LOOK_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        asset_selection=dg.AssetSelection.assets(*keys),
    )
    def look(context: dg.SensorEvaluationContext, store: FeatureStoreResource) -> dg.SensorResult:
        from feature_store.offline.catalog import table_places

        places = table_places(store.catalog)
        asked: list[dg.RunRequest] = []
        for plan in plans:
            name = plan.schema.table
            if name not in places or unmoved.get(name) == places[name]:
                continue
            late = _late_spans(store, plan)
            asked += _requests(context, plan, late)
            if not late.spans:
                unmoved[name] = places[name]
        return dg.SensorResult(run_requests=asked, skip_reason=None if asked else "no late rows")

    return look


@dataclass(frozen=True)
class _Late:
    """The spans that late rows of a group's sources have touched, and a digest of up to where these were looked at."""

    spans: list[Bounds]
    sources: str = ""


def _late_spans(store: FeatureStoreResource, plan: GroupPlan) -> _Late:
    from pyiceberg.exceptions import NoSuchTableError

    from feature_store.offline.late import SOURCES, late_spans

    try:
        properties = store.catalog.load_table(plan.schema.table).properties
    except NoSuchTableError:  # it has just been dropped
        return _Late([])
    sources = hashlib.blake2b(properties.get(SOURCES, "").encode(), digest_size=8)  # a cursor may be long
    return _Late(late_spans(properties), sources.hexdigest())


def _requests(context: dg.SensorEvaluationContext, plan: GroupPlan, late: _Late) -> Iterator[dg.RunRequest]:
    """One run for each chunk of touched partitions: asked for once, and again after the next newest partition."""
    if not late.spans:
        return
    keys = [offline_key(plan.group), online_key(plan.group)]
    computed = context.instance.get_materialized_partitions(keys[0])
    for first, last in stretches(plan, late.spans, computed):
        for tags in in_chunks(plan, first, last):
            yield dg.RunRequest(
                run_key=f"{plan.group.id} {' '.join(tags.values())} {late.sources}",
                asset_selection=keys,
                tags=tags,
            )


def stretches(plan: GroupPlan, late: Iterable[Bounds], computed: set[str]) -> Iterator[tuple[str, str]]:
    """The first and last key of each run of neighbouring partitions in some spans that were computed before."""
    partitions = partitions_of(plan.group)
    for after, until in late:
        stretch: list[str] = []
        window = dg.TimeWindow(from_micros(after), from_micros(until))
        for key in [*partitions.get_partition_keys_in_time_window(window), ""]:
            if key in computed:
                stretch.append(key)
            elif stretch:
                yield stretch[0], stretch[-1]
                stretch = []
