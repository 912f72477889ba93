"""Networks one below the other on one scale, as boxes with their numbers under them."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from ssl_seg.figures.architecture import boxes
from ssl_seg.figures.architecture.boxes import (
    CM,
    RULE_COLOR,
    Scale,
    arrow,
    bracket,
    cuboid,
    line,
    slant,
    swatch,
    text,
    text_width,
)
from ssl_seg.figures.architecture.layout import (
    BUS,
    HEADINGS,
    MARGIN,
    TIMES,
    WIDTH,
    Column,
    columns_of,
    image_of,
    lines_of,
    table_of,
)
from ssl_seg.figures.architecture.network import Network, brief
from ssl_seg.figures.style import MUTED_COLOR, TEXT_COLOR, figure_style, printable_label, save

_TITLE, _BRACKET, _AIR, _LEGEND = 0.95, 0.6, 0.2, 1.8
_GAPS = {2: 0.07, 3: 0.07, 5: 0.07}  # before rows of the table


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
    """The `matplotlib.figure.Figure` that `draw_architecture` writes; to be called inside `drawing()`."""
    from matplotlib.figure import Figure

    parts = [part for network in networks for part in (image_of(network), *network.parts())]
    scale = boxes.scale_for([part.shape for part in parts])
    plans = [lines_of(columns_of(network, scale)) for network in networks]
    height = sum(_TITLE + sum(map(_height, lines)) for lines in plans) + _LEGEND
    fig = Figure(figsize=(WIDTH * CM, height * CM))
    axes = fig.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(0, height))
    axes.set_axis_off()
    y = height
    for network, lines in zip(networks, plans, strict=True):
        _title(axes, network, y - 0.12)
        y -= _TITLE
        for columns in lines:
            _draw_line(axes, columns, y, first=columns is lines[0], last=columns is lines[-1])
            y -= _height(columns)
    _legend(axes, scale, y)
    return fig


def _title(axes: Any, network: Network, y: float) -> None:
    """What it is called, and how much there is of it."""
    text(axes, MARGIN, y, printable_label(network.title, 70), ha="left", va="top", fontsize=9, weight="bold")
    groups = [("backbone", network.stages), ("head", [part for column in network.head for part in column])]
    parameters, macs = (
        " + ".join(
            f"{name} {brief(sum(getattr(p, what) for p in parts), 4)}" for name, parts in groups if parts
        )
        for what in ("parameters", "macs")
    )
    unused = f", unused {brief(network.unused, 4)}" if network.unused else ""
    words = (
        f"{brief(network.parameters, 4)} parameters ({parameters}{unused}), "
        f"{brief(network.macs, 4)}MACs ({macs}), image {network.size[0]} × {network.size[1]}"
    )
    text(axes, MARGIN, y - 0.42, words, ha="left", va="top", color=MUTED_COLOR)


def _reach(columns: Sequence[Column]) -> tuple[float, float]:
    return max(column.reach[0] for column in columns), max(column.reach[1] for column in columns)


def _height(columns: Sequence[Column]) -> float:
    return _BRACKET + sum(_reach(columns)) + RULE_COLOR * sum(table_of(columns)) + 4 * _AIR


def _draw_line(axes: Any, columns: list[Column], top: float, *, first: bool, last: bool) -> None:
    """One line of a network: brackets, boxes, arrows, and the table under them."""
    for place in ("backbone", "head"):
        group = [column for column in columns if column.place == place]
        if group:
            bracket(axes, group[0].x, group[-1].x + group[-1].width, top - 0.35, place)
    up, down = _reach(columns)
    axis = top - _BRACKET - up
    for column in columns:
        _draw_column(axes, column, axis)
    for one, two in pairwise(columns):
        if any(two.linked) and two.wires:
            line(axes, (one.end + 0.04, axis), (two.begin, axis))
        elif any(two.linked):
            arrow(axes, (one.end + 0.04, axis), (two.begin - 0.04, axis))
    if not first and any(columns[0].linked):
        arrow(axes, (columns[0].begin - 0.5, axis), (columns[0].begin - 0.04, axis))
    if not last:
        line(axes, (columns[-1].end + 0.04, axis), (columns[-1].end + 0.4, axis))
    _table(axes, columns, axis - down - _AIR)


def _table(axes: Any, columns: list[Column], y: float) -> None:
    for row, count in enumerate(table_of(columns)):
        y -= _GAPS.get(row, 0.0)
        cells = [(column.x + column.width / 2, column.cells[row], "center", TEXT_COLOR) for column in columns]
        if count:
            cells.append((MARGIN, HEADINGS[row], "left", MUTED_COLOR))
        for x, words, side, colour in cells:
            for number, one in enumerate(words.split("\n")):
                text(axes, x, y - (number + 0.5) * RULE_COLOR, one, ha=side, color=colour)
        y -= count * RULE_COLOR


def _draw_column(axes: Any, column: Column, axis: float) -> None:
    """Its box, or its branches between the wires that fan out to them and meet again."""
    start = column.begin + (BUS if column.wires else 0.0)
    ins, outs = [axis], [axis]
    for number, (part, size) in enumerate(zip(column.parts, column.sizes, strict=True)):
        y, width = axis + column.centres[number], size[0] + slant(size[2])[0]
        x = start + (column.drawn - width) / 2
        cuboid(axes, x, y, size, part.kind, part.dilation > 1)
        if column.mark:
            text(axes, column.x + column.width / 2, y + column.rows[0][0] + RULE_COLOR / 2, column.mark)
        if not column.wires:
            continue
        if column.linked[number]:
            arrow(axes, (column.begin, y), (x - 0.03, y))
            ins.append(y)
        line(axes, (x + width + 0.03, y), (column.end, y))
        outs.append(y)
        for one, side in zip(column.wires[number].split("\n"), (0.56, -0.56), strict=True):
            text(axes, start + column.drawn + 0.08, y + side * RULE_COLOR, one, ha="left")
    for bus, ends in ((column.begin, ins), (column.end, outs)):
        if len(ends) > 1:
            line(axes, (bus, max(ends)), (bus, min(ends)))


def _samples(scale: Scale) -> list[tuple[str, tuple[float, float, float]]]:
    """Boxes of known size, with what they are: three maps, then three numbers of channels."""
    side = max(1, round((0.8 / scale.side) ** 2))
    sides = [2 ** (side.bit_length() - 1 - 2 * step) for step in range(3) if side >> 2 * step]
    maps = [(f"{one}{TIMES}{one}", scale.box((64, one, one))) for one in sides]
    return maps + [(f"{many} ch.", scale.box((many, sides[-1], sides[-1]))) for many in (64, 512, 2048)]


def _legend(axes: Any, scale: Scale, top: float) -> None:
    """Which colour is what, and boxes of known size."""
    line(axes, (MARGIN, top), (WIDTH - MARGIN, top))
    keys = [
        ("stage", False, "stage: operations producing one backbone feature map"),
        ("layer", False, "layer or block of the head"),
        ("pooling", False, "pooling"),
        ("upsampling", False, "upsampling"),
        ("layer", True, "dilated convolutions; largest dilation given"),
    ]
    for number, (kind, dilated, words) in enumerate(keys):
        y = top - 0.3 - number * RULE_COLOR
        swatch(axes, MARGIN + 0.05, y, kind, dilated)
        text(axes, MARGIN + 0.5, y, words, ha="left")
    x = WIDTH / 2
    for number, words in enumerate(
        (
            "One scale for all: height, depth and thickness of a box are the square",
            "roots of its map's height, width and channels. MACs: multiply-accumulates.",
        )
    ):
        text(axes, x, top - 0.3 - number * RULE_COLOR, words, ha="left")
    for words, size in _samples(scale):
        cuboid(axes, x, top - 1.2, size, "image", False)
        x += size[0] + slant(size[2])[0] + 0.06
        text(axes, x, top - 1.2, words, ha="left")
        x += text_width(words) + 0.28
