"""`ssl-seg figure masks`: predicted masks of segmentation runs."""

from pathlib import Path
from typing import Annotated

import typer

from ssl_seg.commands import figure_flags
from ssl_seg.utils.progress import echo
from ssl_seg.workflows.mask_figure import draw_masks

_SHOWN = 8


def masks(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of segmentation runs.")],
    out: Annotated[Path | None, figure_flags.stem("RUN/figures/masks, or masks for several")] = None,
    images: Annotated[
        str,
        typer.Option(help="Comma-separated images to show: 0013,0062.", show_default="all images of --watch"),
    ] = "",
    names: Annotated[
        str,
        typer.Option(help="Comma-separated titles of the runs.", show_default="folder names"),
    ] = "",
) -> None:
    """Draw saved mask predictions of segmentation runs.

    One run: image, target and the prediction at each saved epoch. Several runs: image, target and the last
    prediction of each run.
    """
    paths, missing = draw_masks(runs, images=images, names=names, out=out)
    for line in missing[:_SHOWN]:
        echo(f"missing: {line}")
    if len(missing) > _SHOWN:
        echo(f"missing: and {len(missing) - _SHOWN} more")
    echo(f"figure: {', '.join(map(str, paths))}")
