"""Augmented views of the first training images, as a figure."""

from pathlib import Path
from typing import Any, Literal

from ssl_seg.errors import UsageError
from ssl_seg.utils.code_names import TypedName
from ssl_seg.utils.outputs import refuse_inputs
from ssl_seg.workflows.flag_values import OF_IMAGES, read_options
from ssl_seg.workflows.inference import files_of
from ssl_seg.workflows.view_recipes import first_batch, paired_views, recipes_of

_COLUMNS = ("image", "view", "mask")


def draw_training_views(
    data: str,
    out: Path,
    *,
    ssl: str | None,
    augment: Literal["light", "turns", "strong"] | None,
    masks: bool,
    image_size: int | None,
    seed: int,
    count: int,
    option: list[str] | None,
    bad_images: Literal["stop", "skip"],
    cache: Path | None,
) -> None:
    """Draw the views of the first epoch with this seed; the parameters are those of `ssl-seg figure views`.

    Raises:
        UsageError: flags that exclude each other, or `out` is an input. DataError: no usable images.
    """
    import numpy as np

    from ssl_seg.augment.recipes import of_channels
    from ssl_seg.augment.views import augment as augmented
    from ssl_seg.data.canvases import WHOLE
    from ssl_seg.figures.views import draw_views
    from ssl_seg.plugins import load_plugins
    from ssl_seg.utils.progress import ProgressDisplay
    from ssl_seg.workflows.data import open_dataset, open_images
    from ssl_seg.workflows.mask_metadata import metadata_of_masks, print_classes
    from ssl_seg.workflows.pixels import normalization_of

    if ssl is not None and (masks or augment):
        raise UsageError("--ssl cannot be combined with --augment or --masks")
    if augment == "turns" and not masks:
        raise UsageError("--augment turns requires --masks", next="--masks --augment turns")
    parts = OF_IMAGES if masks or augment else ("ssl", "views", "data")
    registry, options = load_plugins().registry, read_options(option or [], parts)
    size = image_size or (256 if masks else 128)
    recipes = [] if masks else recipes_of(registry, TypedName(ssl or "byol"), augment, options)
    with ProgressDisplay() as console:
        split, data_options = "train" if masks or augment else "", options.get("data", {})
        dataset = open_dataset(registry, TypedName(data), split=split, masks=masks, options=data_options)
        refuse_inputs([out], files_of(dataset))
        print_classes(dataset, data, console.print_line)
        canvas = WHOLE if masks else 2 * size
        image_cache = open_images(dataset, canvas, console, cache=cache, bad_images=bad_images)
    batch = first_batch(image_cache, count, seed)
    normalization = normalization_of(image_cache, None)
    sampling: dict[str, Any] = {"seed": seed, "epoch": batch.epoch, "size": size, **normalization}
    sheet: dict[str, Any] = dict(normalization)
    if masks:
        colours = np.array(metadata_of_masks(dataset)["colours"], dtype=np.uint8)
        view, painted = paired_views(batch, image_cache.sizes, augment or "light", colours, sampling)
        views, sheet = [view], {"painted": painted, "names": _COLUMNS, **normalization}
    else:
        recipes = of_channels(recipes, image_cache.channels)[0]
        views = augmented(batch.images, recipes, batch.sizes, batch.samples, **sampling)
    draw_views(out, batch.images, views, **sheet)
