"""The inputs of each training step."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ssl_seg.augment.recipes import View
from ssl_seg.augment.view_list import Views
from ssl_seg.augment.views import augment
from ssl_seg.data.loader import Batch, Loader

if TYPE_CHECKING:
    from ssl_seg.base import SSLMethod
    from ssl_seg.data.image_cache import ImageCache
    from ssl_seg.engine.device import Device
    from ssl_seg.workflows.config import RunConfig

BatchFn = Callable[[int], list[list[Tensor]]]  # step -> micro-batches


def open_loader(images: "ImageCache", config: "RunConfig", device: "Device") -> Loader:
    """Shuffled batches of images, on the device."""
    return Loader(
        images, config.batch_size, config.seed, device.device, rank=device.rank, world_size=device.world_size
    )


def pretrain_batches(
    loader: Loader,
    method: "SSLMethod",
    config: "RunConfig",
    total_steps: int,
    normalization: Mapping[str, Any],
) -> Callable[[int], list[Views]]:
    """The views of each step's images, which know how far the run is; labels for methods that ask for them.

    Args:
        total_steps: steps of the run.
        normalization: `mean` and `std`.
    """

    def views_of(step: int) -> list[Views]:
        views = views_for(method, loader.batch_at(step), config, normalization)
        return views.with_facts(progress=torch.tensor(step / total_steps)).chunk(config.accumulate)

    return views_of


def views_for(
    method: "SSLMethod", batch: Batch, config: "RunConfig", normalization: Mapping[str, Any]
) -> Views:
    """The views of a batch that a method trains on, with sides that suit its backbone, and labels if it needs them."""
    multiple = getattr(method.backbone, "side_multiple", 1)  # 1 if the backbone does not say
    views = make_views(batch, method.views, config, multiple=multiple, **normalization)
    return views.with_facts(targets=batch.targets if method.needs_labels else None)


def make_views(batch: Batch, views: Sequence[View], config: "RunConfig", **options: Any) -> Views:
    """The views of a batch of images: one normalised (B, 3, side, side) tensor for each recipe.

    Args:
        options: of `augment`: `multiple`, `mean`, `std`.
    """
    draws: dict[str, Any] = {"seed": config.seed, "epoch": batch.epoch, "size": config.size}
    return augment(batch.images, views, batch.sizes, batch.samples, **draws, **options)


def micro_batches(tensors: Sequence[Tensor], count: int) -> list[list[Tensor]]:
    """A batch in as many parts as gradients are accumulated over."""
    chunks = [tensor.chunk(count) for tensor in tensors]
    return [list(part) for part in zip(*chunks, strict=True)]
