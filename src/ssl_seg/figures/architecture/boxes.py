"""The strokes of a drawing in centimetres: boxes in perspective, arrows, brackets, texts of known width."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import sqrt
from typing import Any

from ssl_seg.figures.palette import PALETTE
from ssl_seg.figures.style import MUTED_COLOR, TEXT_COLOR

CM = 1 / 2.54  # inches
SIZE = 6.0  # points, of most texts; nothing is smaller
RULE_COLOR = 0.27  # centimetres from one line of text to the next
COLOURS = {
    "image": "#e4e4e4",
    "stage": PALETTE[0],
    "layer": PALETTE[1],
    "pooling": PALETTE[6],
    "upsampling": PALETTE[3],
}
_SLANT = (0.20, 0.16)  # of the depth, to the right and up
_TALLEST, _WIDEST, _LEAST = 1.8, 0.85, 0.035


@dataclass(frozen=True)
class Scale:
    """Centimetres of a box: the square roots of its map's sides and channels, times these.

    Square roots, because channels grow as sides shrink, a hundredfold in one network.
    """

    side: float
    channel: float

    def box(self, shape: Sequence[int]) -> tuple[float, float, float]:
        """Width, height and depth for (channels, height, width) or (channels,)."""
        sides = (*shape[1:], 1, 1)[:2]
        height, depth = (self.side * sqrt(side) for side in sides)
        return max(_LEAST, self.channel * sqrt(shape[0])), max(_LEAST, height), max(_LEAST, depth)


def scale_for(shapes: Sequence[Sequence[int]]) -> Scale:
    """The one scale on which all of these fit."""
    side = max((number for shape in shapes for number in shape[1:]), default=1)
    channels = max(2048, *(shape[0] for shape in shapes))
    return Scale(_TALLEST / sqrt(side), _WIDEST / sqrt(channels))


def slant(depth: float) -> tuple[float, float]:
    """How far the back of a box lies to the right of and above its front."""
    return _SLANT[0] * depth, _SLANT[1] * depth


@cache
def text_width(text: str, size: float = SIZE, bold: bool = False) -> float:
    """Centimetres that the widest line of a text takes."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(family="DejaVu Sans", size=size, weight="bold" if bold else "normal")
    widths = [
        text_to_path.get_text_width_height_descent(line, font, ismath=False)[0] for line in text.split("\n")
    ]
    return float(max(widths)) / 72 * 2.54


def text(axes: Any, x: float, y: float, words: str, **how: Any) -> None:
    """Words centred at x, y unless `ha` and `va` say otherwise."""
    axes.text(x, y, words, **{"fontsize": SIZE, "ha": "center", "va": "center", "color": TEXT_COLOR, **how})


def cuboid(axes: Any, x: float, y: float, size: tuple[float, float, float], kind: str, dilated: bool) -> None:
    """A box whose front begins at x and is centred at y; hatched when its convolutions are dilated."""
    from matplotlib.colors import to_rgb

    width, height, depth = size
    right, up = slant(depth)
    low, high, end = y - height / 2, y + height / 2, x + width
    colour = to_rgb(COLOURS[kind])
    light, dark = [0.5 + part / 2 for part in colour], [0.75 * part for part in colour]
    _face(axes, [(x, high), (end, high), (end + right, high + up), (x + right, high + up)], light)
    _face(axes, [(end, low), (end + right, low + up), (end + right, high + up), (end, high)], dark)
    _face(axes, [(x, low), (end, low), (end, high), (x, high)], colour, dilated)


def swatch(axes: Any, x: float, y: float, kind: str, dilated: bool) -> None:
    """A flat sample of what boxes of a kind look like, from x to the right."""
    corners = [(x, y - 0.08), (x + 0.32, y - 0.08), (x + 0.32, y + 0.08), (x, y + 0.08)]
    _face(axes, corners, COLOURS[kind], dilated)


def _face(axes: Any, corners: list[tuple[float, float]], colour: Any, dilated: bool = False) -> None:
    from matplotlib.patches import Polygon

    how: dict[str, Any] = {"closed": True, "joinstyle": "round"}
    if dilated:
        axes.add_patch(
            Polygon(corners, facecolor=colour, edgecolor="white", linewidth=0, hatch="////////", **how)
        )
        axes.add_patch(Polygon(corners, fill=False, edgecolor=TEXT_COLOR, linewidth=0.3, **how))
    else:
        axes.add_patch(Polygon(corners, facecolor=colour, edgecolor=TEXT_COLOR, linewidth=0.3, **how))


def arrow(axes: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    """From one point to another."""
    look = {"arrowstyle": "-|>,head_width=0.16,head_length=0.32", "lw": 0.6, "color": MUTED_COLOR}
    axes.annotate("", end, start, arrowprops={**look, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 8})


def line(axes: Any, *points: tuple[float, float]) -> None:
    """Through all points."""
    axes.plot(*zip(*points, strict=True), color=MUTED_COLOR, linewidth=0.6, solid_capstyle="butt")


def bracket(axes: Any, left: float, right: float, y: float, words: str) -> None:
    """Over everything from left to right, with words on it."""
    line(axes, (left, y - 0.1), (left, y), (right, y), (right, y - 0.1))
    text(axes, (left + right) / 2, y + 0.06, words, va="bottom", color=MUTED_COLOR)
