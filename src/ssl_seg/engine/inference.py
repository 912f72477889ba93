"""A model over batches, without learning."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ssl_seg.augment.views import IMAGENET_MEAN, IMAGENET_STD, eval_view
from ssl_seg.base import Backbone
from ssl_seg.data.image_cache import ImageCache
from ssl_seg.data.loader import Batch, sequential_batches
from ssl_seg.distributed.collectives import all_reduce_sum
from ssl_seg.engine.device import Device

EVAL_BATCH_SIZE = 256


@torch.no_grad()
def run_inference(
    module: nn.Module,
    image_cache: ImageCache,
    device: Device,
    *,
    size: int,
    batch_size: int = EVAL_BATCH_SIZE,
    mean: tuple[float, ...] = IMAGENET_MEAN,
    std: tuple[float, ...] = IMAGENET_STD,
    rows: Tensor | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> Iterator[tuple[Any, Batch]]:
    """What a module says of every image's central square, a batch at a time, in the store's order.

    The module is in evaluation mode meanwhile, so its running statistics do not move. Of several
    processes each gets its share of the batches; `gather_outputs` puts together what they make of them.

    Args:
        size: side of the square in pixels.
        mean, std: of the normalisation, for images in [0, 1].
        rows: of the store; all by default.
        stopped: asked after every batch; once it says so, no more batches come.
    """
    with eval_mode(module):
        share = {"rank": device.rank, "world_size": device.world_size}
        for batch in sequential_batches(image_cache, batch_size, device.device, rows, **share):
            views = eval_view(batch.images, batch.sizes, size=size, mean=mean, std=std)
            with device.autocast():
                out = module(views)
            yield out, batch
            if stopped():
                break


@torch.no_grad()
def extract_features(
    backbone: Backbone,
    image_cache: ImageCache,
    device: Device,
    **options: Any,
) -> tuple[Tensor, Tensor]:
    """The backbone's `summary` of every image's central square.

    Args:
        options: see `run_inference`.

    Returns:
        (N, C) float32 features and (N,) int64 targets, on the device; fewer rows if `stopped`.
    """
    rows, batch_size = options.get("rows"), options.get("batch_size", EVAL_BATCH_SIZE)
    targets = image_cache.targets if rows is None else image_cache.targets[rows]
    parts = [found.float() for found, _ in run_inference(_Summary(backbone), image_cache, device, **options)]
    features = gather_outputs(parts, len(targets), device, batch_size)
    return features, targets[: len(features)].to(features.device)


class _Summary(nn.Module):
    """A backbone as a function from images to their vectors."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images: Tensor) -> Tensor:
        return self.backbone.summary(images)


def gather_outputs(
    parts: Sequence[Tensor], count: int, device: Device, batch_size: int = EVAL_BATCH_SIZE
) -> Tensor:
    """The rows that all processes have made of the batches of `run_inference`, in the store's order.

    Args:
        parts: (B, C) float32 of each batch of this process; there may be none.
        count: images over all.

    Returns:
        (count, C). Alone, fewer rows if the parts have been cut short; with others, zeros for them.
    """
    if device.world_size == 1:
        return torch.cat(list(parts))
    (width,) = device.all_reduce_max(parts[0].shape[1] if parts else 0)
    rows = torch.zeros(count, int(width), device=device.device)
    for index, part in enumerate(parts):
        start = (device.rank + index * device.world_size) * batch_size
        rows[start : start + len(part)] = part
    return all_reduce_sum(rows)  # each row is of one process, and 0 in all others: the sum is exact


class eval_mode:
    """Evaluation mode for every part, and afterwards exactly the modes there were."""

    def __init__(self, module: nn.Module) -> None:
        self._modes = [(part, part.training) for part in module.modules()]
        self._module = module

    def __enter__(self) -> None:
        self._module.eval()

    def __exit__(self, *_: object) -> None:
        for part, mode in self._modes:
            part.training = mode
