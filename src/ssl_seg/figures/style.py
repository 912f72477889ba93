"""The style of all figures: fonts, colors, and files without a date.

with figure_style():
    fig = figure(7, 3)
    axes = fig.subplots()
    ...
    save(fig, Path("figures/curves"))  # .png and .svg
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ssl_seg.figures import palette
from ssl_seg.figures.palette import MARKERS, PALETTE, style_indices
from ssl_seg.utils.files import atomic_file

TEXT_COLOR, MUTED_COLOR = palette.TEXT[0], palette.MUTED[0]
RULE_COLOR, GRAY_COLOR = palette.RULE[0], palette.GRAY[0]
DPI = 200

_STYLE = {
    "font.family": ["sans-serif"],
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib: the same everywhere
    "font.size": 9,
    "text.color": TEXT_COLOR,
    "text.usetex": False,
    "text.parse_math": False,  # a class may be called "$a_b$"
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "axes.labelcolor": TEXT_COLOR,
    "axes.edgecolor": RULE_COLOR,
    "axes.facecolor": "white",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": RULE_COLOR,
    "grid.linewidth": 0.5,
    "xtick.color": MUTED_COLOR,
    "ytick.color": MUTED_COLOR,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "figure.facecolor": "white",
    "savefig.bbox": None,
    "svg.fonttype": "path",
    "svg.hashsalt": "ssl-seg",  # ids in the file are made of this and not of chance
}


@contextmanager
def figure_style() -> Iterator[None]:
    """Our style, whatever the user's own matplotlibrc says, until the end of the block."""
    import matplotlib

    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="Glyph .* missing"
        )  # a box stands for a letter of another script
        yield


def figure(width: float, height: float) -> Any:
    """An empty `matplotlib.figure.Figure` of a size in inches; its parts are laid out without overlap."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def series_style(index: int) -> tuple[str, str]:
    """Return color and marker of the class or run at `index`: eight colors, then the next marker; 80 in all."""
    color, marker = style_indices(index)
    return PALETTE[color], MARKERS[marker]


def printable_label(text: str, length: int = 28) -> str:
    """A name from outside as one short line that can be drawn."""
    plain = "".join(letter if letter.isprintable() else " " for letter in text)
    plain = " ".join(plain.split())
    if len(plain) > length:
        plain = plain[: length - 1] + "…"
    return "\u200a" + plain if plain.startswith("_") else plain  # legends leave out what begins with _


def save(fig: Any, stem: Path, dpi: int = DPI) -> list[Path]:
    """Write a figure as `stem`.png and `stem`.svg, the same bytes whenever it is drawn again.

    Args:
        fig: a figure; call this inside `figure_style()`.
        stem: path without an ending; its folder is made.
        dpi: pixels per inch of the PNG, and of what is embedded as pixels in the SVG.

    Raises:
        ResourceError: they cannot be written.
    """
    paths = []
    for ending, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
        paths.append(stem.with_name(f"{stem.name}.{ending}"))
        with atomic_file(paths[-1]) as file:
            fig.savefig(file, format=ending, dpi=dpi, metadata=metadata)
    return paths
