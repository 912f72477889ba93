"""Pictures side by side: one row per image, with a name; one column per kind, with a title."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssl_seg.figures.style import MUTED_COLOR, RULE_COLOR, figure, printable_label

# in inches
_SIDE = 1.55  # width of a tile
_GAP = 0.07
_LEFT = 0.3  # for the names of the rows
_LINE = 0.16  # of text
_SWATCH = 0.2  # height of a line of the legend
_LETTER = 0.062  # mean width of a letter of the legend
_LETTER_OF_NOTE = 0.059
_LETTER_OF_TITLE = 0.075

Color = tuple[int, int, int]


@dataclass(frozen=True)
class Tile:
    """One picture of a gallery.

    Attributes:
        pixels: (H, W, 3) uint8; None if there is none, and then `caption` stands in its place.
        caption: a line under it.
        nearest: every pixel shown has a colour of the picture, as of masks; otherwise neighbours may mix.
    """

    pixels: NDArray[np.uint8] | None
    caption: str = ""
    nearest: bool = False


def draw_gallery(
    rows: Sequence[tuple[str, Sequence[Tile]]],
    titles: Sequence[str],
    legend: Sequence[tuple[str, Color]] = (),
    note: str = "",
) -> Any:
    """A `matplotlib.figure.Figure`; call this and `save` inside `figure_style()`.

    Args:
        rows: name and tiles of each; a row is as high as its first picture wants.
        titles: of the columns.
        legend: names and colours, below the tiles.
        note: a sentence or two at the bottom.
    """
    width = _LEFT + len(titles) * (_SIDE + _GAP)
    heads = [textwrap.wrap(printable_label(title, 60), int(_SIDE / _LETTER_OF_TITLE))[:3] for title in titles]
    foot = textwrap.wrap(note, int((width - _LEFT) / _LETTER_OF_NOTE))
    columns, names = _columns(legend, width - _LEFT)
    top = _GAP + _LINE * max(map(len, heads))
    heights = [_SIDE * _ratio(tiles) for _, tiles in rows]
    steps = [
        height + (_LINE + 2 * _GAP if any(t.caption and t.pixels is not None for t in tiles) else _GAP)
        for height, (_, tiles) in zip(heights, rows, strict=True)
    ]
    key = top + sum(steps) + _GAP
    bottom = key + (_SWATCH * -(-len(names) // columns) + _GAP if names else 0.0)
    fig = figure(width, height := bottom + _LINE * len(foot) + _GAP)
    fig.set_layout_engine("none")

    def at(x: float, y: float) -> tuple[float, float]:
        return x / width, 1 - y / height

    for column, lines in enumerate(heads):
        x = _LEFT + column * (_SIDE + _GAP)
        fig.text(*at(x + _SIDE / 2, top - _GAP / 2), "\n".join(lines), ha="center", va="bottom")
        for row, (_, tiles) in enumerate(rows):
            y = top + sum(steps[:row])
            axes = fig.add_axes((*at(x, y + heights[row]), _SIDE / width, heights[row] / height))
            _draw(axes, tiles[column])
    for row, (name, _) in enumerate(rows):
        y, letters = top + sum(steps[:row]) + heights[row] / 2, int(heights[row] / _LETTER_OF_TITLE)
        text = printable_label(name, max(4, letters))
        fig.text(*at(_LEFT - _GAP, y), text, ha="right", va="center", rotation="vertical")
    if names:
        _draw_legend(fig, names, [colour for _, colour in legend], columns, at(_LEFT, key))
    fig.text(*at(_LEFT, bottom), "\n".join(foot), ha="left", va="top", color=MUTED_COLOR, size=7.5)
    return fig


def _ratio(tiles: Sequence[Tile]) -> float:
    """Height by width of a row's first picture, within reason."""
    shapes = [tile.pixels.shape for tile in tiles if tile.pixels is not None]
    return float(np.clip(shapes[0][0] / shapes[0][1], 0.25, 2.5)) if shapes else 1.0


def _columns(legend: Sequence[tuple[str, Color]], width: float) -> tuple[int, list[str]]:
    names = [printable_label(name, 40) for name, _ in legend]
    max_columns = max(1, int(width / (max(map(len, names), default=0) * _LETTER + 0.35)))
    lines = max(1, -(-len(names) // max_columns))
    return max(1, -(-len(names) // lines)), names  # no line with a single name, if it can be avoided


def _draw(axes: Any, tile: Tile) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set(visible=True, color=RULE_COLOR, linewidth=0.5)
    if tile.pixels is None:
        axes.set_facecolor("#f4f4f4")
        text = "\n".join(textwrap.wrap(tile.caption, 20))
        axes.text(
            0.5, 0.5, text, ha="center", va="center", color=MUTED_COLOR, size=8, transform=axes.transAxes
        )
        return
    axes.imshow(tile.pixels, interpolation="nearest" if tile.nearest else "auto")
    axes.set_xlabel(tile.caption, size=8, labelpad=3)


def _draw_legend(
    fig: Any, names: Sequence[str], colours: Sequence[Color], columns: int, corner: tuple[float, float]
) -> None:
    from matplotlib.patches import Patch

    patches = [
        Patch(
            facecolor=tuple(part / 255 for part in colour), edgecolor=MUTED_COLOR, linewidth=0.5, label=name
        )
        for name, colour in zip(names, colours, strict=True)
    ]
    fig.legend(
        handles=patches,
        ncols=columns,
        loc="upper left",
        bbox_to_anchor=corner,
        borderpad=0,
        borderaxespad=0,
        handlelength=1.2,
        handleheight=1.1,
        handletextpad=0.5,
        columnspacing=1.4,
        labelspacing=0.5,
    )
