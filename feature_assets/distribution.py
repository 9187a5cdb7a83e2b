"""The distribution plot of a run: one small histogram for each numeric feature, as an SVG inside Markdown.

Bars are logarithmic in their counts: features of people have long tails, which would not show otherwise.
"""

from __future__ import annotations

import base64
import math
from html import escape

from feature_store.offline.profile import FeatureProfile, Profile

_WIDTH, _HEIGHT, _BARS, _GAP = 300, 130, 20, 20


def distribution_plot(profile: Profile) -> str:
    """Markdown with an embedded picture, two histograms a line; a sentence where there is nothing to draw."""
    drawn = [feature for feature in profile.features if feature.histogram]
    if not drawn:
        return "No numeric values in this run."
    lines = (len(drawn) + 1) // 2
    panels = "".join(
        f'<g transform="translate({(i % 2) * (_WIDTH + _GAP)},{(i // 2) * (_HEIGHT + _GAP)})">{_panel(feature)}</g>'
        for i, feature in enumerate(drawn)
    )
    width, height = 2 * _WIDTH + _GAP, lines * (_HEIGHT + _GAP)
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'font-family="sans-serif" font-size="11">{panels}</svg>'
    )
    picture = base64.b64encode(svg.encode()).decode()
    return f"![distribution](data:image/svg+xml;base64,{picture})\n\nA bar is as high as the logarithm of its count."


def _panel(feature: FeatureProfile) -> str:
    """One histogram: the feature's name, its bars over `[minimum, maximum]`, and the two bounds."""
    assert feature.minimum is not None
    assert feature.maximum is not None
    low, high = feature.minimum, feature.maximum
    counts = [0.0] * _BARS
    for centre, count in feature.histogram:
        place = int((centre - low) / (high - low) * _BARS) if high > low else 0
        counts[min(place, _BARS - 1)] += count
    base, width = _HEIGHT - 16, _WIDTH / _BARS
    heights = [(base - 20) * math.log1p(count) / math.log1p(max(counts)) for count in counts]
    bars = "".join(
        f'<rect x="{i * width:.1f}" y="{base - height:.1f}" width="{width - 1:.1f}" height="{height:.1f}" '
        f'fill="#4f6bed"/>'
        for i, height in enumerate(heights)
    )
    return (
        f'<text x="0" y="12" font-weight="bold">{escape(feature.name)}</text>{bars}'
        f'<line x1="0" y1="{base}" x2="{_WIDTH}" y2="{base}" stroke="#999"/>'
        f'<text x="0" y="{_HEIGHT - 2}">{low:.4g}</text>'
        f'<text x="{_WIDTH}" y="{_HEIGHT - 2}" text-anchor="end">{high:.4g}</text>'
    )
