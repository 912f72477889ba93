"""t-SNE maps side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ssl_seg.figures.palette import PALETTE
from ssl_seg.figures.style import (
    MUTED_COLOR,
    RULE_COLOR,
    TEXT_COLOR,
    figure,
    figure_style,
    printable_label,
    save,
    series_style,
)
from ssl_seg.figures.tsne import Classes, Floats, TSNEMap, chance_purity, class_purities

_LEGEND = 20  # classes that have a colour each, and are named beside the maps
_EXTREMES = 6  # of more classes these many that lie apart best have a colour, and as many that do worst

_BEST, _WORST = "\u25cf", "\u25b2"
_MARKERS = {_BEST: "o", _WORST: "^"}


def draw_maps(
    stem: Path,
    maps: Sequence[TSNEMap],
    targets: Classes,
    classes: Sequence[str],
    *,
    k: int = 10,
    note: str = "",
) -> list[Path]:
    """Write `stem`.png and `stem`.svg: the maps side by side, an image in the same colour in all.

    Each map fills its square, as the scale of t-SNE means nothing. Up to 20 classes have a colour and a marker each. Of
    more classes, those that the last map separates best and worst have one; the others are grey. Class names
    are drawn at the class medians, as many as fit without overlap.

    Args:
        targets: (N,) indices into `classes`.
        k: of the purity.
        note: a line below.
    """
    present = [int(index) for index in np.unique(targets)]
    is_crowded = len(present) > _LEGEND
    columns = min(len(maps), 2 if is_crowded else 3)
    rows, side = -(-len(maps) // columns), 5.4 if is_crowded else 3.4
    styles = (
        _styles(present, maps[-1].xy, targets, k) if is_crowded else {i: series_style(i) for i in present}
    )
    with figure_style():
        fig = figure(side * columns + (1.7 if is_crowded else 1.5), (side + 0.5) * rows + 0.2)
        grid = list(fig.subplots(rows, columns, squeeze=False).flat)
        for spare in grid[len(maps) :]:
            spare.set_visible(False)
        for axes, each in zip(grid, maps, strict=False):
            _points(axes, each.xy, targets, styles)
            x, y = (each.xy.min(axis=0) + each.xy.max(axis=0)) / 2
            half = 0.53 * float(np.ptp(each.xy, axis=0).max()) or 1.0
            axes.set(xlim=(x - half, x + half), ylim=(y - half, y + half), xticks=[], yticks=[])
            axes.set_aspect("equal")
            axes.spines[:].set_visible(True)
            axes.set_title(f"epoch {each.epoch}", color=TEXT_COLOR)
            axes.set_xlabel(_numbers(each, chance_purity(targets), min(k, len(targets) - 1)))
        handles = [_handle(style, classes[index]) for index, style in styles.items()]
        title = (
            f"separated best ({_BEST}) and\nworst ({_WORST}) at epoch {maps[-1].epoch}"
            if is_crowded
            else None
        )
        fig.legend(
            handles=handles, title=title, loc="outside right center", borderaxespad=0.2, handletextpad=0.3
        )
        if note:
            fig.supxlabel(note, fontsize=8, color=MUTED_COLOR)
        if is_crowded:
            fig.draw_without_rendering()
            for axes, each in zip(grid, maps, strict=False):
                _name_on_map(axes, each.xy, targets, classes, list(dict.fromkeys([*styles, *present])))
        return save(fig, stem)


def _styles(present: Sequence[int], xy: Floats, targets: Classes, k: int) -> dict[int, tuple[str, str]]:
    """Colour and marker of the classes that a map separates best, and of those it separates worst."""
    purities = class_purities(xy, targets, k)
    order = sorted(purities, key=lambda index: (-purities[index], index)) or list(present)
    best, worst = order[:_EXTREMES], order[_EXTREMES:][-_EXTREMES:]
    return {
        index: (PALETTE[rank], _MARKERS[mark])
        for mark, chosen in ((_BEST, best), (_WORST, worst))
        for rank, index in enumerate(chosen)
    }


def _points(axes: Any, xy: Floats, targets: Classes, styles: dict[int, tuple[str, str]]) -> None:
    """In an order of chance: no class lies on top of the others, but for grey ones, which lie below."""
    order = np.random.default_rng(0).permutation(len(xy))
    size = float(np.clip(12_000 / len(xy), 3, 26))
    grey = (RULE_COLOR, "")
    marks = [styles.get(int(index), grey) for index in targets]
    for shape in sorted({shape for _, shape in marks}):
        rows = [row for row in order if marks[row][1] == shape]
        axes.scatter(
            *xy[rows].T,
            c=[marks[row][0] for row in rows],
            marker=shape or "o",
            s=size,
            linewidths=0,
            alpha=0.85,
            rasterized=len(xy) > 4000,  # as vectors they would be megabytes
        )


def _numbers(each: TSNEMap, chance_purity: float, k: int) -> str:
    text = "n/a (one class)" if each.silhouette is None else f"{each.silhouette:.2f}"
    return f"{k}-NN purity {each.purity:.2f} (chance level {chance_purity:.2f})\nsilhouette {text}"


def _handle(style: tuple[str, str], name: str) -> Any:
    from matplotlib.lines import Line2D

    colour, shape = style
    return Line2D(
        [], [], color=colour, marker=shape, linestyle="", markersize=5, label=printable_label(name, 20)
    )


def _name_on_map(
    axes: Any, xy: Floats, targets: Classes, classes: Sequence[str], order: Sequence[int]
) -> None:
    """Write each class at its median, or near it, in this order; names that would overlap are omitted."""
    from matplotlib.patheffects import withStroke

    frame = axes.get_window_extent()
    taken: list[Any] = []
    for index in order:
        points = axes.transData.transform(xy[targets == index])
        text = axes.text(*np.median(xy[targets == index], axis=0), printable_label(classes[index], 16))
        text.set(fontsize=6.5, in_layout=False)
        text.set(ha="center", va="center", path_effects=[withStroke(linewidth=2, foreground="white")])
        box = text.get_window_extent()
        x, y = np.median(points, axis=0)
        x = np.clip(x, frame.x0 + 0.55 * box.width, frame.x1 - 0.55 * box.width)
        # beside a class that its own name would hide
        steps = (1, -1, 0, 2, -2, 3, -3) if np.ptp(points, axis=0).max() < box.width else (0, 1, -1, 2, -2)
        for step in steps:
            # in coordinates of the map: a file has other pixels than this canvas
            text.set_position(axes.transData.inverted().transform((x, y + 1.2 * step * box.height)))
            here = text.get_window_extent()
            if frame.y0 < here.y0 and here.y1 < frame.y1 and not any(here.overlaps(other) for other in taken):
                taken.append(here)
                break
        else:
            text.remove()
