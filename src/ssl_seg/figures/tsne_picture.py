"""Maps of features side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ssl_seg.figures.style import (
    GRAY_COLOR,
    MUTED_COLOR,
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

    Each map fills its square, as the scale means nothing. A class has its color and marker of all figures of the run,
    if it is one of `color_groups` of the last map. Of more than 20 classes, names are drawn at the class medians, as
    many as fit without overlap.

    Args:
        targets: (N,) indices into `classes`.
        k: of the purity.
        note: a line below.
    """
    present = [int(index) for index in np.unique(targets)]
    groups = color_groups(maps[-1].xy, targets, k)
    is_crowded = len(groups) > 1
    columns = min(len(maps), 2 if is_crowded else 3)
    rows, side = -(-len(maps) // columns), 5.4 if is_crowded else 3.4
    colored = [index for group in groups.values() for index in group]
    with figure_style():
        fig = figure(side * columns + (1.7 if is_crowded else 1.5), (side + 0.5) * rows + 0.2)
        grid = list(fig.subplots(rows, columns, squeeze=False).flat)
        for spare in grid[len(maps) :]:
            spare.set_visible(False)
        for axes, each in zip(grid, maps, strict=False):
            _points(axes, each.xy, targets, colored)
            x, y = (each.xy.min(axis=0) + each.xy.max(axis=0)) / 2
            half = 0.53 * float(np.ptp(each.xy, axis=0).max()) or 1.0
            axes.set(xlim=(x - half, x + half), ylim=(y - half, y + half), xticks=[], yticks=[])
            axes.set_aspect("equal")
            axes.spines[:].set_visible(True)
            axes.set_title(f"epoch {each.epoch}", color=TEXT_COLOR)
            axes.set_xlabel(_numbers(each, chance_purity(targets), min(k, len(targets) - 1)))
        handles = []
        for title, group in groups.items():
            handles += [_handle(None, title)] if title else []
            handles += [_handle(index, classes[index]) for index in group]
        fig.legend(handles=handles, loc="outside right center", borderaxespad=0.2, handletextpad=0.3)
        if note:
            fig.supxlabel(note, fontsize=8, color=MUTED_COLOR)
        if is_crowded:
            fig.draw_without_rendering()
            for axes, each in zip(grid, maps, strict=False):
                _name_on_map(axes, each.xy, targets, classes, list(dict.fromkeys([*colored, *present])))
        return save(fig, stem)


def color_groups(xy: Floats, targets: Classes, k: int) -> dict[str, list[int]]:
    """The classes that have a color on a map, by what the legend says of them.

    Up to 20 classes all have one. Of more, those do that the map separates best and worst; the others are gray.
    """
    present = [int(index) for index in np.unique(targets)]
    if len(present) <= _LEGEND:
        return {"": present}
    purities = class_purities(xy, targets, k)
    order = sorted(purities, key=lambda index: (-purities[index], index)) or present
    return {"separated best": order[:_EXTREMES], "separated worst": order[_EXTREMES:][-_EXTREMES:]}


def _points(axes: Any, xy: Floats, targets: Classes, colored: Sequence[int]) -> None:
    """In an order of chance: no class lies on top of the others, but for gray ones, which lie below."""
    order = np.random.default_rng(0).permutation(len(xy))
    size = float(np.clip(12_000 / len(xy), 3, 26))
    styles = {index: series_style(index) for index in colored}
    marks = [styles.get(int(index), (GRAY_COLOR, "")) for index in targets]
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


def _handle(index: int | None, name: str) -> Any:
    """An entry of the legend: a class, or without an index a heading."""
    from matplotlib.lines import Line2D

    color, shape = ("none", "") if index is None else series_style(index)
    label = printable_label(name, 20)
    return Line2D([], [], color=color, marker=shape, linestyle="", markersize=5, label=label)


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
