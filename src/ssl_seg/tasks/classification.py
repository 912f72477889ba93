"""Training a model on labels, as a module that `fit` can train."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_seg.augment import stateless_rng as chance
from ssl_seg.augment.recipes import View
from ssl_seg.augment.views import augment
from ssl_seg.base import Backbone, Model
from ssl_seg.data.image_cache import Store
from ssl_seg.data.loader import in_order
from ssl_seg.distributed.collectives import all_gather, local_shard
from ssl_seg.engine.device import Device
from ssl_seg.engine.inference import EVAL_BATCH_SIZE, eval_mode, gather_outputs, run_inference
from ssl_seg.nn.layers import global_pool
from ssl_seg.utils.autocast import full_precision

cross_entropy = full_precision(F.cross_entropy)


class Supervised(nn.Module):
    """Cross entropy of a model's logits against targets.

    Args:
        model: is trained.
        frozen: the backbone stays as it is, bit for bit: no gradient, and BatchNorm in evaluation mode.
        label_smoothing: share of the target spread evenly over all classes (Szegedy et al. 2016).
    """

    loss_over = "image"

    def __init__(self, model: Model, *, frozen: bool = False, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.model, self.frozen, self.label_smoothing = model, frozen, label_smoothing
        if frozen:
            model.backbone.requires_grad_(False)

    def train(self, mode: bool = True) -> "Supervised":
        """Training mode for all that is trained."""
        super().train(mode)
        if self.frozen:
            self.model.backbone.eval()
        return self

    def forward(self, part: Sequence[Tensor]) -> dict[str, Tensor]:
        """One batch: `loss`, and `accuracy` where targets are class indices.

        Args:
            part: (B, 3, H, W) images, or (B, C) pooled features in their place; and targets: (B,)
                class indices, or (B, classes) probabilities.
        """
        inputs, targets = part
        logits = logits_of(self.model, inputs) if inputs.ndim == 2 else self.model(inputs)
        loss = cross_entropy(logits, targets, label_smoothing=self.label_smoothing)
        if targets.ndim == 2:
            return {"loss": loss}
        return {"loss": loss, "accuracy": (logits.argmax(dim=1) == targets).float().mean()}


def logits_of(model: Model, features: Tensor) -> Tensor:
    """What a model whose head `pools` says of (B, C) pooled features: (B, classes)."""
    logits: Tensor = model.head([features[:, :, None, None]], (1, 1))
    return logits


@torch.no_grad()
def pooled_features(
    backbone: Backbone,
    store: Store,
    device: Device,
    *,
    size: int,
    views: Sequence[View] = (),
    passes: int = 0,
    seed: int = 0,
    **how: Any,
) -> Tensor:
    """The pooled features of all images, for a backbone that no longer changes.

    Args:
        size: side of a view in pixels.
        views: with one recipe, features of `passes` random views of each image instead of those of
            its central square.
        passes, seed: how many random views, and what they depend on.
        how: `mean` and `std` of the normalisation.

    Returns:
        (max(1, passes), N, C) float32, on the device.
    """
    if not passes:
        maps = run_inference(backbone, store, device, size=size, **how)
        return gather_outputs([global_pool(found).float() for found, _ in maps], len(store), device)[None]
    rounds = []
    with eval_mode(backbone):
        for epoch in range(passes):
            features = []
            for batch in in_order(
                store, EVAL_BATCH_SIZE, device.device, rank=device.rank, ranks=device.world_size
            ):
                (view,) = augment(
                    batch.images, views, batch.sizes, batch.samples, seed=seed, epoch=epoch, size=size, **how
                )
                with device.autocast():
                    features.append(global_pool(backbone(view)).float())
            rounds.append(gather_outputs(features, len(store), device))
    return torch.stack(rounds)


def mixup(
    images: Tensor, targets: Tensor, classes: int, alpha: float, samples: Tensor, *, seed: int, epoch: int
) -> tuple[Tensor, Tensor]:
    """Mix each image with the next of the batch (Zhang et al. 2018, arXiv:1710.09412).

    Args:
        images: (B, 3, H, W).
        targets: (B,) class indices.
        classes: how many there are.
        alpha: the share is drawn from Beta(alpha, alpha), for each image anew.
        samples: (B,) ids, on the CPU; with `seed` and `epoch` they fix the draws.

    Returns:
        Mixed images, and (B, classes) probabilities.
    """
    from scipy.special import betaincinv

    draws = chance.uniform(seed, epoch, 1, samples, 1)[0]  # view 1: view 0 is the crop's
    share = torch.as_tensor(betaincinv(alpha, alpha, draws.double().numpy()), dtype=images.dtype)
    share = share.to(images.device)[:, None]
    sure = F.one_hot(targets, classes).to(images.dtype)
    mixed = share * sure + (1.0 - share) * _next(sure)
    share = share[:, :, None, None]
    return share * images + (1.0 - share) * _next(images), mixed


def _next(rows: Tensor) -> Tensor:
    """Beside each row another one of the batch, which may lie in another process."""
    return local_shard(all_gather(rows).roll(1, 0))
