"""t-SNE maps side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ssl_seg.figures.style import (
    MUTED_COLOR,
    TEXT_COLOR,
    figure,
    figure_style,
    printable_label,
    save,
    series_style,
)
from ssl_seg.figures.tsne import Classes, Floats, TSNEMap, chance_purity

_LEGEND, _NAMES = 20, 30  # classes that are named beside the maps, and on them


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

    Each map fills its square, as the scale of t-SNE means nothing. Up to 20 classes are named beside the maps, up to 30 on them.

    Args:
        targets: (N,) indices into `classes`.
        k: of the purity.
        note: a line below.
    """
    present = np.unique(targets)
    columns = min(len(maps), 3)
    rows = -(-len(maps) // columns)
    beside = len(present) <= _LEGEND
    with figure_style():
        fig = figure(3.4 * columns + 1.5 * beside, 3.9 * rows + 0.2)
        grid = list(fig.subplots(rows, columns, squeeze=False).flat)
        for spare in grid[len(maps) :]:
            spare.set_visible(False)
        for axes, each in zip(grid, maps, strict=False):
            _points(axes, each.xy, targets)
            x, y = (each.xy.min(axis=0) + each.xy.max(axis=0)) / 2
            half = 0.53 * float(np.ptp(each.xy, axis=0).max()) or 1.0
            axes.set(xlim=(x - half, x + half), ylim=(y - half, y + half), xticks=[], yticks=[])
            axes.set_aspect("equal")
            axes.spines[:].set_visible(True)
            axes.set_title(f"epoch {each.epoch}", color=TEXT_COLOR)
            axes.set_xlabel(_numbers(each, chance_purity(targets), min(k, len(targets) - 1)))
        if beside:
            handles = [_handle(index, classes[index]) for index in present]
            fig.legend(handles=handles, loc="outside right center", borderaxespad=0.2, handletextpad=0.3)
        if note:
            fig.supxlabel(note, fontsize=8, color=MUTED_COLOR)
        if _LEGEND < len(present) <= _NAMES:
            fig.draw_without_rendering()
            for axes, each in zip(grid, maps, strict=False):
                _name_on_map(axes, each.xy, targets, classes)
        return save(fig, stem)


def _points(axes: Any, xy: Floats, targets: Classes) -> None:
    """In an order of chance: no class lies on top of the others."""
    order = np.random.default_rng(0).permutation(len(xy))
    size = float(np.clip(12_000 / len(xy), 3, 26))
    marks = [series_style(int(index)) for index in targets]
    for shape in dict.fromkeys(shape for _, shape in marks):
        rows = [row for row in order if marks[row][1] == shape]
        axes.scatter(
            *xy[rows].T,
            c=[marks[row][0] for row in rows],
            marker=shape,
            s=size,
            linewidths=0,
            alpha=0.85,
            rasterized=len(xy) > 4000,  # as vectors they would be megabytes
        )


def _numbers(each: TSNEMap, chance_purity: float, k: int) -> str:
    text = "n/a (one class)" if each.silhouette is None else f"{each.silhouette:.2f}"
    return f"{k}-NN purity {each.purity:.2f} (chance level {chance_purity:.2f})\nsilhouette {text}"


def _handle(index: int, name: str) -> Any:
    from matplotlib.lines import Line2D

    colour, shape = series_style(index)
    return Line2D(
        [], [], color=colour, marker=shape, linestyle="", markersize=5, label=printable_label(name, 20)
    )


def _name_on_map(axes: Any, xy: Floats, targets: Classes, classes: Sequence[str]) -> None:
    """Write each class at its median, or near it; one that finds no room is left out."""
    from matplotlib.patheffects import withStroke

    frame = axes.get_window_extent()
    taken: list[Any] = []
    for index in np.unique(targets):
        points = axes.transData.transform(xy[targets == index])
        text = axes.text(
            0, 0, printable_label(classes[index], 16), fontsize=6.5, in_layout=False, transform=None
        )
        text.set(ha="center", va="center", path_effects=[withStroke(linewidth=2, foreground="white")])
        box = text.get_window_extent()
        x, y = np.median(points, axis=0)
        x = np.clip(x, frame.x0 + 0.55 * box.width, frame.x1 - 0.55 * box.width)
        # beside a class that its own name would hide
        steps = (1, -1, 0, 2, -2, 3, -3) if np.ptp(points, axis=0).max() < box.width else (0, 1, -1, 2, -2)
        for step in steps:
            text.set_position((x, y + 1.2 * step * box.height))
            here = text.get_window_extent()
            if frame.y0 < here.y0 and here.y1 < frame.y1 and not any(here.overlaps(other) for other in taken):
                taken.append(here)
                break
        else:
            text.remove()
