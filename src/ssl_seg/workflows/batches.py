"""The inputs of each training step."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ssl_seg.augment.draws import Draws
from ssl_seg.augment.recipes import View, of_channels
from ssl_seg.augment.view_list import Views
from ssl_seg.augment.views import Augmentation
from ssl_seg.data.loader import Batch, Draw, Loader

if TYPE_CHECKING:
    from ssl_seg.base import SSLMethod
    from ssl_seg.data.image_cache import ImageCache
    from ssl_seg.engine.device import Device
    from ssl_seg.workflows.config import RunConfig

BatchFn = Callable[[int], list[list[Tensor]]]  # step -> micro-batches


def open_loader(images: "ImageCache", config: "RunConfig", device: "Device", draw: Draw) -> Loader:
    """Shuffled batches of images, on the device, with what `draw` draws for them."""
    rank = {"rank": device.rank, "world_size": device.world_size}
    return Loader(images, config.batch_size, config.seed, device.device, draw=draw, **rank)


def augmentation_of(
    views: Sequence[View], config: "RunConfig", *, multiple: int = 1, **normalization: Any
) -> Augmentation:
    """Random views as the settings have them, for images of the channels of `normalization`: `mean` and `std`."""
    views, _ = of_channels(views, len(normalization["mean"]))
    return Augmentation(views, config.size, config.seed, multiple, compile=config.compile, **normalization)


def method_views(method: "SSLMethod", config: "RunConfig", normalization: Mapping[str, Any]) -> Augmentation:
    """The views that a method trains on, with sides that suit its backbone."""
    multiple = getattr(method.backbone, "side_multiple", 1)  # 1 if the backbone does not say
    return augmentation_of(method.views, config, multiple=multiple, **normalization)


def pretrain_batches(
    loader: Loader, augmentation: Augmentation, method: "SSLMethod", config: "RunConfig", total_steps: int
) -> Callable[[int], list[Views]]:
    """The views of each step's images, which know how far the run is; labels for methods that ask for them.

    Args:
        loader: draws what `augmentation` needs.
        total_steps: steps of the run.
    """

    def views_of(step: int) -> list[Views]:
        views = views_for(method, augmentation, loader.batch_at(step))
        return views.with_facts(progress=torch.tensor(step / total_steps)).chunk(config.accumulate)

    return views_of


def draws_of(batch: Batch) -> tuple[Draws, list[Tensor]]:
    """What was drawn for the views of a batch, and whatever its loader's `draw` has returned after that."""
    count = len(Draws._fields)
    return Draws(*batch.draws[:count]), list(batch.draws[count:])


def views_for(method: "SSLMethod", augmentation: Augmentation, batch: Batch) -> Views:
    """The views of a batch, and labels if the method needs them."""
    views = augmentation.make(batch.images, draws_of(batch)[0], batch.epoch)
    return views.with_facts(targets=batch.targets if method.needs_labels else None)


def micro_batches(tensors: Sequence[Tensor], count: int) -> list[list[Tensor]]:
    """A batch in as many parts as gradients are accumulated over."""
    chunks = [tensor.chunk(count) for tensor in tensors]
    return [list(part) for part in zip(*chunks, strict=True)]
