"""`ssl-seg figure views`: what a network would see of images, without training one."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ssl_seg.commands import flags
from ssl_seg.commands.config import read_options
from ssl_seg.errors import UsageError
from ssl_seg.utils import limits
from ssl_seg.utils.code_names import TypedName
from ssl_seg.utils.outputs import refuse_inputs
from ssl_seg.utils.progress import echo
from ssl_seg.workflows.inference import files_of
from ssl_seg.workflows.view_recipes import first_batch, paired_views, recipes_of

_PAIR = ("image", "view", "mask")


_Side = typer.Option(
    min=8, max=limits.SIDE, help="Side of a view, in pixels.", show_default="128; with --masks 256"
)
_ImageSize = Annotated[int | None, _Side]


def views(
    data: Annotated[str, typer.Argument(metavar="DATA", help="A folder, a CSV file, or FORMAT:PATH.")],
    ssl: Annotated[
        str | None,
        typer.Option(help="Method whose views are drawn: a name, or FILE.py:CLASS.", show_default="byol"),
    ] = None,
    augment: Annotated[
        Literal["light", "turns", "strong"] | None,
        typer.Option(help="Instead: the views of `ssl-seg classify`, or with --masks of `ssl-seg segment`."),
    ] = None,
    masks: Annotated[bool, typer.Option("--masks", help="Of images with masks, both are drawn.")] = False,
    image_size: _ImageSize = None,
    seed: flags.Seed = 0,
    count: Annotated[int, typer.Option(min=1, max=64, help="Images, one column for each.")] = 8,
    option: flags.Option = None,
    out: Annotated[Path, typer.Option(help="PNG file.", callback=flags.file_name)] = Path("views.png"),
    bad_images: flags.BadImages = "stop",
    cache: flags.Cache = None,
) -> None:
    """Draw the first images that training would take, and the views it would make of them.

    They are those of the first epoch, for the seed: a run's figures/views.png shows the same.
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
        raise UsageError("--ssl makes views without labels, --augment and --masks those with them: give one")
    if augment == "turns" and not masks:
        raise UsageError("--augment turns is for images with masks", next="--masks --augment turns")
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
