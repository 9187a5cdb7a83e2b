"""Features that compute what another one already computes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from feature_store.plan.fingerprint import feature_fingerprints
from feature_store.plan.nodes import GroupPlan


@dataclass(frozen=True)
class Duplicate:
    """A feature, and the one that is computed already; each as "group@version/feature".

    `owner` is that of the other one's group.
    """

    feature: str
    other: str
    owner: str

    def __str__(self) -> str:
        return f"{self.feature} computes what {self.other} ({self.owner}) already computes"


def duplicates_of(plans: Iterable[GroupPlan]) -> tuple[Duplicate, ...]:
    """Every feature that an earlier one in order of names makes needless, in time linear in the number of features.

    Of a group only the newest version is looked at: it is meant to compute what the ones before it do.
    """
    ordered = sorted(plans, key=lambda plan: (plan.group.name, plan.group.version))
    newest = {plan.group.name: plan for plan in ordered}
    first: dict[str, tuple[str, str]] = {}
    found: list[Duplicate] = []
    for plan in newest.values():
        for name, fingerprint in feature_fingerprints(plan).items():
            feature = f"{plan.group.id}/{name}"
            other, owner = first.setdefault(fingerprint, (feature, plan.group.owner))
            if other != feature:
                found.append(Duplicate(feature, other, owner))
    return tuple(found)
