"""A model over batches, without learning."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ssl_seg.augment.views import IMAGENET_MEAN, IMAGENET_STD, evaluation_view
from ssl_seg.base import Backbone
from ssl_seg.data.batches import in_order
from ssl_seg.data.store import Store
from ssl_seg.engine.device import Device
from ssl_seg.layers import pool


@torch.no_grad()
def embed(
    backbone: Backbone,
    store: Store,
    device: Device,
    *,
    size: int,
    batch_size: int = 256,
    mean: tuple[float, ...] = IMAGENET_MEAN,
    std: tuple[float, ...] = IMAGENET_STD,
    stopped: Callable[[], bool] = lambda: False,
) -> tuple[Tensor, Tensor]:
    """Pooled features of every image's central square.

    The backbone is in evaluation mode meanwhile, so its running statistics do not move.

    Returns:
        (N, C) float32 features and (N,) int64 targets, on the device; fewer rows if `stopped`.
    """
    features: list[Tensor] = []
    targets: list[Tensor] = []
    with _evaluating(backbone):
        for batch in in_order(store, batch_size, device.device):
            views = evaluation_view(batch.images, batch.sizes, size=size, mean=mean, std=std)
            with device.autocast():
                features.append(pool(backbone(views)).float())
            targets.append(batch.targets)
            if stopped():
                break
    return torch.cat(features), torch.cat(targets)


class _evaluating:
    """Evaluation mode for every part, and afterwards exactly the modes there were."""

    def __init__(self, module: nn.Module) -> None:
        self._modes = [(part, part.training) for part in module.modules()]
        self._module = module

    def __enter__(self) -> None:
        self._module.eval()

    def __exit__(self, *_: object) -> None:
        for part, mode in self._modes:
            part.training = mode
