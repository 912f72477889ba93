"""Networks one below the other on one scale, as boxes with their numbers under them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ssl_seg.figures.architecture import layout
from ssl_seg.figures.architecture.boxes import (
    CM,
    LINE,
    Box,
    Scale,
    arrow,
    cuboid,
    line,
    scale_for,
    text,
    text_width,
)
from ssl_seg.figures.architecture.layout import BUS, HEADINGS, MARGIN, WIDTH, Column
from ssl_seg.figures.architecture.network import Network, Part, brief
from ssl_seg.figures.style import MUTED_COLOR, figure_style, printable_label, save

_TITLE, _BRACKET, _AIR, _LEGEND, _ROW_GAP = 0.95, 0.6, 0.2, 1.8, 0.07
_KEYS = (
    ("stage", False, "stage: operations producing one backbone feature map"),
    ("layer", False, "layer or block of the head"),
    ("pooling", False, "pooling"),
    ("upsampling", False, "upsampling"),
    ("layer", True, "dilated convolutions; largest dilation given"),
)
_EXPLANATION = (
    "One scale for all: height, depth and thickness of a box are the square\n"
    "roots of its map's height, width and channels. MACs: multiply-accumulates."
)


def draw_architecture(stem: Path, networks: Sequence[Network]) -> list[Path]:
    """Write `stem`.png (300 dpi) and `stem`.svg, 17 cm wide.

    The height of a box and its depth are the square roots of its map's height and width, its thickness
    that of the channels, on one scale for all networks. A network that is wider than the page goes on in
    another line. No text is smaller than 6 points.

    Raises:
        ResourceError: they cannot be written.
    """
    with figure_style():
        return save(architecture(networks), stem, dpi=300)


def architecture(networks: Sequence[Network]) -> Any:
    """The `matplotlib.figure.Figure` that `draw_architecture` writes; to be called inside `figure_style()`."""
    from matplotlib.figure import Figure

    parts = [part for network in networks for part in (layout.image_of(network), *network.parts())]
    scale = scale_for([part.shape for part in parts])
    plans = [layout.lines_of(layout.columns_of(network, scale)) for network in networks]
    y = sum(_TITLE + sum(map(_height, lines)) for lines in plans) + _LEGEND
    fig = Figure(figsize=(WIDTH * CM, y * CM))
    axes = fig.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(0, y))
    axes.set_axis_off()
    for network, lines in zip(networks, plans, strict=True):
        _draw_title(axes, network, y - 0.12)
        y -= _TITLE
        for columns in lines:
            _draw_line(axes, columns, y, first=columns is lines[0], last=columns is lines[-1])
            y -= _height(columns)
    _draw_legend(axes, scale, y)
    return fig


def _draw_title(axes: Any, network: Network, y: float) -> None:
    """What it is called, and how much there is of it."""
    head = [part for column in network.head for part in column]
    groups: list[tuple[str, Sequence[Part]]] = [("backbone", network.stages), ("head", head)]
    totals = [
        " + ".join(f"{name} {brief(sum(getattr(p, what) for p in of), 4)}" for name, of in groups if of)
        for what in ("parameters", "macs")
    ]
    unused = f", unused {brief(network.unused, 4)}" if network.unused else ""
    words = (
        f"{brief(network.parameters, 4)} parameters ({totals[0]}{unused}), "
        f"{brief(network.macs, 4)}MACs ({totals[1]}), image {network.size[0]} × {network.size[1]}"
    )
    left: dict[str, Any] = {"ha": "left", "va": "top"}
    text(axes, MARGIN, y, printable_label(network.title, 70), **left, fontsize=9, weight="bold")
    text(axes, MARGIN, y - 0.42, words, **left, color=MUTED_COLOR)


def _reach(columns: Sequence[Column]) -> tuple[float, float]:
    """What the boxes of a line need above and below their axis."""
    _, ups, downs = zip(*(column.heights() for column in columns), strict=True)
    return max(ups), max(downs)


def _rows(columns: Sequence[Column]) -> list[int]:
    """Lines of text in each row of the table."""
    return [
        max(c.cells[row].count("\n") + bool(c.cells[row]) for c in columns) for row in range(len(HEADINGS))
    ]


def _height(columns: Sequence[Column]) -> float:
    return _BRACKET + sum(_reach(columns)) + LINE * sum(_rows(columns)) + 4 * _AIR


def _draw_line(axes: Any, columns: list[Column], top: float, *, first: bool, last: bool) -> None:
    """One line of a network: brackets, boxes, arrows, and the table under them."""
    for owner in ("backbone", "head"):
        group = [column for column in columns if column.owner == owner]
        if group:
            left, right, y = group[0].x, group[-1].x + group[-1].width, top - 0.35
            line(axes, (left, y - 0.1), (left, y), (right, y), (right, y - 0.1))
            text(axes, (left + right) / 2, y + 0.06, owner, va="bottom", color=MUTED_COLOR)
    up, down = _reach(columns)
    axis = top - _BRACKET - up
    for column in columns:
        _draw_column(axes, column, axis)
    ends = [columns[0].begin - 0.54, *(column.end for column in columns)]
    for number, column in enumerate(columns):
        if any(column.linked) and (number or not first):
            stroke = line if column.notes else arrow  # to the wires of branches, or to a box
            stroke(axes, (ends[number] + 0.04, axis), (column.begin - (0 if column.notes else 0.04), axis))
    if not last:
        line(axes, (ends[-1] + 0.04, axis), (ends[-1] + 0.4, axis))
    _draw_table(axes, columns, axis - down - _AIR)


def _draw_table(axes: Any, columns: list[Column], y: float) -> None:
    for row, count in enumerate(_rows(columns)):
        y -= _ROW_GAP if row in (2, 3, 5) else 0.0
        for column in columns:
            text(axes, column.x + column.width / 2, y - LINE / 2, column.cells[row])
        if count:
            text(axes, MARGIN, y - LINE / 2, HEADINGS[row], ha="left", color=MUTED_COLOR)
        y -= count * LINE


def _draw_column(axes: Any, column: Column, axis: float) -> None:
    """Its box, or its branches between the wires that fan out to them and meet again."""
    start = column.begin + (BUS if column.notes else 0.0)
    middles = [axis + middle for middle in column.heights()[0]]
    for part, box, y in zip(column.parts, column.boxes, middles, strict=True):
        cuboid(axes, start + (column.drawn - box.width) / 2, y, box, part.kind, part.dilation > 1)
    if not column.notes:
        above = axis + column.boxes[0].height / 2 + column.boxes[0].up
        text(axes, column.x + column.width / 2, above + LINE / 2, column.mark)
        return
    ins = [y for y, linked in zip(middles, column.linked, strict=True) if linked]
    for y, box, note in zip(middles, column.boxes, column.notes, strict=True):
        x = start + (column.drawn - box.width) / 2
        if y in ins:
            arrow(axes, (column.begin, y), (x - 0.03, y))
        line(axes, (x + box.width + 0.03, y), (column.end, y))
        text(axes, start + column.drawn + 0.08, y + 0.56 * LINE, note, ha="left", step=1.12 * LINE)
    for bus, ends in ((column.begin, [axis, *ins]), (column.end, [axis, *middles])):
        line(axes, (bus, max(ends)), (bus, min(ends)))


def _draw_legend(axes: Any, scale: Scale, top: float) -> None:
    """Which colour is what, and boxes of known size: three maps, then three numbers of channels."""
    line(axes, (MARGIN, top), (WIDTH - MARGIN, top))
    for number, (kind, dilated, words) in enumerate(_KEYS):
        y = top - 0.3 - number * LINE
        cuboid(axes, MARGIN + 0.05, y, Box(0.32, 0.16, 0, 0), kind, dilated)
        text(axes, MARGIN + 0.5, y, words, ha="left")
    x = WIDTH / 2
    text(axes, x, top - 0.3, _EXPLANATION, ha="left")
    side = max(1, round((0.8 / scale.side) ** 2))
    sides = [2 ** (side.bit_length() - 1 - 2 * step) for step in range(3) if side >> 2 * step]
    samples = [(f"{one}{layout.TIMES}{one}", (64, one, one)) for one in sides]
    samples += [(f"{channels} ch.", (channels, sides[-1], sides[-1])) for channels in (64, 512, 2048)]
    for words, shape in samples:
        box = scale.box(shape)
        cuboid(axes, x, top - 1.2, box, "image")
        x += box.width + 0.06
        text(axes, x, top - 1.2, words, ha="left")
        x += text_width(words) + 0.28
