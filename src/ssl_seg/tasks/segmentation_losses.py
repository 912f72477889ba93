"""Losses of logits against masks; pixels of `IGNORE_INDEX` do not count."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_seg.base import IGNORE_INDEX
from ssl_seg.distributed.collectives import all_gather, all_reduce_mean_scalar


class MaskedCrossEntropy(nn.Module):
    """The weighted mean over pixels with a class; 0 where there is none (torch gives NaN).

    Of several processes: the sum here, divided by the mean of their counts, so that the mean of
    their losses is the mean over all pixels.
    """

    weights: Tensor | None

    def __init__(self, weights: Tensor | None) -> None:
        super().__init__()
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, logits: Tensor, masks: Tensor, image_weights: Tensor | None = None) -> Tensor:
        """(B, C, H, W) logits and (B, H, W) classes -> a scalar.

        Args:
            image_weights: (B,) factors of the losses of each image's pixels; they do not change what is divided by.
        """
        # summed outside of it: on a GPU its own sum is not the same every time
        losses = F.cross_entropy(logits, masks, self.weights, ignore_index=IGNORE_INDEX, reduction="none")
        if image_weights is not None:
            losses = losses * image_weights[:, None, None]
        loss_sum = losses.sum()
        labelled = masks[masks != IGNORE_INDEX]
        count = float(self.weights[labelled].sum() if self.weights is not None else labelled.numel())
        return loss_sum / max(all_reduce_mean_scalar(count, logits.device), 1e-6)


def build_loss(name: str, weights: Tensor | None) -> nn.Module:
    """The loss of a name: `ce`, `dice` or `lovasz`.

    Args:
        weights: (classes,) factors of the cross entropy.
    """
    if name == "ce":
        return MaskedCrossEntropy(weights)
    from segmentation_models_pytorch.losses import DiceLoss, LovaszLoss

    kind = {"dice": DiceLoss, "lovasz": LovaszLoss}[name]
    return _GatheredLoss(kind(mode="multiclass", ignore_index=IGNORE_INDEX))


class _GatheredLoss(nn.Module):
    """A loss that is no mean over pixels: it looks at the batches of all processes."""

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, logits: Tensor, masks: Tensor) -> Tensor:
        logits, masks = all_gather(logits), all_gather(masks)
        if not (masks != IGNORE_INDEX).any():
            return (
                logits.masked_fill(logits == -torch.inf, 0.0).sum() * 0.0
            )  # Lovasz of no pixel has no value
        value: Tensor = self.loss(logits, masks)
        return value


def class_weights(counts: Tensor, excluded: Sequence[int] = ()) -> Tensor:
    """Weights that fall with a class's fraction of the pixels: 1 / log(1.02 + fraction).

    After ENet (Paszke et al. 2016, arXiv:1606.02147), scaled to a mean of 1 over the classes that are
    there; those without a pixel, and those excluded, get 0.

    Args:
        counts: (C,) int64 pixels of each class.
        excluded: classes whose pixels do not count.
    """
    counts = counts.index_fill(0, torch.tensor(list(excluded), dtype=torch.int64), 0)
    weights = 1.0 / (1.02 + counts / counts.sum().clamp(min=1)).log()
    weights = torch.where(counts > 0, weights, 0.0)
    return weights / weights[counts > 0].mean().clamp(min=1e-12)
