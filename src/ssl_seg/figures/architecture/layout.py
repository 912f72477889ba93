"""Where everything in the drawing of a network goes: columns, their texts, and lines of the page's width."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from ssl_seg.figures.architecture.boxes import LINE, Box, Scale, text_width
from ssl_seg.figures.architecture.network import IMAGE, Network, Part, brief
from ssl_seg.figures.style import printable_label

WIDTH = 17.0  # centimetres: the text of an A4 page
MARGIN, BUS = 0.06, 0.2  # BUS: room for the wires that fan out to branches and meet again
HEADINGS = ("", "", "output", "parameters", "MACs", "skip input")
TIMES = "\u2009×\u2009"  # with thin spaces
_WIDE = 1.3  # a longer text is broken, if it can be
_LEAST_GAP, _MOST_GAP = 0.15, 0.8


@dataclass
class Column:
    """Parts above one another, and their cells in the table below: one text for each heading.

    Attributes:
        owner: `backbone`, `head`, or empty for the image.
        notes: two lines of text beside each branch; empty when there is a single part.
        linked: of each part, whether it takes what the column before it gives.
        x, width: of boxes and texts in centimetres, as all lengths.
    """

    owner: str
    parts: tuple[Part, ...]
    boxes: list[Box]
    cells: list[str]
    notes: list[str]
    linked: list[bool]
    width: float = 0.0
    x: float = 0.0

    @property
    def mark(self) -> str:
        """What stands above the box."""
        dilation = self.parts[0].dilation
        return f"dilation {dilation}" if not self.notes and dilation > 1 else ""

    @property
    def drawn(self) -> float:
        """Width of the widest box."""
        return max(box.width for box in self.boxes)

    @property
    def begin(self) -> float:
        """Where the drawing in it starts."""
        return self.x if self.notes else self.x + (self.width - self.drawn) / 2

    @property
    def end(self) -> float:
        """Where the drawing in it stops."""
        return self.x + self.width if self.notes else self.begin + self.drawn

    def heights(self) -> tuple[list[float], float, float]:
        """The middle of each box above the column's own; what the column needs above and below that."""
        least = 1.1 * LINE if self.notes else 0.0
        rows = [(max(least, box.height / 2 + box.up), max(least, box.height / 2)) for box in self.boxes]
        middles = [0.0]
        for (_, below), (above, _) in pairwise(rows):
            middles.append(middles[-1] - below - 0.1 - above)
        half = middles[-1] / 2
        middles = [y - half for y in middles]
        return middles, rows[0][0] - half + (LINE if self.mark else 0.0), rows[-1][1] - half


def image_of(network: Network) -> Part:
    """What comes in."""
    return Part(IMAGE, IMAGE, "", "image", (3, *network.size))


def columns_of(network: Network, scale: Scale) -> list[Column]:
    """The image, the stages, the parts of the head; with their texts and widths."""
    groups: list[tuple[str, tuple[Part, ...]]] = [("", (image_of(network),))]
    groups += [("backbone", (stage,)) for stage in network.stages]
    groups += [("head", column) for column in network.head]
    shown = {part.name: printable_label(part.label or part.what, 28) for part in network.parts()}
    columns: list[Column] = []
    before: set[str] = set()
    for owner, parts in groups:
        skips = [[shown.get(name, name) for name in part.takes if name not in before] for part in parts]
        notes = list(map(_note, parts, skips)) if len(parts) > 1 else []
        linked = [any(name in before for name in part.takes) for part in parts]
        boxes = [scale.box(part.shape) for part in parts]
        column = Column(owner, parts, boxes, _cells(parts, skips[0]), notes, linked)
        fan = 2 * BUS + 0.15 + max(map(text_width, notes)) if notes else 0.0
        column.width = max(column.drawn + fan, *map(text_width, [column.mark, *column.cells]))
        columns.append(column)
        before = {part.name for part in parts}
    return columns


def _cells(parts: Sequence[Part], skips: Sequence[str]) -> list[str]:
    part = parts[0]
    channels, *sides = max((each.shape for each in parts), key=lambda shape: (len(shape), *shape[1:]))
    size = f"{channels} ×\n{TIMES.join(map(str, sides))}" if sides else str(channels)
    if part.kind == "image":
        return [part.label, "", size, "", "", ""]
    numbers = [_number(sum(each.parameters for each in parts)), _number(sum(each.macs for each in parts))]
    if len(parts) > 1:
        return [f"{len(parts)} branches", "", size, *numbers, ""]
    what = part.what if part.what != part.label else ""
    if text_width(what) > _WIDE:
        what = what.replace(" × ", " ×\n")
    return [_broken(printable_label(part.label, 28)), what, size, *numbers, "\n".join(map(_broken, skips))]


def _broken(name: str) -> str:
    """`segmentation_head` in two lines: a long name breaks where its parts meet, near the middle."""
    breaks = [index for index, letter in enumerate(name[:-1], start=1) if letter in "_.-"]
    if text_width(name) <= _WIDE or not breaks:
        return name
    split = min(breaks, key=lambda index: abs(2 * index - len(name)))
    return f"{name[:split]}\n{name[split:]}"


def _number(number: int) -> str:
    return brief(number) if number else "–"


def _note(part: Part, skips: Sequence[str]) -> str:
    what = f"{part.what.removeprefix('conv ')}, dilation {part.dilation}" if part.dilation > 1 else part.what
    source = f"{' + '.join(skips)}: " if skips else ""
    return f"{source}{what}\n{_number(part.parameters)} · {_number(part.macs)}"


def lines_of(columns: list[Column]) -> list[list[Column]]:
    """Columns as lines of the page's width, each in its place; a head that does not fit begins a line."""
    left = MARGIN + max(map(text_width, HEADINGS)) + 0.15
    room = WIDTH - left - MARGIN
    whole = _needed(columns) <= room
    lines = [columns[:1]]
    for before, column in pairwise(columns):
        turns = not whole and before.owner != column.owner == "head"
        if turns or _needed([*lines[-1], column]) > room:
            lines.append([])
        lines[-1].append(column)
    for group in lines:
        spare = (room - _needed(group)) / max(1, len(group) - 1)
        x = left
        for column in group:
            column.x = x
            x += column.width + min(_MOST_GAP, _LEAST_GAP + max(0.0, spare))
    return lines


def _needed(columns: Sequence[Column]) -> float:
    return sum(column.width for column in columns) + _LEAST_GAP * (len(columns) - 1)
