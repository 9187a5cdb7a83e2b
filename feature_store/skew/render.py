"""A skew report for people."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from feature_store.skew.replay import FeatureReplay, Outcome, ReplayReport
from feature_store.skew.report import FeatureSkew, SkewReport

_NUMBERS = ("JS", "95 %", "PSI", "KS", "NULL training", "serving", "mean training", "serving", "served equal")
_EXAMPLES = 3
_NO_DIFFERENCE = (Outcome.EQUAL, Outcome.PENDING)


def render_report(report: SkewReport) -> RenderableType:
    """A table of the features, the worst first, and what the replay found."""
    replayed = {feature.name: feature for feature in report.replay.features}
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("feature")
    table.add_column("facet")
    for title in _NUMBERS:
        table.add_column(title, justify="right")
    for feature in report.features:
        _add_rows(table, feature, replayed.get(feature.name))
    title = f"{report.view}: {report.served_rows:,} served rows beside {report.baseline}"
    read = f"{report.size / 2**20:.1f} of {report.whole / 2**20:.1f} MiB read"
    skewed = len(report.skewed)
    verdict = f"{skewed} of {len(report.features)} features are skewed" if skewed else "no feature is skewed"
    return Group(Text(f"{title} ({read})"), table, Text(verdict, style="red" if skewed else "green"),
                 *render_replay(report.replay))  # fmt: skip


def render_replay(replayed: ReplayReport) -> list[RenderableType]:
    """How many served values are those of training, and rows on which they are not."""
    if not replayed.compared + replayed.pending:
        return [Text(f"{replayed.view}: no served values to compare yet")]
    line = f"{replayed.view}: {replayed.compared:,} values served, {replayed.equal:,} equal to training"
    left_out = (
        (replayed.pending, "of rows that the offline store does not have yet"),
        (replayed.unavailable, "answers were UNAVAILABLE"),
        (replayed.other_rows, "rows were read with another definition"),
    )
    line += "".join(f"; {count:,} {why}" for count, why in left_out if count)
    lines: list[RenderableType] = [Text(line, style="green" if replayed.is_consistent else "red")]
    for feature in replayed.features:
        if feature.equal != feature.compared:
            lines += _differences(feature)
    return lines


def _differences(feature: FeatureReplay) -> list[RenderableType]:
    counts = ", ".join(f"{n:,} {outcome}" for outcome, n in feature.outcomes.items() if outcome not in _NO_DIFFERENCE)
    lines: list[RenderableType] = [Text(f"  {feature.name}: {counts}")]
    for example in feature.examples[:_EXAMPLES]:
        keys = ", ".join(f"{name}={value!r}" for name, value in example.keys.items())
        values = f"served {example.served!r}, training has {example.training!r}"
        lines.append(Text(f"    {keys} at {example.read_at:%Y-%m-%d %H:%M:%S%z}: {values} ({example.outcome})"))
    return lines


def _add_rows(table: Table, feature: FeatureSkew, replayed: FeatureReplay | None) -> None:
    equal = "" if replayed is None else f"{replayed.equal:,} of {replayed.compared:,}"
    nulls = [f"{side.null_rate:.1%}" for side in (feature.training, feature.serving)]
    means = ["" if side.mean is None else f"{side.mean:.5g}" for side in (feature.training, feature.serving)]
    for i, facet in enumerate(feature.facets):
        found = facet.divergence
        numbers = ["", "", "", ""]
        if found is not None:
            low, high = found.interval
            ks = "" if found.ks is None else f"{found.ks:.3f}"
            numbers = [f"{found.js:.3f}", f"{low:.3f} to {high:.3f}", f"{found.psi:.3f}", ks]
        first = i == 0
        style = "red" if feature.is_skewed and first else ""
        rest = [*nulls, *means, equal] if first else [""] * 5
        table.add_row(Text(feature.name if first else "", style=style), facet.histogram.facet, *numbers, *rest)
