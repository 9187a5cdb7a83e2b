"""The dead letters of a stream, as a check of its event log: how many of each reason, and whether too many."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import dagster as dg

from feature_assets.keys import log_key
from feature_store.dsl.source import StreamSource
from feature_store.plan.nodes import GroupPlan
from resources.store import FeatureStoreResource

if TYPE_CHECKING:
    from feature_store.streaming.dead_letters import LetterCounts

DEAD_LETTERS = "dead_letters"


def streams_of(plans: Sequence[GroupPlan]) -> list[StreamSource]:
    """Each stream that one of the groups reads, once."""
    return list({plan.stream.name: plan.stream for plan in plans if plan.stream is not None}.values())


def dead_letter_key(stream: StreamSource) -> dg.AssetCheckKey:
    """The check of a stream's dead letters."""
    return dg.AssetCheckKey(log_key(stream), DEAD_LETTERS)


def dead_letter_check(stream: StreamSource) -> dg.AssetChecksDefinition:
    """The check of a stream's dead letters. A sensor reports it all the time; it can be run, too."""

    @dg.asset_check(
        asset=log_key(stream),
        name=DEAD_LETTERS,
        description=f"At most {stream.dead_letter_rate:.2%} of the last hour's messages could not be used.",
    )
    def dead_letters(store: FeatureStoreResource) -> dg.AssetCheckResult:
        found = store.dead_letters(stream)
        return dg.AssetCheckResult(passed=not found.is_high, metadata=letter_metadata(found), description=str(found))

    return dead_letters


def letter_metadata(found: "LetterCounts") -> dict[str, int | float]:
    """The counts of the last hour by reason, each a number that Dagster plots."""
    counts = {f"{reason} (1 h)": count for reason, count in sorted(found.by_reason.items())}
    return {**counts, "events (1 h)": found.events, "share": found.rate, "allowed share": found.limit}
