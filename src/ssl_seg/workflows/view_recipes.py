"""The views that training would draw."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from ssl_seg.augment.recipes import View
    from ssl_seg.base import SSLMethod
    from ssl_seg.data.image_cache import ImageCache
    from ssl_seg.data.loader import Batch
    from ssl_seg.registry import Registry


def first_batch(image_cache: "ImageCache", count: int, seed: int) -> "Batch":
    """The first images that training takes; that does not depend on the size of a batch."""
    import torch

    from ssl_seg.data.loader import ShuffleSampler, sequential_batches

    rows = ShuffleSampler(len(image_cache), min(count, len(image_cache)), seed).indices(0)
    return next(sequential_batches(image_cache, len(rows), torch.device("cpu"), rows))


def recipes_of(
    registry: "Registry", ssl: str, augment: str | None, options: Mapping[str, Mapping[str, str]]
) -> Sequence["View"]:
    """The views of a classifier, or of a method; these do not depend on the backbone, so a tiny one will do."""
    from ssl_seg.augment.recipes import TRAIN_VIEWS
    from ssl_seg.augment.view_options import with_view_options
    from ssl_seg.nn.tiny_backbone import tiny_backbone

    if augment:
        return [TRAIN_VIEWS[augment]]
    method: SSLMethod = registry.build(
        "ssl", ssl, tiny_backbone(registry.factory("ssl", ssl)), options=options.get("ssl", {})
    )
    return with_view_options(method.views, options.get("views", {}))


def paired_views(
    batch: "Batch", sizes: "Tensor", augment: str, colours: "NDArray[np.uint8]", fixed: dict[str, Any]
) -> tuple["Tensor", "Tensor"]:
    """The view of each image, and that of its mask in colours, uint8."""
    import torch

    from ssl_seg.augment.recipes import segmentation_view
    from ssl_seg.augment.views import augment_with_masks
    from ssl_seg.figures.masks import colorize_mask

    assert batch.masks is not None
    view = segmentation_view(augment, fixed["size"], sizes)
    images, marks = augment_with_masks(batch.images, batch.masks, batch.sizes, batch.samples, view, **fixed)
    return images, torch.from_numpy(colorize_mask(marks.byte().numpy(), colours)).permute(0, 3, 1, 2)
