"""Losses of logits against masks; pixels of `IGNORE_INDEX` do not count."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_seg.base import IGNORE_INDEX
from ssl_seg.distributed.collectives import all_gather, all_reduce_mean


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
        count = all_reduce_mean(pixel_count(masks, self.weights))
        return loss_sum / count.clamp(min=1e-6).to(loss_sum.dtype)


def pixel_count(masks: Tensor, weights: Tensor | None) -> Tensor:
    """() how many pixels have a class, or the sum of the weights of their classes; of a fixed shape throughout."""
    labelled = masks != IGNORE_INDEX
    if weights is None:
        return labelled.sum()
    return (weights[masks.masked_fill(~labelled, 0)] * labelled).sum()


def build_loss(name: str, weights: Tensor | None) -> nn.Module:
    """The loss of a name: `ce`, `dice` or `lovasz`.

    Args:
        weights: (classes,) factors of the cross entropy.
    """
    if name == "ce":
        return MaskedCrossEntropy(weights)
    if name == "lovasz":
        return _GatheredLoss(lovasz_softmax)
    from segmentation_models_pytorch.losses import DiceLoss

    return _GatheredLoss(DiceLoss(mode="multiclass", ignore_index=IGNORE_INDEX))


def lovasz_softmax(logits: Tensor, masks: Tensor) -> Tensor:
    """The mean Lovasz-softmax loss of the classes that are there (Berman et al. 2018, arXiv:1705.08790); 0 without any.

    Pixels without a class are last in the order of errors, where they change nothing before them: so no shape
    depends on the masks, and a GPU need not wait to learn it.

    Args:
        logits: (B, C, H, W).
        masks: (B, H, W) classes.
    """
    targets, losses, present = masks.flatten(), [], []
    labelled = targets != IGNORE_INDEX
    for index, probabilities in enumerate(logits.softmax(dim=1).unbind(dim=1)):
        of_class = targets == index
        errors = (of_class.to(logits.dtype) - probabilities.flatten()).abs() * labelled
        order = errors.detach().masked_fill(~labelled, -1.0).argsort(descending=True)
        found, count = of_class[order].cumsum(0), of_class.sum()
        union = count + torch.arange(1, len(order) + 1, device=order.device) - found
        jaccard = 1.0 - (count - found) / union
        steps = jaccard.diff(prepend=jaccard.new_zeros(1)).to(logits.dtype)
        losses.append((errors[order] * steps).sum())
        present.append(count > 0)
    counts = torch.stack(present)
    return (torch.stack(losses) * counts).sum() / counts.sum().clamp(min=1)


class _GatheredLoss(nn.Module):
    """A loss that is no mean over pixels: it looks at the batches of all processes."""

    def __init__(self, loss: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, logits: Tensor, masks: Tensor) -> Tensor:
        return self.loss(all_gather(logits), all_gather(masks))


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
