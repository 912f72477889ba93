"""Labels of validation images, held against those of the training images."""

from typing import TYPE_CHECKING

import torch

from ssl_seg.errors import DataError, did_you_mean

if TYPE_CHECKING:
    from ssl_seg.base import Dataset
    from ssl_seg.data.image_cache import ImageCache


def align_labels(image_cache: "ImageCache", dataset: "Dataset", classes: list[str], spec: str) -> None:
    """Give a store the class indices of the training images.

    Raises:
        DataError: it has a class that they have not; with the place of its first image.
    """
    index = {name: position for position, name in enumerate(classes)}
    unknown = [position for position, name in enumerate(image_cache.classes) if name not in index]
    for position in unknown:
        rows = (image_cache.targets == position).nonzero()[:, 0]
        if len(rows):
            name = image_cache.classes[position]
            raise DataError(
                f"class {name!r} of {spec} ({len(rows)} images) does not occur in the training set"
                f"{did_you_mean(name, classes)}",
                where=dataset.origin(int(image_cache.sample_indices[rows[0]])),
                next=f"the training classes are {', '.join(classes[:8])}{', ...' if len(classes) > 8 else ''}",
            )
    order = torch.tensor([index.get(name, -1) for name in image_cache.classes])
    image_cache.targets, image_cache.classes = order[image_cache.targets], list(classes)
