"""Training a model on labels, as a module that `fit` can train."""

import warnings
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_seg.augment import stateless_rng
from ssl_seg.augment.recipes import View
from ssl_seg.augment.views import augment
from ssl_seg.base import Backbone, Model
from ssl_seg.data.image_cache import ImageCache
from ssl_seg.data.loader import sequential_batches
from ssl_seg.distributed.collectives import all_gather, local_shard
from ssl_seg.engine.device import Device
from ssl_seg.engine.inference import EVAL_BATCH_SIZE, eval_mode, gather_outputs, run_inference
from ssl_seg.nn.layers import global_pool
from ssl_seg.tasks.supervised import SupervisedTask
from ssl_seg.utils.autocast import full_precision

cross_entropy = full_precision(F.cross_entropy)


class ClassificationTask(SupervisedTask):
    """Cross entropy of a model's logits against targets.

    Args:
        model, freeze_backbone, ema: see `SupervisedTask`.
        label_smoothing: fraction of the target spread evenly over all classes (Szegedy et al. 2016).
    """

    loss_over = "image"

    def __init__(
        self,
        model: Model,
        *,
        freeze_backbone: bool = False,
        label_smoothing: float = 0.0,
        ema: float | None = None,
    ) -> None:
        super().__init__(model, freeze_backbone=freeze_backbone, ema=ema)
        self.label_smoothing = label_smoothing

    def forward(self, micro_batch: Sequence[Tensor]) -> dict[str, Tensor]:
        """One batch: `loss`, and `accuracy` where targets are class indices.

        Args:
            micro_batch: (B, 3, H, W) images, or (B, C) pooled features in their place; targets: (B,)
                class indices, or (B, classes) probabilities; and, if need be, (B,) factors of the images' losses.
        """
        inputs, targets, *weights = micro_batch
        logits = head_logits(self.model, inputs) if inputs.ndim == 2 else self.model(inputs)
        reduction = "none" if weights else "mean"
        loss = cross_entropy(logits, targets, label_smoothing=self.label_smoothing, reduction=reduction)
        loss = (loss * weights[0]).mean() if weights else loss
        if targets.ndim == 2:
            return {"loss": loss}
        return {"loss": loss, "accuracy": (logits.argmax(dim=1) == targets).float().mean()}


def Supervised(model: Model, *, frozen: bool = False, label_smoothing: float = 0.0) -> ClassificationTask:
    """The former name of `ClassificationTask`; goes with the next version."""
    warnings.warn("Supervised is now ClassificationTask", DeprecationWarning, stacklevel=2)
    return ClassificationTask(model, freeze_backbone=frozen, label_smoothing=label_smoothing)


def head_logits(model: Model, features: Tensor) -> Tensor:
    """Logits of a model whose head `pools`, from (B, C) pooled features: (B, classes)."""
    logits: Tensor = model.head([features[:, :, None, None]], (1, 1))
    return logits


@torch.no_grad()
def pooled_features(
    backbone: Backbone,
    images: ImageCache,
    device: Device,
    *,
    size: int,
    views: Sequence[View] = (),
    num_views: int = 0,
    seed: int = 0,
    **normalization: Any,
) -> Tensor:
    """The pooled features of all images, for a backbone that no longer changes.

    Args:
        size: side of a view in pixels.
        views: with one recipe, features of `num_views` random views of each image instead of those of
            its central square.
        num_views, seed: how many random views, and what they depend on.
        normalization: `mean` and `std`.

    Returns:
        (max(1, num_views), N, C) float32, on the device.
    """
    if not num_views:
        batches = run_inference(backbone, images, device, size=size, **normalization)
        return gather_outputs([global_pool(maps).float() for maps, _ in batches], len(images), device)[None]
    rounds = []
    with eval_mode(backbone):
        for epoch in range(num_views):
            features = []
            draws: dict[str, Any] = {"seed": seed, "epoch": epoch, "size": size}
            for batch in sequential_batches(
                images, EVAL_BATCH_SIZE, device.device, rank=device.rank, world_size=device.world_size
            ):
                (view,) = augment(batch.images, views, batch.sizes, batch.samples, **draws, **normalization)
                with device.autocast():
                    features.append(global_pool(backbone(view)).float())
            rounds.append(gather_outputs(features, len(images), device))
    return torch.stack(rounds)


def mixup(
    images: Tensor, targets: Tensor, classes: int, alpha: float, samples: Tensor, *, seed: int, epoch: int
) -> tuple[Tensor, Tensor]:
    """Mix each image with the next of the batch (Zhang et al. 2018, arXiv:1710.09412).

    Args:
        images: (B, 3, H, W).
        targets: (B,) class indices.
        classes: how many there are.
        alpha: the mixing weight is drawn from Beta(alpha, alpha), for each image anew.
        samples: (B,) ids, on the CPU; with `seed` and `epoch` they fix the draws.

    Returns:
        Mixed images, and (B, classes) probabilities.
    """
    weights = mixup_weights(alpha, samples, seed=seed, epoch=epoch)
    return mix_with_next(images, targets, classes, weights.to(images.device))


def mix_with_next(images: Tensor, targets: Tensor, classes: int, weights: Tensor) -> tuple[Tensor, Tensor]:
    """`mixup` with weights that are on the device: (B,), the share of each image itself."""
    weight = weights.to(images.dtype)[:, None]
    one_hot = F.one_hot(targets, classes).to(images.dtype)
    mixed = weight * one_hot + (1.0 - weight) * _mixup_partner(one_hot)
    weight = weight[:, :, None, None]
    return weight * images + (1.0 - weight) * _mixup_partner(images), mixed


def mixup_weights(alpha: float, samples: Tensor, *, seed: int, epoch: int) -> Tensor:
    """(B,) float64 numbers from Beta(alpha, alpha), one for each image.

    Args:
        alpha: of the distribution.
        samples: (B,) ids, on the CPU; with `seed` and `epoch` they fix the draws.
    """
    from scipy.special import betaincinv

    draws = stateless_rng.uniform(seed, epoch, 1, samples, 1)[0]  # view 1: view 0 is the crop's
    return torch.as_tensor(betaincinv(alpha, alpha, draws.double().numpy()))


def _mixup_partner(batch: Tensor) -> Tensor:
    """For each element another one of the batch, which may lie in another process."""
    return local_shard(all_gather(batch).roll(1, 0))
