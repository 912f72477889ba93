"""`ssl-seg figure views`: augmented training views, without training."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ssl_seg.commands import completion, figure_flags, flags
from ssl_seg.errors import UsageError
from ssl_seg.utils import limits
from ssl_seg.utils.code_names import TypedName
from ssl_seg.utils.outputs import refuse_inputs
from ssl_seg.utils.progress import echo
from ssl_seg.workflows.flag_values import read_options
from ssl_seg.workflows.inference import files_of
from ssl_seg.workflows.view_recipes import first_batch, paired_views, recipes_of

_PAIR = ("image", "view", "mask")


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
    import numpy as np

    from ssl_seg.augment.views import augment as augmented
    from ssl_seg.data.canvases import WHOLE
    from ssl_seg.figures.views import draw_views
    from ssl_seg.plugins import load_plugins
    from ssl_seg.utils.progress import Console
    from ssl_seg.workflows.data import load, open_dataset
    from ssl_seg.workflows.mask_metadata import about_masks, tell_masks

    if ssl is not None and (masks or augment):
        raise UsageError("--ssl cannot be combined with --augment or --masks")
    if augment == "turns" and not masks:
        raise UsageError("--augment turns requires --masks", next="--masks --augment turns")
    registry, options = load_plugins().registry, read_options(option or [])
    size = image_size or (256 if masks else 128)
    recipes = [] if masks else recipes_of(registry, TypedName(ssl or "byol"), augment, options.get("ssl", {}))
    with Console() as console:
        split, own = "train" if masks or augment else "", options.get("data", {})
        dataset = open_dataset(registry, TypedName(data), split=split, masks=masks, options=own)
        refuse_inputs([out], files_of(dataset))
        tell_masks(dataset, data, console.say)
        canvas = WHOLE if masks else 2 * size
        store = load(dataset, canvas, console, cache=cache, bad_images=bad_images)
    batch = first_batch(store, count, seed)
    fixed: dict[str, Any] = {"seed": seed, "epoch": batch.epoch, "size": size}
    if masks:
        colours = np.array(about_masks(dataset)["colours"], dtype=np.uint8)
        made = paired_views(batch, store.sizes, augment or "light", colours, fixed)
    else:
        made = augmented(batch.images, recipes, batch.sizes, batch.samples, **fixed)
    draw_views(out, batch.images, made, names=_PAIR if masks else None)
    echo(f"figure: {out}")
