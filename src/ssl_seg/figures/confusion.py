"""A confusion matrix as a picture, and the classes that are confused most."""

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
)
from ssl_seg.results.confusion import Confusion

_NUMBERS = 16  # classes, up to which every cell has its number
_NAMES = 110  # classes, up to which every row has its name, and the picture grows
_LISTED = 10  # pairs


def draw_confusion(
    stem: Path,
    confusion: Confusion,
    marks: Sequence[tuple[str, str]] = (),
    *,
    unit: str = "images",
    note: str = "",
) -> list[Path]:
    """Write `stem`.png and `stem`.svg: per target class the share of each prediction, in percent.

    Args:
        marks: color and marker of each class, beside its name; see `class_marks`.
        unit: of the counts: images or pixels.
        note: a line below.
    """
    rows, columns = confusion.counts.shape
    named = min(rows, _NAMES)  # more rows only get thinner
    side = float(np.clip(0.42 * named, 3.2, 0.16 * named + 3.2))
    with figure_style():
        fig = figure(side * columns / rows + 4.6, side + 1.4)
        axes = fig.subplots()
        shares = confusion.shares()
        axes.imshow(shares, cmap=_blues(), vmin=0.0, vmax=1.0, interpolation="nearest")
        size = float(np.clip(150 * side / rows / 3.2, 3.5, 8))
        axes.set_xlabel("predicted", color=MUTED_COLOR)
        axes.set_ylabel("target", color=MUTED_COLOR)
        _name(axes, confusion, size)
        if rows <= _NAMES:
            _mark(axes, marks[:rows], size)
        if rows <= _NUMBERS:
            _number_cells(axes, shares, size)
        axes.tick_params(length=0)
        axes.spines[:].set(visible=True, color=RULE_COLOR)
        text = _text(confusion, unit)
        axes.annotate(text, (1.0, 1.0), (12, 0), "axes fraction", "offset points", va="top", fontsize=8)
        if note:
            fig.supxlabel(note, fontsize=8, color=MUTED_COLOR)
        return save(fig, stem)


def _blues() -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    colors = LinearSegmentedColormap.from_list("share", ["#ffffff", PALETTE[0]])
    return colors.with_extremes(bad="#f4f4f4")  # a class without targets


def _name(axes: Any, confusion: Confusion, size: float) -> None:
    shown = len(confusion.classes) <= _NAMES
    for set_ticks, names in ((axes.set_yticks, confusion.classes), (axes.set_xticks, confusion.predicted)):
        labels = [printable_label(name, 18) for name in names]
        set_ticks(range(len(names)) if shown else [], labels if shown else [], fontsize=size)
    axes.tick_params(axis="x", rotation=90)


def _mark(axes: Any, marks: Sequence[tuple[str, str]], size: float) -> None:
    """Draw the mark of each class between its name and its row, and below its column."""
    from matplotlib.transforms import ScaledTranslation, blended_transform_factory

    gap = 0.55 * size
    for x_is_data in (False, True):
        parts = (axes.transData, axes.transAxes) if x_is_data else (axes.transAxes, axes.transData)
        right, up = (0.0, -gap / 72) if x_is_data else (-gap / 72, 0.0)
        move = ScaledTranslation(right, up, axes.figure.dpi_scale_trans)
        transform = blended_transform_factory(*parts) + move
        for index, (color, marker) in enumerate(marks):
            at = ([index], [0]) if x_is_data else ([0], [index])
            look = {"color": color, "markeredgecolor": MUTED_COLOR, "markeredgewidth": 0.3}
            axes.plot(*at, marker=marker, markersize=0.7 * size, transform=transform, clip_on=False, **look)
    axes.tick_params(pad=2 * gap if marks else 3.5)


def _number_cells(axes: Any, shares: Any, size: float) -> None:
    for (row, column), share in np.ndenumerate(shares):
        if share >= 0.005:
            color = "white" if share > 0.6 else TEXT_COLOR
            text = f"{100 * share:.0f}"
            axes.text(column, row, text, ha="center", va="center", fontsize=size, color=color)


def _text(confusion: Confusion, unit: str) -> str:
    right = int(np.trace(confusion.counts[:, : len(confusion.classes)]))
    num_targets = max(1, int(confusion.counts.sum()))
    lines = [
        f"{right:,} of {num_targets:,} {unit} correct ({100 * right / num_targets:.1f} %)",
        "",
        "Confused most:",
    ]
    for target, predicted, share, count in confusion.most_confused(_LISTED):
        names = f"{printable_label(target, 18)} \u2192 {printable_label(predicted, 18)}"
        lines.append(f"{100 * share:.0f} %  {names}  ({count:,})")
    return "\n".join(lines if len(lines) > 3 else lines[:1])
