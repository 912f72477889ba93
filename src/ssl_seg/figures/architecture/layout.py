"""Where everything in the drawing of a network goes: columns, their texts, and lines of the page's width."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ssl_seg.figures.architecture.boxes import RULE_COLOR, Scale, slant, text_width
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
        place: `backbone`, `head`, or empty for the image.
        sizes: width, height and depth of each box; this and all lengths in centimetres.
        wires: two lines of text for each branch; empty when there is a single part.
        linked: of each part, whether it takes what the column before it gives.
        width: of boxes and texts.
        x: of the left side.
    """

    place: str
    parts: tuple[Part, ...]
    sizes: list[tuple[float, float, float]]
    cells: list[str]
    wires: list[str]
    linked: list[bool]
    width: float = 0.0
    x: float = 0.0

    @property
    def mark(self) -> str:
        """What is said above the box."""
        dilation = self.parts[0].dilation
        return f"dilation {dilation}" if not self.wires and dilation > 1 else ""

    @property
    def drawn(self) -> float:
        """Width of the widest box, with its depth."""
        return max(width + slant(depth)[0] for width, _, depth in self.sizes)

    @property
    def rows(self) -> list[tuple[float, float]]:
        """What each box, or its wire's words, need above and below their middle."""
        least = 1.1 * RULE_COLOR if self.wires else 0.0
        return [
            (max(least, tall / 2 + slant(depth)[1]), max(least, tall / 2)) for _, tall, depth in self.sizes
        ]

    @property
    def centres(self) -> list[float]:
        """Of each box from the top down; the wires' middle is 0."""
        places, y = [], 0.0
        for up, down in self.rows:
            places.append(y - up)
            y -= up + down + 0.1
        middle = (places[0] + places[-1]) / 2
        return [place - middle for place in places]

    @property
    def reach(self) -> tuple[float, float]:
        """What it needs above and below the wires' middle."""
        above = self.centres[0] + self.rows[0][0] + (RULE_COLOR if self.mark else 0.0)
        return above, self.rows[-1][1] - self.centres[-1]

    @property
    def begin(self) -> float:
        """Where the drawing in it starts."""
        return self.x if self.wires else self.x + (self.width - self.drawn) / 2

    @property
    def end(self) -> float:
        """Where the drawing in it stops."""
        return self.x + self.width if self.wires else self.begin + self.drawn


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
    for place, parts in groups:
        extra = [[shown.get(name, name) for name in part.takes if name not in before] for part in parts]
        wires: list[str] = []
        if len(parts) > 1:
            wires = [_wire(part, more) for part, more in zip(parts, extra, strict=True)]
        linked = [any(name in before for name in part.takes) for part in parts]
        sizes = [scale.box(part.shape) for part in parts]
        column = Column(place, parts, sizes, _cells(parts, extra[0]), wires, linked)
        fan = 2 * BUS + 0.15 + max(map(text_width, wires)) if wires else 0.0
        column.width = max(column.drawn + fan, *map(text_width, [column.mark, *column.cells]))
        columns.append(column)
        before = {part.name for part in parts}
    return columns


def _cells(parts: Sequence[Part], extra: Sequence[str]) -> list[str]:
    part, many = parts[0], len(parts)
    channels, *sides = max((each.shape for each in parts), key=lambda shape: (len(shape), *shape[1:]))
    size = f"{channels} ×\n{TIMES.join(map(str, sides))}" if sides else str(channels)
    if part.kind == "image":
        return [part.label, "", size, "", "", ""]
    numbers = [_sum(each.parameters for each in parts), _sum(each.macs for each in parts)]
    if many > 1:
        return [f"{many} branches", "", size, *numbers, ""]
    what = part.what if part.what != part.label else ""
    if text_width(what) > _WIDE:
        what = what.replace(" × ", " ×\n")
    return [_broken(printable_label(part.label, 28)), what, size, *numbers, "\n".join(map(_broken, extra))]


def _broken(name: str) -> str:
    """`segmentation_head` in two lines: a long name breaks where its parts meet, near the middle."""
    places = [place for place, letter in enumerate(name[:-1], start=1) if letter in "_.-"]
    if text_width(name) <= _WIDE or not places:
        return name
    place = min(places, key=lambda place: abs(2 * place - len(name)))
    return f"{name[:place]}\n{name[place:]}"


def _sum(numbers: Iterable[int]) -> str:
    total = sum(numbers)
    return brief(total) if total else "–"


def _wire(part: Part, extra: Sequence[str]) -> str:
    what = f"{part.what.removeprefix('conv ')}, dilation {part.dilation}" if part.dilation > 1 else part.what
    source = f"{' + '.join(extra)}: " if extra else ""
    return f"{source}{what}\n{_sum([part.parameters])} · {_sum([part.macs])}"


def lines_of(columns: list[Column]) -> list[list[Column]]:
    """Columns as lines of the page's width, each in its place; a head that does not fit begins a line."""
    left = MARGIN + max(map(text_width, HEADINGS)) + 0.15
    room = WIDTH - left - MARGIN
    whole = _needed(columns) <= room
    lines = [columns[:1]]
    for before, column in pairwise(columns):
        turns = not whole and before.place != column.place == "head"
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


def table_of(columns: Sequence[Column]) -> list[int]:
    """Lines of text in each row of the table under a line."""
    return [
        max(column.cells[row].count("\n") + bool(column.cells[row]) for column in columns) for row in range(6)
    ]
