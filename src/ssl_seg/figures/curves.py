"""How runs went: one small plot per number, the runs in it over their epochs."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ssl_seg.figures.style import MUTED_COLOR, figure, figure_style, printable_label, save, series_style

Lines = Sequence[Mapping[str, float]]
EXCLUDED_SCORES = ("epoch", "step", "seconds", "images_per_second", "energy_wh")  # scores without a plot
_MAX_COLUMNS = 3  # plots in a row
_MIN_SPAN = 0.1  # of the values: what is less is drawn as little as it is
_ORDER = ("loss", "val_", "probe_", "")  # which numbers come first, by their beginning; the rest is health


def plotted_scores(runs: Mapping[str, Lines]) -> list[str]:
    """The numbers that the lines of any run hold: losses, validation, probes, then all others.

    Args:
        runs: name -> lines, each a mapping with `epoch`.
    """
    keys = dict.fromkeys(key for lines in runs.values() for line in lines for key in line)
    drawn = [
        key
        for key in keys
        if key not in EXCLUDED_SCORES and any(_series(lines, key)[0] for lines in runs.values())
    ]
    return sorted(drawn, key=lambda key: next(i for i, start in enumerate(_ORDER) if key.startswith(start)))


def _series(lines: Lines, key: str) -> tuple[list[float], list[float]]:
    """Epochs and values, where there are numbers."""
    points = [
        (line["epoch"], line[key]) for line in lines if _number(line.get("epoch")) and _number(line.get(key))
    ]
    return [epoch for epoch, _ in points], [value for _, value in points]


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def draw_curves(stem: Path, runs: Mapping[str, Lines]) -> list[Path]:
    """Write `stem`.png and `stem`.svg: a plot for each of `panels(runs)`.

    A run has one colour in all plots; a plot shows the runs that have its number.

    Args:
        runs: name -> lines as in `scores.jsonl`; at least one has a number to draw.
    """
    keys = plotted_scores(runs)
    columns = min(_MAX_COLUMNS, len(keys))
    rows = -(-len(keys) // columns)
    with figure_style():
        fig = figure(max(2.6 * columns, 4.0), 2.1 * rows + 0.3 + 0.2 * -(-len(runs) // 3))
        grid = list(fig.subplots(rows, columns, squeeze=False).flat)
        for index, axes in enumerate(grid):
            if index < len(keys):
                _plot(axes, runs, keys[index])
                # the lowest plot of each column carries the name of the axis
                axes.set_xlabel("epoch" if index + columns >= len(keys) else "")
            else:
                axes.set_visible(False)
        handles = [_handle(index, name) for index, name in enumerate(runs)]
        fig.legend(handles=handles, loc="outside lower center", ncols=min(3, len(runs)))
        return save(fig, stem)


def _plot(axes: Any, runs: Mapping[str, Lines], key: str) -> None:
    from matplotlib.ticker import MaxNLocator

    for index, lines in enumerate(runs.values()):
        epochs, values = _series(lines, key)
        colour, shape = series_style(index)
        # a marker where lines are few, so that one epoch is seen and two styles of one colour differ
        every = max(1, len(epochs) // 12)
        axes.plot(epochs, values, color=colour, marker=shape, markersize=3.5, markevery=every, linewidth=1.2)
    axes.set_title(printable_label(key, 32), loc="left", fontsize=9)
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]))
    low, high = axes.get_ylim()
    min_span = _MIN_SPAN * max(abs(low), abs(high))
    if high - low < min_span:
        axes.set_ylim((low + high - min_span) / 2, (low + high + min_span) / 2)
    axes.tick_params(length=0, labelcolor=MUTED_COLOR)


def _handle(index: int, name: str) -> Any:
    from matplotlib.lines import Line2D

    colour, shape = series_style(index)
    return Line2D(
        [], [], color=colour, marker=shape, markersize=4, linewidth=1.2, label=printable_label(name, 40)
    )
