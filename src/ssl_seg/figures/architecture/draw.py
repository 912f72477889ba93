"""Networks one below the other on one scale, as boxes with their numbers under them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import sqrt
from textwrap import fill
from typing import Any

from ssl_seg.figures.architecture.network import IMAGE, Network, Part
from ssl_seg.figures.palette import PALETTE
from ssl_seg.figures.style import MUTED_COLOR, TEXT_COLOR, printable_label
from ssl_seg.utils.text import brief

WIDTH = 17.0  # centimetres, as all lengths here: the text of an A4 page
_CM, _SIZE, _LINE = 1 / 2.54, 6.0, 0.27  # inches; points of most texts, none is smaller; from line to line
_MARGIN, _LEFT, _GAP = 0.06, 1.38, 0.12  # of the page; of boxes and their table; the least between columns
_ROOM = WIDTH - _LEFT - _MARGIN
_HEADINGS = ("", "", "output", "parameters", "MACs", "skip input")
_KINDS = {
    "image": ("#e4e4e4", ""),
    "stage": (PALETTE[0], "stage: operations producing one backbone feature map"),
    "layer": (PALETTE[1], "layer or block of the head"),
    "pooling": (PALETTE[6], "pooling"),
    "upsampling": (PALETTE[3], "upsampling"),
}
_EXPLANATION = """\
One scale for all: height, depth and thickness of a box are the square roots of its map's height, width and channels.
MACs: multiply-accumulates. Beside branches: parameters · MACs."""
_Ends = dict[str, tuple[float, float]]  # by the name of a part: where arrows from it begin


@dataclass(frozen=True)
class _Column:
    """A part, or branches above one another.

    Attributes:
        boxes: width and height of each front; how far the back lies to the right of it and above it.
        notes: beside each box, of branches.
        cells: below, one for each heading.
        drawn, width: of boxes and notes; of the cells too.
        pitch: from one branch to the next.
    """

    parts: tuple[Part, ...]
    boxes: Sequence[tuple[float, float, float, float]]
    notes: Sequence[str]
    cells: Sequence[str]
    drawn: float
    width: float
    pitch: float


def architecture(networks: Sequence[Network]) -> Any:
    """A `matplotlib.figure.Figure`, 17 cm wide; to be called and saved inside `figure_style()`.

    A network that is wider goes on in another line.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    shapes = [part.shape for network in networks for column in _groups(network) for part in column]
    side = 1.8 / sqrt(max(number for shape in shapes for number in (1, *shape[1:])))
    channel = 0.85 / sqrt(max(2048, *(shape[0] for shape in shapes)))
    fig = Figure()
    axes = fig.add_axes((0, 0, 1, 1), frameon=False, xticks=[], yticks=[])
    y = -0.3
    for network in networks:
        _draw_title(axes, network, y)
        y, before = y - 0.75, tuple[Part, ...]()
        for columns in _lines(_columns(network, side, channel), len(network.stages) + 1):
            y = _draw_line(axes, columns, y, before)
            before = columns[-1].parts
    _text(axes, _MARGIN, y - 0.2, _EXPLANATION, ha="left", color=MUTED_COLOR)
    keys = [Patch(facecolor=color, label=words) for color, words in _KINDS.values() if words]
    fig.legend(handles=keys, loc="lower left", ncols=len(keys), fontsize=_SIZE, borderpad=0)
    fig.set_size_inches(WIDTH * _CM, (1.2 - y) * _CM)
    axes.set(xlim=(0, WIDTH), ylim=(y - 1.2, 0))
    return fig


def _groups(network: Network) -> list[tuple[Part, ...]]:
    image = Part(IMAGE, IMAGE, "", "image", (network.channels, *network.size))
    return [(image,), *((stage,) for stage in network.stages), *network.head]


def _columns(network: Network, side: float, channel: float) -> list[_Column]:
    """The image, the stages, the parts of the head; `side` and `channel`: of a map of 1 x 1 with one channel.

    Lengths are square roots, because channels grow as sides shrink, a hundredfold in one network.
    """
    labels = {part.name: part.label for part in network.parts()}
    columns, before = [], set[str]()
    for parts in _groups(network):
        skips = [labels.get(name, name) for name in parts[0].takes if name not in before]
        boxes = []
        for channels, *sides in (part.shape for part in parts):
            height, depth = (max(0.035, side * sqrt(number)) for number in (*sides, 1, 1)[:2])
            boxes.append((max(0.035, channel * sqrt(channels)), height, 0.20 * depth, 0.16 * depth))
        notes = [f"{_made_of(part)}\n{brief(part.parameters)} · {brief(part.macs)}" for part in parts]
        notes, cells = notes if len(parts) > 1 else [""], _cells(parts, skips)
        beside = max(map(text_width, notes)) + 0.2 if notes[0] else 0.0
        drawn = max(width + right for width, _, right, _ in boxes) + beside
        pitch = max(2.3 * _LINE, *(height + 2 * up for _, height, _, up in boxes))
        columns.append(_Column(parts, boxes, notes, cells, drawn, max(drawn, *map(text_width, cells)), pitch))
        before = {part.name for part in parts}
    return columns


def _cells(parts: Sequence[Part], skips: Sequence[str]) -> list[str]:
    label, what = (f"{len(parts)} branches", "") if len(parts) > 1 else (parts[0].label, _made_of(parts[0]))
    channels, *sides = max((part.shape for part in parts), key=lambda shape: (len(shape), *shape[1:]))
    size = f"{channels} ×\n" + "\u2009×\u2009".join(map(str, sides)) if sides else str(channels)
    numbers = [sum(part.parameters for part in parts), sum(part.macs for part in parts)]
    return [_wrapped(label), _wrapped(what), size, *map(brief, numbers), "\n".join(map(_wrapped, skips))]


def _made_of(part: Part) -> str:
    what = part.what if part.what != part.label else ""
    return f"{what}, dilation {part.dilation}" if part.dilation > 1 else what


def _wrapped(words: str) -> str:
    """Lines of about eleven letters, broken at spaces and in names after `_`."""
    spaced = printable_label(words, 40).replace("_", "_ ").replace("conv ", "conv\u00a0")
    return fill(spaced, 11, break_long_words=False).replace("_ ", "_")


@cache
def text_width(words: str) -> float:
    """What the widest line of a text takes."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(family="DejaVu Sans", size=_SIZE)
    measure = text_to_path.get_text_width_height_descent
    return float(max(measure(line, font, ismath=False)[0] for line in words.split("\n"))) / 72 / _CM


def _lines(columns: Sequence[_Column], body: int) -> list[list[_Column]]:
    """Columns in lines of the page's width; a head that does not fit begins a line, after `body` columns."""
    lines: list[list[_Column]] = [[]]
    for index, column in enumerate(columns):
        if _needed(columns if index == body else [*lines[-1], column]) > _ROOM:
            lines.append([])
        lines[-1].append(column)
    return lines


def _needed(columns: Sequence[_Column]) -> float:
    return sum(column.width + _GAP for column in columns) - _GAP


def _text(axes: Any, x: float, y: float, words: str, **style: Any) -> None:
    """Lines of words centred at x unless `ha` says otherwise, the first at y."""
    style = {"fontsize": _SIZE, "ha": "center", "va": "center", "color": TEXT_COLOR, **style}
    for number, row in enumerate(words.split("\n") if words else ()):
        axes.text(x, y - number * _LINE, row, **style)


def _draw_title(axes: Any, network: Network, y: float) -> None:
    """What it is called, and how much there is of it."""
    totals = [f"{brief(network.parameters, 4)} parameters, {brief(network.macs, 4)}MACs"]
    head = [("head", [part for column in network.head for part in column])] if network.head else []
    for name, parts in [("backbone", network.stages), *head]:
        parameters, macs = sum(part.parameters for part in parts), sum(part.macs for part in parts)
        totals.append(f"{name} {brief(parameters, 4)}, {brief(macs, 4)}MACs")
    unused = [f"unused {brief(network.unused, 4)} parameters"] if network.unused else []
    words = "; ".join([*totals, *unused, f"image {network.size[0]} × {network.size[1]}"])
    _text(axes, _MARGIN, y, printable_label(network.title, 70), ha="left", fontsize=9, weight="bold")
    _text(axes, _MARGIN, y - 0.4, words, ha="left", color=MUTED_COLOR)


def _draw_line(axes: Any, columns: Sequence[_Column], top: float, before: Sequence[Part]) -> float:
    """Draw one line of a network, boxes with arrows and the table under them; where it ends.

    Args:
        top: where it begins.
        before: the last column of the line above.
    """
    half = max(len(column.parts) * column.pitch for column in columns) / 2
    axis, y = top - half, top - 2 * half - 0.25
    gap = min(0.8, _GAP + (_ROOM - _needed(columns)) / max(1, len(columns) - 1))
    lefts = [_LEFT + gap * index + sum(c.width for c in columns[:index]) for index in range(len(columns))]
    ends = {part.name: (_LEFT - 0.5, axis) for part in before}
    for column, left in zip(columns, lefts, strict=True):
        ends = _draw_column(axes, column, left + (column.width - column.drawn) / 2, axis, ends)
    for heading, *cells in zip(_HEADINGS, *(column.cells for column in columns), strict=True):
        if any(cells):
            _text(axes, _MARGIN, y, heading, ha="left", color=MUTED_COLOR)
            for column, left, cell in zip(columns, lefts, cells, strict=True):
                _text(axes, left + column.width / 2, y, cell)
            y -= _LINE * (1 + max(cell.count("\n") for cell in cells)) + 0.05
    return y - 0.3


def _draw_column(axes: Any, column: _Column, left: float, axis: float, ends: _Ends) -> _Ends:
    """Draw boxes, the arrows to them from the ends of parts that they take, and notes beside branches."""
    arrow = {"arrowstyle": "-|>", "mutation_scale": 6, "shrinkA": 0, "shrinkB": 0}
    arrow |= {"linewidth": 0.6, "color": MUTED_COLOR}
    y = axis + (len(column.parts) - 1) / 2 * column.pitch
    own_ends: _Ends = {}
    for part, box, note in zip(column.parts, column.boxes, column.notes, strict=True):
        _draw_box(axes, left, y, box, _KINDS[part.kind][0])
        _text(axes, left + box[0] + box[2] + 0.1, y + _LINE / 2, note, ha="left")
        for name in filter(ends.__contains__, part.takes):
            axes.annotate("", (left - 0.04, y), ends[name], arrowprops=arrow)
        own_ends[part.name] = (left + column.drawn + 0.04, y)
        y -= column.pitch
    return own_ends


def _draw_box(axes: Any, x: float, y: float, box: Sequence[float], color: str) -> None:
    """In perspective; its front begins at x and is centred at y."""
    from matplotlib.colors import to_rgb

    width, height, right, up = box
    low, high, end = y - height / 2, y + height / 2, x + width
    light, dark = [0.5 + part / 2 for part in to_rgb(color)], [0.75 * part for part in to_rgb(color)]
    for xs, ys, face in (
        ((x, end, end + right, x + right), (high, high, high + up, high + up), light),
        ((end, end + right, end + right, end), (low, low + up, high + up, high), dark),
        ((x, end, end, x), (low, low, high, high), color),
    ):
        axes.fill(xs, ys, facecolor=face, edgecolor=TEXT_COLOR, linewidth=0.3, joinstyle="round")
