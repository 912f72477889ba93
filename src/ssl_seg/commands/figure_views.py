"""`ssl-seg figure views`: augmented training views, without training."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from ssl_seg.commands import completion, figure_flags, flags
from ssl_seg.utils import limits
from ssl_seg.utils.progress import echo
from ssl_seg.workflows.view_figure import draw_training_views

_Side = typer.Option(
    min=8, max=limits.SIDE, help="View size, in pixels.", show_default="128; with --masks: 256"
)
_Method = Annotated[
    str | None,
    typer.Option(
        help="SSL method whose views are drawn: a name or FILE.py:CLASS.",
        autocompletion=completion.ssl,
        show_default="byol",
    ),
]
_ImageSize = Annotated[int | None, _Side]


def views(
    data: Annotated[str, typer.Argument(metavar="DATA", help=flags.DATA_HELP)],
    ssl: _Method = None,
    augment: Annotated[
        Literal["light", "turns", "strong"] | None,
        typer.Option(help="Show the views of `classify`, or of `segment` with --masks."),
    ] = None,
    masks: Annotated[bool, typer.Option("--masks", help="Draw images with their masks.")] = False,
    image_size: _ImageSize = None,
    seed: flags.Seed = 0,
    count: Annotated[int, typer.Option(min=1, max=64, help="Number of images (columns).")] = 8,
    option: flags.Option = None,
    out: Annotated[Path, typer.Option(help="PNG file.", callback=figure_flags.check_filename)] = Path(
        "views.png"
    ),
    bad_images: flags.BadImages = "stop",
    cache: flags.Cache = None,
) -> None:
    """Draw the augmented views of the first training images.

    The views are those of the first epoch with this seed, as in figures/views.png of a run.
    """
    draw_training_views(
        data,
        out,
        ssl=ssl,
        augment=augment,
        masks=masks,
        image_size=image_size,
        seed=seed,
        count=count,
        option=option,
        bad_images=bad_images,
        cache=cache,
    )
    echo(f"figure: {out}")
