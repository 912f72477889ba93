"""`ssl-seg figure views`: what a network would see of images, without training one."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ssl_seg.commands import defaults, flags
from ssl_seg.commands.console import echo
from ssl_seg.commands.reading import files_of
from ssl_seg.errors import UsageError
from ssl_seg.utils import limits
from ssl_seg.utils.code_names import TypedName
from ssl_seg.utils.outputs import refuse_inputs

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from ssl_seg.augment.views import View
    from ssl_seg.base import SSLMethod
    from ssl_seg.data.image_cache import Store
    from ssl_seg.data.loader import Batch
    from ssl_seg.registry import Registry

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
    out: Annotated[Path, typer.Option(help="PNG file.")] = Path("views.png"),
    bad_images: flags.BadImages = "stop",
    cache: flags.Cache = None,
) -> None:
    """Draw the first images that training would take, and the views it would make of them.

    They are those of the first epoch, for the seed: a run's figures/views.png shows the same.
    """
    import numpy as np

    from ssl_seg.augment.views import augment as augmented
    from ssl_seg.commands.console import Console
    from ssl_seg.commands.data import load, open_dataset
    from ssl_seg.commands.mask_classes import about_masks, tell_masks
    from ssl_seg.data.canvases import WHOLE
    from ssl_seg.figures.views import draw_views
    from ssl_seg.plugins import load_plugins

    if ssl is not None and (masks or augment):
        raise UsageError("--ssl makes views without labels, --augment and --masks those with them: give one")
    if augment == "turns" and not masks:
        raise UsageError("--augment turns is for images with masks", next="--masks --augment turns")
    registry, options = load_plugins().registry, defaults.read_options(option or [])
    size = image_size or (256 if masks else 128)
    recipes = [] if masks else _recipes(registry, TypedName(ssl or "byol"), augment, options.get("ssl", {}))
    with Console() as console:
        split, own = "train" if masks or augment else "", options.get("data", {})
        dataset = open_dataset(registry, TypedName(data), split=split, masks=masks, options=own)
        refuse_inputs([out], files_of(dataset))
        tell_masks(dataset, data, console.say)
        canvas = WHOLE if masks else 2 * size
        store = load(dataset, canvas, console, cache=cache, bad_images=bad_images)
    batch = _first(store, count, seed)
    fixed: dict[str, Any] = {"seed": seed, "epoch": batch.epoch, "size": size}
    if masks:
        colours = np.array(about_masks(dataset)["colours"], dtype=np.uint8)
        made = _pairs(batch, store.sizes, augment or "light", colours, fixed)
    else:
        made = augmented(batch.images, batch.sizes, batch.samples, recipes, **fixed)
    draw_views(out, batch.images, made, names=_PAIR if masks else None)
    echo(f"figure: {out}")


def _first(store: "Store", count: int, seed: int) -> "Batch":
    """The first images that training takes; that does not depend on the size of a batch."""
    import torch

    from ssl_seg.data.loader import Order, in_order

    rows = Order(len(store), min(count, len(store)), seed).rows(0)
    return next(in_order(store, len(rows), torch.device("cpu"), rows))


def _recipes(
    registry: "Registry", ssl: str, augment: str | None, options: dict[str, str]
) -> Sequence["View"]:
    """The views of a classifier, or of a method; these do not depend on the backbone, so a tiny one will do."""
    from ssl_seg.augment.recipes import TRAIN_VIEWS
    from ssl_seg.testing import TinyBackbone

    if augment:
        return [TRAIN_VIEWS[augment]]
    method: SSLMethod = registry.build("ssl", ssl, TinyBackbone(), options=options)
    return method.views


def _pairs(
    batch: "Batch", sizes: "Tensor", augment: str, colours: "NDArray[np.uint8]", fixed: dict[str, Any]
) -> list["Tensor"]:
    """The view of each image, and of its mask in colours."""
    import torch

    from ssl_seg.augment.recipes import mask_view
    from ssl_seg.augment.views import augment_pairs, normalised
    from ssl_seg.figures.masks import paint

    assert batch.masks is not None
    view = mask_view(augment, fixed["size"], sizes)
    images, marks = augment_pairs(batch.images, batch.masks, batch.sizes, batch.samples, view, **fixed)
    painted = torch.from_numpy(paint(marks.byte().numpy(), colours)).permute(0, 3, 1, 2)
    return [images, normalised(painted)]
