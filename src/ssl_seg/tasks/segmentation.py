"""Training a model on masks, as a module that `fit` can train; and its answers on whole images."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_seg.augment.views import normalised
from ssl_seg.base import IGNORE, Model
from ssl_seg.data.image_cache import Store
from ssl_seg.data.loader import Batch, in_order
from ssl_seg.distributed.collectives import all_gather, all_reduce_mean, all_reduce_mean_scalar
from ssl_seg.engine.device import Device
from ssl_seg.engine.inference import eval_mode
from ssl_seg.utils.autocast import full_precision
from ssl_seg.utils.foreign import wrong

Loss = Literal["ce", "dice", "lovasz", "ce+dice", "ce+lovasz"]


class Segmenter(nn.Module):
    """The loss of a model's logits against masks; pixels of `IGNORE` and of the model's excluded classes
    do not count.

    Args:
        model: is trained.
        loss: cross entropy, Dice (Milletari et al. 2016), Lovasz-softmax (Berman et al. 2018), or a sum.
        weights: (classes,) factors of the cross entropy.
        frozen: the backbone stays as it is, bit for bit.
        aux_weight: of the loss of a head's `auxiliary` logits, if it has such.
    """

    def __init__(
        self,
        model: Model,
        *,
        loss: Loss = "ce",
        weights: Tensor | None = None,
        frozen: bool = False,
        aux_weight: float = 0.4,
    ) -> None:
        super().__init__()
        self.model, self.frozen, self.aux_weight = model, frozen, aux_weight
        self.criteria = nn.ModuleList(_criterion(name, weights) for name in loss.split("+"))
        self.loss_over = "image" if loss == "ce" else "batch"
        if frozen:
            model.backbone.requires_grad_(False)

    def train(self, mode: bool = True) -> "Segmenter":
        """Training mode for all that is trained."""
        super().train(mode)
        if self.frozen:
            self.model.backbone.eval()
        return self

    def forward(self, part: Sequence[Tensor]) -> dict[str, Tensor]:
        """One batch: `loss`, and the share of pixels that are right.

        Args:
            part: (B, 3, H, W) images and (B, H, W) int64 classes.
        """
        images, masks = part
        model, size = self.model, (images.shape[-2], images.shape[-1])
        masks = masks.masked_fill(torch.isin(masks, model.excluded), IGNORE)
        features = model.backbone(images)
        logits = model.without_excluded(model.head(features, size))
        loss = self._loss(logits, masks)
        auxiliary = getattr(model.head, "auxiliary", None)
        extra = auxiliary(features, size) if auxiliary else None
        if extra is not None:
            if not isinstance(extra, Tensor) or extra.shape != logits.shape:
                raise wrong(model.head, "auxiliary() must return logits of the same shape as forward()")
            loss = loss + self.aux_weight * self._loss(model.without_excluded(extra), masks)
        known = masks != IGNORE
        # of all processes together: they may hold unequal numbers of pixels with a class
        right = ((logits.argmax(dim=1) == masks) & known).sum() / all_reduce_mean(known.sum()).clamp(min=1)
        return {"loss": loss, "pixel_accuracy": right}

    def shares(self, parts: Sequence[Sequence[Tensor]]) -> list[float]:
        """Of a batch in parts: the share of each in the loss, so that every pixel with a class counts the same."""
        counts = []
        for _, masks in parts:
            known = masks[~torch.isin(masks, self.model.excluded) & (masks != IGNORE)]
            weights = getattr(self.criteria[0], "weights", None)
            count = float(weights[known].sum() if weights is not None else known.numel())
            counts.append(all_reduce_mean_scalar(count, masks.device))
        total = sum(counts)
        return [count / total if total else 1.0 / len(counts) for count in counts]

    @full_precision
    def _loss(self, logits: Tensor, masks: Tensor) -> Tensor:
        return torch.stack([criterion(logits, masks) for criterion in self.criteria]).sum()


class CrossEntropy(nn.Module):
    """The weighted mean over pixels with a class; 0 where there is none (torch gives NaN).

    Of several processes: the sum here, divided by the mean of their counts, so that the mean of
    their losses is the mean over all pixels.
    """

    weights: Tensor | None

    def __init__(self, weights: Tensor | None) -> None:
        super().__init__()
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, logits: Tensor, masks: Tensor) -> Tensor:
        """(B, C, H, W) logits and (B, H, W) classes -> a scalar."""
        # summed outside of it: on a GPU its own sum is not the same every time
        total = F.cross_entropy(logits, masks, self.weights, ignore_index=IGNORE, reduction="none").sum()
        known = masks[masks != IGNORE]
        count = float(self.weights[known].sum() if self.weights is not None else known.numel())
        return total / max(all_reduce_mean_scalar(count, logits.device), 1e-6)


def _criterion(name: str, weights: Tensor | None) -> nn.Module:
    if name == "ce":
        return CrossEntropy(weights)
    from segmentation_models_pytorch.losses import DiceLoss, LovaszLoss

    kind = {"dice": DiceLoss, "lovasz": LovaszLoss}[name]
    return _OverBatch(kind(mode="multiclass", ignore_index=IGNORE))


class _OverBatch(nn.Module):
    """A loss that is no mean over pixels: it looks at the batches of all processes."""

    def __init__(self, criterion: nn.Module) -> None:
        super().__init__()
        self.criterion = criterion

    def forward(self, logits: Tensor, masks: Tensor) -> Tensor:
        logits, masks = all_gather(logits), all_gather(masks)
        if not (masks != IGNORE).any():
            return (
                logits.masked_fill(logits == -torch.inf, 0.0).sum() * 0.0
            )  # Lovasz of no pixel has no value
        loss: Tensor = self.criterion(logits, masks)
        return loss


def class_weights(counts: Tensor, excluded: Sequence[int] = ()) -> Tensor:
    """Weights that fall with a class's share of the pixels: 1 / log(1.02 + share).

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


@torch.no_grad()
def whole_images(
    model: Model,
    store: Store,
    device: Device,
    *,
    batch_size: int = 8,
    stopped: Callable[[], bool] = lambda: False,
    **how: Any,
) -> Iterator[tuple[Tensor, Batch]]:
    """Logits of every image at its full size on the canvas, in the store's order.

    Images of one size go together; others, which fill their canvases differently, one by one. Of
    several processes each gets its share of the batches.

    Args:
        how: `mean` and `std` of the normalisation.

    Returns:
        (B, C, h, w) float32 logits and the batch cut to (h, w); the batches' sizes vary.
    """
    with eval_mode(model):
        share = {"rank": device.rank, "ranks": device.world_size}
        for batch in in_order(store, batch_size, device.device, **share):
            for part in _of_one_size(batch):
                with device.autocast():
                    logits = model(normalised(part.images, **how))
                yield logits.float(), part
            if stopped():
                break


def _of_one_size(batch: Batch) -> Iterator[Batch]:
    same = bool((batch.sizes == batch.sizes[0]).all())
    for rows in [slice(0, len(batch.sizes))] if same else [slice(i, i + 1) for i in range(len(batch.sizes))]:
        height, width = batch.sizes[rows][0].tolist()
        masks = None if batch.masks is None else batch.masks[rows, :height, :width]
        images = batch.images[rows, :, :height, :width]
        yield Batch(images, batch.sizes[rows], batch.samples[rows], batch.targets[rows], batch.epoch, masks)
