"""Charts as SVG: line charts over epochs, and scores with confidence intervals.

Colors are CSS variables, which a page defines by theme; `standalone_svg` makes a file of a chart.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from ssl_seg.figures.palette import SERIES, SHAPES, css_variables, style_indices
from ssl_seg.utils.text import strip_unprintable

if TYPE_CHECKING:
    from ssl_seg.results.runs import StageScores  # loads torch, which a live page does without

_DASHES = ("", "7 3", "2 3", "9 3 2 3")
_MAX_MARKERS = 40  # points of a line with a tooltip
_CHART_MARKERS = 480  # of all lines of a chart
_MAX_LABEL = 44  # letters, which fit a phone
_FILE_WIDTH = 760  # pixels, of a fluid chart in a file of its own
_STYLE = (
    "text{font:12px system-ui,sans-serif;fill:var(--ink)}.grid{stroke:var(--rule)}.axis{stroke:var(--soft)}"
    ".line{fill:none;stroke-width:2}.label{font-weight:500;paint-order:stroke;stroke:#fff;stroke-width:5px}.faint{fill:var(--soft)}.range{stroke-width:2}"
)


@dataclass(frozen=True)
class Series:
    """One line of a chart.

    Attributes:
        name: shown in tooltips.
        color_index: of its color and dashes.
        points: (x, y).
        band: (x, lowest, highest) around the line.
        dashed: a faint line without points.
        faint: a thin gray line without points, behind the others.
    """

    name: str
    color_index: int
    points: Sequence[tuple[float, float]]
    band: Sequence[tuple[float, float, float]] = ()
    dashed: bool = False
    faint: bool = False


def line_chart(lines: Sequence[Series], title: str, *, width: int = 420, height: int = 240) -> str:
    """Return a line chart over epochs with a tooltip per point; non-finite points are gaps."""
    left, right, top, bottom = 52, 12, 12, 30
    finite = [(x, y) for line in lines for x, y in line.points if math.isfinite(y)]
    if not finite:
        return ""
    xs, ys = [x for x, _ in finite], [y for _, y in finite]
    ys += [end for line in lines for _, *ends in line.band for end in ends]
    x_ticks, y_ticks = _ticks(min(xs), max(xs), 6, whole=True), _ticks(min(ys), max(ys), 5)
    x_low, x_high = min([*x_ticks, *xs]), max([*x_ticks, *xs])
    across = _scale(x_low, x_high, left + 6, width - right - 6)
    up = _scale(y_ticks[0], y_ticks[-1], height - bottom, top)
    parts = []
    for tick in y_ticks:
        parts.append(f'<path class="grid" d="M{left} {up(tick):.1f}H{width - right}"/>')
        parts.append(
            f'<text x="{left - 6}" y="{up(tick) + 4:.1f}" text-anchor="end">{_format_tick(tick)}</text>'
        )
    for tick in x_ticks:
        parts.append(
            f'<text x="{across(tick):.1f}" y="{height - 10}" text-anchor="middle">{_format_tick(tick)}</text>'
        )
    parts.append(f'<path class="axis" d="M{left} {height - bottom}H{width - right}"/>')
    for line in lines:
        parts.append(_band(line, [(across(x), up(low), up(high)) for x, low, high in line.band]))
    most = max(2, min(_MAX_MARKERS, _CHART_MARKERS // len(lines)))
    for line in sorted(lines, key=lambda line: not line.faint):
        parts.append(_curve(line, [(across(x), up(y), x, y) for x, y in line.points], title, most))
    return svg_image(width, height, f"{title} over epochs", parts)


def _band(line: Series, points: Sequence[tuple[float, float, float]]) -> str:
    if not points:
        return ""
    ends = [*((x, high) for x, _, high in points), *((x, low) for x, low, _ in reversed(points))]
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in ends)
    return f'<path fill="{color_variable(line.color_index)}" fill-opacity=".15" d="M{path}z"/>'


def _curve(
    line: Series, points: Sequence[tuple[float, float, float, float]], title: str, most_markers: int
) -> str:
    pieces, pen = [], "M"
    for x, y, _, value in points:
        if math.isfinite(value):
            pieces.append(f"{pen}{x:.1f} {y:.1f}")
        pen = "L" if math.isfinite(value) else "M"
    path = "".join(pieces)
    if line.faint:
        return f'<path class="line behind" stroke="var(--soft)" d="{path}"/>'
    step = max(1, math.ceil(len(points) / most_markers))
    shown = [*points[::step], *([points[-1]] if (len(points) - 1) % step else [])]
    marks = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3"><title>'
        f"{escape(strip_unprintable(line.name))}\nepoch {epoch:g}: {escape(strip_unprintable(title))} {value:.4f}</title></circle>"
        for x, y, epoch, value in shown
        if math.isfinite(value) and not line.dashed
    )
    dash = "3 4" if line.dashed else _DASHES[line.color_index // len(SERIES) % len(_DASHES)]
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    color = color_variable(line.color_index)
    return (
        f'<g fill="{color}" stroke="none"><path class="line" stroke="{color}"{dashes} d="{path}"/>{marks}</g>'
    )


def interval_chart(rows: "Sequence[StageScores]", color_indices: Mapping[str, int]) -> str:
    """Return a chart of each row's mean, individual seeds, confidence interval and published score.

    Positions are in percent: the chart is as wide as its place, and its text keeps its size.

    Args:
        color_indices: row -> index of its color.
    """
    known = [row for row in rows if row.last]
    if not known:
        return ""
    high, height = 48, 30 + 48 * len(rows)
    seen = [end for row in known for end in (*row.last.values(), *(row.interval or ()))]
    seen += [row.published for row in rows if row.published is not None]
    ticks = _ticks(min(seen), max(seen), 5)
    across = _scale(ticks[0], ticks[-1], 5, 95)
    parts = []
    for tick in ticks:
        x = f"{across(tick):.2f}%"
        parts.append(f'<line class="grid" x1="{x}" x2="{x}" y1="4" y2="{height - 26}"/>')
        parts.append(f'<text x="{x}" y="{height - 8}" text-anchor="middle">{_format_tick(tick)}</text>')
    for number, row in enumerate(rows):
        name = strip_unprintable(row.label)
        cut = name if len(name) <= _MAX_LABEL else f"{name[: _MAX_LABEL - 1]}…"
        parts.append(f'<text class="label" x="0" y="{high * number + 16}">{escape(cut)}</text>')
        parts.append(_interval(row, color_indices[row.name], high * number + 30, across))
    label = "scores with 95% confidence intervals"
    return f'<svg width="100%" height="{height}" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def _interval(row: "StageScores", color_index: int, y: float, across: "_Scale") -> str:
    name, color, parts = escape(strip_unprintable(row.label)), color_variable(color_index), []
    if row.interval:
        low, high = row.interval
        tip = f"<title>{name}\n95% CI {low:.4f} to {high:.4f}</title>"
        ends = [f"{across(end):.2f}%" for end in row.interval]
        bar = f'<line x1="{ends[0]}" x2="{ends[1]}" y1="{y}" y2="{y}"/>'
        caps = "".join(f'<line x1="{x}" x2="{x}" y1="{y - 5}" y2="{y + 5}"/>' for x in ends)
        parts.append(f'<g class="range" stroke="{color}">{bar}{caps}{tip}</g>')
    for seed, value in row.last.items() if len(row.last) > 1 else ():
        tip = f"<title>{name}\nseed {seed}: {value:.4f}</title>"
        parts.append(
            f'<circle cx="{across(value):.2f}%" cy="{y + 10}" r="2.5" fill="{color}" opacity=".7">{tip}</circle>'
        )
    if row.last:
        mean = math.fsum(row.last.values()) / len(row.last)
        tip = f"<title>{name}\nmean of {len(row.last)}: {mean:.4f}</title>"
        parts.append(f'<circle cx="{across(mean):.2f}%" cy="{y}" r="5" fill="{color}">{tip}</circle>')
    if row.published is not None:
        tip = f"<title>{name}\npublished {row.published:.4f}</title>"
        mark = f'<path class="faint" d="M0 -6l6 6l-6 6l-6 -6z" fill-opacity=".75">{tip}</path>'
        parts.append(f'<svg x="{across(row.published):.2f}%" y="{y}" overflow="visible">{mark}</svg>')
    return "".join(parts)


def color_variable(color_index: int) -> str:
    """Return the CSS variable of the color of a run or class."""
    return f"var(--k{style_indices(color_index)[0]})"


def theme_css() -> str:
    """Return the CSS variables of all colors, light and dark, a class `.kN` for each color of a series, and `.sN` for each marker."""
    pairs = (f"{name}:light-dark({light},{dark})" for name, (light, dark) in css_variables().items())
    classes = "".join(f".k{index}{{background:var(--k{index})}}" for index in range(len(SERIES)))
    for index, corners in enumerate(SHAPES):
        if corners:
            half = 50 / max(abs(end) for corner in corners for end in corner)
            polygon = ",".join(f"{50 + half * x:.0f}% {50 + half * y:.0f}%" for x, y in corners)
            classes += f".s{index}{{border:0;border-radius:0;clip-path:polygon({polygon})}}"
    return f":root{{{';'.join(pairs)}}}{classes}\n"


def standalone_svg(svg: str) -> str:
    """Return a chart as a separate file in light colors, without CSS variables."""
    background = '<rect width="100%" height="100%" fill="#fff"/>'
    svg = svg.replace('width="100%"', f'width="{_FILE_WIDTH}"', 1)
    svg = svg.replace(">", f' xmlns="http://www.w3.org/2000/svg"><style>{_STYLE}</style>{background}', 1)
    for name, (light, _) in css_variables().items():
        svg = svg.replace(f"var({name})", light)
    return svg + "\n"


class _Scale:
    """Maps values to positions in the chart."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self._low, self._start = low, start if high > low else (start + end) / 2
        self._step = (end - start) / (high - low) if high > low else 0.0

    def __call__(self, value: float) -> float:
        return self._start + (value - self._low) * self._step


_scale = _Scale


def _ticks(low: float, high: float, count: int, *, whole: bool = False) -> list[float]:
    """Return about `count` round numbers around a range."""
    if high <= low:
        low, high = (low, low) if whole else (low - abs(low) * 0.1 - 1e-3, high + abs(high) * 0.1 + 1e-3)
    if whole and high == low:
        return [low]
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(nice * power for nice in (1, 2, 2.5, 5, 10) if nice * power >= raw * 0.999)
    if whole:
        step = max(1.0, math.ceil(step))
        return [tick * step for tick in range(math.ceil(low / step), math.floor(high / step) + 1)]
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [tick * step for tick in range(first, last + 1)]


def _format_tick(value: float) -> str:
    return f"{value:.4g}" if value else "0"


def svg_image(width: int, height: int, title: str, parts: Sequence[str]) -> str:
    """Return a drawing of a size in pixels that scales with its place."""
    label = escape(strip_unprintable(title), quote=True)
    head = f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{label}">'
    return f"{head}{''.join(parts)}</svg>"
