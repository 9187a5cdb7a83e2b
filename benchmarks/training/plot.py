"""A plot of seconds over N + M, both on logarithmic axes, as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from math import ceil, floor, log10

from benchmarks.training.cost_model import Point, slope

_WIDTH, _HEIGHT, _MARGIN = 720, 480, 64


def plot(points: Sequence[Point], title: str) -> str:
    """The seconds of runs, on the clock (rings) and on the processors (dots, with their slope)."""
    xs = [log10(point.size.work) for point in points]
    ys = [log10(value) for point in points for value in (point.seconds, point.cpu)]
    left, right, low, high = floor(min(xs)), ceil(max(xs)), floor(min(ys)), ceil(max(ys))

    def place(x: float, y: float) -> tuple[float, float]:
        across = _MARGIN + (x - left) / max(right - left, 1) * (_WIDTH - 2 * _MARGIN)
        return across, _HEIGHT - _MARGIN - (y - low) / max(high - low, 1) * (_HEIGHT - 2 * _MARGIN)

    parts = []
    for power in range(left, right + 1):
        x, y = place(power, low)
        parts += [_line(x, y, x, place(power, high)[1]), _text(x, y + 20, f"1e{power}", "middle")]
    for power in range(low, high + 1):
        x, y = place(left, power)
        parts += [_line(x, y, place(right, power)[0], y), _text(x - 8, y + 4, f"{10.0**power:g} s", "end")]
    for point in points:
        x, y = place(log10(point.size.work), log10(point.cpu))
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4"><title>{escape(str(point.size))}</title></circle>')
        x, y = place(log10(point.size.work), log10(point.seconds))
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="none" stroke="black"/>')
    said = f"{title}: dots CPU seconds, slope {slope(points):.2f}; rings seconds"
    parts += [_text(_MARGIN, 30, said), _text(_WIDTH / 2, _HEIGHT - 16, "labels + rows, of all groups", "middle")]
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}" font-family="sans-serif" '
        f'font-size="13">\n<rect width="100%" height="100%" fill="white"/>\n{body}\n</svg>\n'
    )


def _line(x: float, y: float, to_x: float, to_y: float) -> str:
    return f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}" stroke="#ccc"/>'


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
