"""Images that are in both of two sets, pixel for pixel: a measure on them measures memory."""

from typing import TYPE_CHECKING

import torch

from ssl_seg.errors import DataError
from ssl_seg.utils.log import log

if TYPE_CHECKING:
    from torch import Tensor

    from ssl_seg.base import Dataset
    from ssl_seg.data.image_cache import ImageCache

_SHOWN = 3


def check_overlap(
    train: tuple["Dataset", "ImageCache"],
    val: tuple["Dataset", "ImageCache"],
    *,
    allowed: bool,
    message: str = "validation images are also training images",
) -> None:
    """See that no image that is measured on was trained on, unless that is allowed; then it is warned of.

    Args:
        train, val: images that are trained and measured on; both caches have one limit, so that equal
            images have equal digests.
        allowed: `--allow-overlap`.
        message: about the images that are in both.

    Raises:
        DataError: there are some; with their number and the first pairs.
    """
    (train_data, train_images), (val_data, val_images) = train, val
    shared = is_in(val_images, train_images).nonzero()[:, 0]
    if not len(shared):
        return
    pairs = []
    for index in shared[:_SHOWN].tolist():
        twin = int((train_images.digests == val_images.digests[index]).nonzero()[0, 0])
        name = val_data.origin(int(val_images.sample_indices[index]))
        pairs.append(f"{name} is {train_data.origin(int(train_images.sample_indices[twin]))}")
    what = f"{len(shared)} of {len(val_images)} {message}"
    if allowed:
        log.warning("%s: %s", what, pairs[0])
        return
    more = [f"and {len(shared) - _SHOWN} more"] if len(shared) > _SHOWN else []
    raise DataError(
        what,
        where="\n       ".join([*pairs, *more]),
        next="remove them from one of the two; if they are meant to be there: --allow-overlap",
    )


def is_in(images: "ImageCache", others: "ImageCache") -> "Tensor":
    """(N,) bool: which of the images are also among others."""
    return torch.isin(images.digests, others.digests)


def warn_of_copies(images: "ImageCache", is_holdout: "Tensor") -> None:
    """Warn of held-out images that have a copy among those that are trained on.

    Args:
        is_holdout: (N,) bool, on the CPU.
    """
    copies = int(torch.isin(images.digests[is_holdout], images.digests[~is_holdout]).sum())
    if copies:
        log.warning(
            "%d of %d held-out images are also training images of the probe: its score is too high",
            copies,
            int(is_holdout.sum()),
        )
