"""The figure of a learning-rate range test."""

from pathlib import Path

from ssl_seg.figures.style import MUTED_COLOR, figure, figure_style, save, series_style
from ssl_seg.utils.lr_range import LrRange


def draw(stem: Path, found: LrRange) -> list[Path]:
    """Write `stem`.png and `stem`.svg: the loss over the learning rate, and the suggested rate.

    Raises:
        ResourceError: they cannot be written.
    """
    from matplotlib.ticker import FuncFormatter

    color, _ = series_style(0)
    with figure_style():
        fig = figure(5.2, 3.2)
        axes = fig.subplots()
        axes.plot(found.rates, found.losses, color=MUTED_COLOR, linewidth=0.6, label="loss of a step")
        label = f"mean over {found.window} steps"
        axes.plot(found.rates, found.smoothed, color=color, linewidth=1.6, label=label)
        if found.suggested is not None:
            name = f"steepest descent: {found.suggested:.2g}"
            axes.axvline(found.suggested, color=series_style(1)[0], linewidth=1.2, linestyle="--", label=name)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda rate, _: f"{rate:g}"))
        axes.minorticks_off()
        low, first = found.smoothed.min(), found.smoothed[0]
        axes.set_ylim(None, min(axes.get_ylim()[1], first + 2 * max(first - low, 0.1 * abs(first))))
        axes.set_xlabel("learning rate")
        axes.set_ylabel("loss")
        axes.grid(axis="y")
        axes.set_axisbelow(True)
        axes.tick_params(length=0, labelcolor=MUTED_COLOR)
        fig.legend(loc="outside lower center", ncols=3)
        return save(fig, stem)
