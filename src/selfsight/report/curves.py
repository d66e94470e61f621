"""Line charts as inline SVG: numbers in, text out. Colours are the page's, so they follow light and dark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

Points = Sequence[tuple[float, float]]

WIDTH, HEIGHT = 480, 230
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 16, 34  # room for the tick labels
MOST = 240  # points a line is drawn with: more cannot be told apart at this width


def chart(points: Points, *, title: str, x: str, colour: int = 1, reference: tuple[float, str] | None = None) -> str:
    """One line over `x`, with axes; long series show every value faintly and their running mean on top.

    `reference` draws a dashed level with its name, such as the untrained encoder's. Not finite values are left out.
    """
    points = [(a, b) for a, b in points if math.isfinite(a) and math.isfinite(b)]
    if len(points) < 2:
        return ""
    levels = [b for _, b in points] + ([reference[0]] if reference else [])
    horizontal = ticks(points[0][0], points[-1][0])
    vertical = ticks(min(levels), max(levels))
    frame = _Frame(points[0][0], points[-1][0], min(vertical[0], *levels), max(vertical[-1], *levels))
    parts = [_axes(frame, horizontal, vertical, x)]
    if len(points) > MOST:
        parts.append(frame.line(thin(points, MOST), f"line c{colour} faint"))
        points = thin(smooth(points, len(points) // 40), MOST)
    parts.append(frame.line(points, f"line c{colour}"))
    if reference:
        parts.append(_level(frame, *reference))
    last = points[-1]
    parts.append(f'<circle class="dot c{colour}" cx="{frame.x(last[0]):.1f}" cy="{frame.y(last[1]):.1f}" r="3.5"/>')
    label = f"{title}, from {points[0][1]:.4g} to {last[1]:.4g}"
    head = f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">'
    return f"{head}{''.join(parts)}</svg>"


def several(
    lines: Sequence[tuple[str, int, Points]], *, title: str, x: str, marks: Sequence[tuple[float, str]] = ()
) -> str:
    """Lines of (name, colour, points) in one frame; `marks` are (place, text) of ticks where x has no scale."""
    lines = [(name, colour, [p for p in points if all(map(math.isfinite, p))]) for name, colour, points in lines]
    lines = [line for line in lines if len(line[2]) > 1]
    if not lines:
        return ""
    across, levels = ([point[axis] for _, _, points in lines for point in points] for axis in (0, 1))
    vertical = ticks(min(levels), max(levels))
    frame = _Frame(min(across), max(across), vertical[0], vertical[-1])
    parts = [_axes(frame, [] if marks else ticks(min(across), max(across)), vertical, x)]
    parts += [_mark(frame, place, text) for place, text in marks]
    for name, colour, points in lines:
        drawn = frame.line(points, f"line c{colour}")
        dots = "".join(
            f'<circle class="dot c{colour}" cx="{frame.x(a):.1f}" cy="{frame.y(b):.1f}" r="2.5"/>' for a, b in points
        )
        parts.append(f"<g><title>{escape(name)}</title>{drawn}{dots}</g>")
    head = f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">'
    return f"{head}{''.join(parts)}</svg>"


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` round numbers from at or below `low` to at or above `high`."""
    low, high = sorted(min(max(end, -1e300), 1e300) for end in (low, high))  # their difference is a number
    size = max(abs(low), abs(high))
    if not high - low > max(1e-12 * size, 1e-200):  # flat, to the eye
        half = 0.5 * size if size > 1e-200 else 0.5
        low, high = low - half, high + half
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= raw * 0.999)
    first = math.floor(low / step + 1e-9)
    last = math.ceil(high / step - 1e-9)
    return [i * step for i in range(first, last + 1)]


def smooth(points: Points, window: int) -> Points:
    """The running mean over `window` values to either side."""
    values = [b for _, b in points]
    sums = [0.0]
    for value in values:
        sums.append(sums[-1] + value)
    spans = [(max(0, i - window), min(len(values), i + window + 1)) for i in range(len(values))]
    return [(points[i][0], (sums[stop] - sums[start]) / (stop - start)) for i, (start, stop) in enumerate(spans)]


def thin(points: Points, most: int) -> Points:
    """At most `most` + 1 points, first and last among them."""
    stride = max(1, math.ceil(len(points) / most))
    return [*points[:-1][::stride], points[-1]]


class _Frame:
    """From data to pixels."""

    def __init__(self, left: float, right: float, low: float, high: float) -> None:
        self.left, self.low = left, low
        self.across = (WIDTH - LEFT - RIGHT) / ((right - left) or 1.0)
        self.up = (HEIGHT - TOP - BOTTOM) / ((high - low) or 1.0)

    def x(self, value: float) -> float:
        return LEFT + (value - self.left) * self.across

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - (value - self.low) * self.up

    def line(self, points: Points, names: str) -> str:
        path = "L".join(f"{self.x(a):.1f} {self.y(b):.1f}" for a, b in points)
        return f'<path class="{names}" d="M{path}"/>'


def _axes(frame: _Frame, horizontal: Sequence[float], vertical: Sequence[float], x: str) -> str:
    parts = []
    for value in vertical:
        y = frame.y(value)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 8}" y="{y + 3.5:.1f}" text-anchor="end">{value:.4g}</text>')
    for value in horizontal:
        place = frame.x(value)
        if LEFT - 1 <= place <= WIDTH - RIGHT + 1:
            parts.append(_mark(frame, value, _short(value)))
    parts.append(f'<text class="tick" x="{WIDTH - RIGHT}" y="{HEIGHT - 3}" text-anchor="end">{escape(x)}</text>')
    return "".join(parts)


def _mark(frame: _Frame, value: float, text: str) -> str:
    y = HEIGHT - BOTTOM + 16
    return f'<text class="tick" x="{frame.x(value):.1f}" y="{y}" text-anchor="middle">{escape(text)}</text>'


def _level(frame: _Frame, value: float, name: str) -> str:
    y = frame.y(value)
    line = f'<line class="level" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
    return f'{line}<text class="tick" x="{WIDTH - RIGHT}" y="{y - 5:.1f}" text-anchor="end">{escape(name)}</text>'


def _short(value: float) -> str:
    """1500 as 1.5k: tick labels must not meet."""
    return f"{value / 1000:g}k" if abs(value) >= 10_000 else f"{value:g}"
