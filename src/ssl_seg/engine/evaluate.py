"""A model over batches, without learning."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ssl_seg.augment.views import IMAGENET_MEAN, IMAGENET_STD, evaluation_view
from ssl_seg.base import Backbone
from ssl_seg.data.batches import Batch, in_order
from ssl_seg.data.store import Store
from ssl_seg.engine.device import Device
from ssl_seg.layers import pool


@torch.no_grad()
def outputs(
    module: nn.Module,
    store: Store,
    device: Device,
    *,
    size: int,
    batch_size: int = 256,
    mean: tuple[float, ...] = IMAGENET_MEAN,
    std: tuple[float, ...] = IMAGENET_STD,
    rows: Tensor | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> Iterator[tuple[Any, Batch]]:
    """What a module says of every image's central square, a batch at a time, in the store's order.

    The module is in evaluation mode meanwhile, so its running statistics do not move.

    Args:
        size: side of the square in pixels.
        mean, std: of the normalisation, for images in [0, 1].
        rows: of the store; all by default.
        stopped: asked after every batch; once it says so, no more batches come.
    """
    with evaluating(module):
        for batch in in_order(store, batch_size, device.device, rows):
            views = evaluation_view(batch.images, batch.sizes, size=size, mean=mean, std=std)
            with device.autocast():
                out = module(views)
            yield out, batch
            if stopped():
                break


@torch.no_grad()
def embed(
    backbone: Backbone,
    store: Store,
    device: Device,
    **how: Any,
) -> tuple[Tensor, Tensor]:
    """Pooled features of every image's central square.

    Args:
        how: see `outputs`.

    Returns:
        (N, C) float32 features and (N,) int64 targets, on the device; fewer rows if `stopped`.
    """
    features: list[Tensor] = []
    targets: list[Tensor] = []
    for maps, batch in outputs(backbone, store, device, **how):
        features.append(pool(maps).float())
        targets.append(batch.targets)
    return torch.cat(features), torch.cat(targets)


class evaluating:
    """Evaluation mode for every part, and afterwards exactly the modes there were."""

    def __init__(self, module: nn.Module) -> None:
        self._modes = [(part, part.training) for part in module.modules()]
        self._module = module

    def __enter__(self) -> None:
        self._module.eval()

    def __exit__(self, *_: object) -> None:
        for part, mode in self._modes:
            part.training = mode
