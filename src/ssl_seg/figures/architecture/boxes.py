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
LINE = 0.27  # from one line of text to the next
COLORS = {
    "image": "#e4e4e4",
    "stage": PALETTE[0],
    "layer": PALETTE[1],
    "pooling": PALETTE[6],
    "upsampling": PALETTE[3],
}
_TALLEST, _WIDEST, _LEAST = 1.8, 0.85, 0.035
Point = tuple[float, float]


@dataclass(frozen=True)
class Box:
    """The front's width and height; how far the back lies to the right of it and above it."""

    front: float
    height: float
    right: float
    up: float

    @property
    def width(self) -> float:
        return self.front + self.right


@dataclass(frozen=True)
class Scale:
    """Centimetres of a box: the square roots of its map's sides and channels, times these.

    Square roots, because channels grow as sides shrink, a hundredfold in one network.
    """

    side: float
    channel: float

    def box(self, shape: Sequence[int]) -> Box:
        """For (channels, height, width) or (channels,)."""
        height, depth = (max(_LEAST, self.side * sqrt(side)) for side in (*shape[1:], 1, 1)[:2])
        return Box(max(_LEAST, self.channel * sqrt(shape[0])), height, 0.20 * depth, 0.16 * depth)


def scale_for(shapes: Sequence[Sequence[int]]) -> Scale:
    """The one scale on which all of these fit."""
    side = max((number for shape in shapes for number in shape[1:]), default=1)
    return Scale(_TALLEST / sqrt(side), _WIDEST / sqrt(max(2048, *(shape[0] for shape in shapes))))


@cache
def text_width(text: str) -> float:
    """What the widest line of a text takes."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(family="DejaVu Sans", size=SIZE)
    measure = text_to_path.get_text_width_height_descent
    return float(max(measure(line, font, ismath=False)[0] for line in text.split("\n"))) / 72 / CM


def text(axes: Any, x: float, y: float, words: str, *, step: float = LINE, **style: Any) -> None:
    """Lines of words centred at x unless `ha` says otherwise, the first at y, one `step` apart."""
    style = {"fontsize": SIZE, "ha": "center", "va": "center", "color": TEXT_COLOR, **style}
    for number, row in enumerate(words.split("\n") if words else ()):
        axes.text(x, y - number * step, row, **style)


def cuboid(axes: Any, x: float, y: float, box: Box, kind: str, dilated: bool = False) -> None:
    """A box whose front begins at x and is centred at y; hatched when its convolutions are dilated."""
    from matplotlib.colors import to_rgb

    low, high, end = y - box.height / 2, y + box.height / 2, x + box.front
    top, back = high + box.up, end + box.right
    color = to_rgb(COLORS[kind])
    light, dark = [0.5 + part / 2 for part in color], [0.75 * part for part in color]
    _face(axes, [(x, high), (end, high), (back, top), (x + box.right, top)], light)
    _face(axes, [(end, low), (back, low + box.up), (back, top), (end, high)], dark)
    _face(axes, [(x, low), (end, low), (end, high), (x, high)], color, dilated)


def _face(axes: Any, corners: list[Point], color: Any, dilated: bool = False) -> None:
    from matplotlib.patches import Polygon

    if dilated:
        hatched = {"edgecolor": "white", "linewidth": 0, "hatch": "////////"}
        axes.add_patch(Polygon(corners, closed=True, facecolor=color, **hatched))
    frame = {"facecolor": "none" if dilated else color, "edgecolor": TEXT_COLOR, "linewidth": 0.3}
    axes.add_patch(Polygon(corners, closed=True, joinstyle="round", **frame))


def arrow(axes: Any, start: Point, end: Point) -> None:
    """From one point to another."""
    look = {"arrowstyle": "-|>,head_width=0.16,head_length=0.32", "lw": 0.6, "color": MUTED_COLOR}
    axes.annotate("", end, start, arrowprops={**look, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 8})


def line(axes: Any, *points: Point) -> None:
    """Through all points."""
    axes.plot(*zip(*points, strict=True), color=MUTED_COLOR, linewidth=0.6, solid_capstyle="butt")
