"""A run on some of the labelled images: `--fraction`, `--per-class`, `--images`."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ssl_seg.data.subset import Subset, choose
from ssl_seg.errors import pluralize

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ssl_seg.base import Dataset
    from ssl_seg.data.image_cache import ImageCache
    from ssl_seg.workflows.config import FinetuneConfig
    from ssl_seg.workflows.session import Session


def labeled_subset(
    session: "Session",
    config: "FinetuneConfig",
    dataset: "Dataset",
    images: "ImageCache",
    count_pixels: "Callable[[ImageCache], NDArray[np.int64]]",
) -> "tuple[Dataset, ImageCache]":
    """The training images that the settings ask for, and their cache; all of them if they ask for none.

    Args:
        count_pixels: (N, C) pixels of each class in each image of a cache; see `choose`.
    """
    size: dict[str, Any] = {
        "fraction": config.fraction,
        "per_class": config.per_class,
        "images": config.images,
    }
    if set(size.values()) == {None}:
        return dataset, images
    chosen = choose(count_pixels(images), images.digests, **size, seed=config.subset_seed or 0)
    session.progress.print_line(f"training on {pluralize(len(chosen), 'labeled image')} of {len(images)}")
    subset = Subset(dataset, images.sample_indices[chosen].tolist())
    return subset, session.image_cache(subset, config)
