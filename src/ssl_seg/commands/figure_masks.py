"""`ssl-seg figure masks`: the watched images of segmentation runs, with labels and predictions."""

from pathlib import Path
from typing import Annotated

import typer

from ssl_seg.commands import flags
from ssl_seg.figures.mask_runs import open_runs
from ssl_seg.utils.progress import echo
from ssl_seg.utils.text import names_in

_SHOWN = 8


def masks(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of segmentation runs.")],
    out: Annotated[Path | None, flags.stem("figures/masks in the run's folder; of several: masks")] = None,
    images: Annotated[
        str, typer.Option(help="Which, with commas between: 0013,0062.", show_default="all that are watched")
    ] = "",
    names: Annotated[
        str,
        typer.Option(help="Titles of the runs, with commas between.", show_default="their folders' names"),
    ] = "",
) -> None:
    """Draw what a segmentation run said of its watched images: image, label, prediction of each epoch kept.

    Of several runs: image, label, and each run's last prediction.
    """
    from ssl_seg.figures.mask_gallery import Gallery

    found, missing = open_runs(runs, names_in(names))
    gallery = Gallery(found, names_in(images))
    own = runs[0] / "figures" / "masks" if len(runs) == 1 else Path("masks")
    paths = gallery.save(out or own)
    missing += gallery.missing
    for line in missing[:_SHOWN]:
        echo(f"missing: {line}")
    if len(missing) > _SHOWN:
        echo(f"missing: and {len(missing) - _SHOWN} more")
    echo(f"figure: {', '.join(map(str, paths))}")
