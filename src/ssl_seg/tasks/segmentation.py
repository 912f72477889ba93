"""Training a model on masks, as a module that `fit` can train; and its answers on whole images."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ssl_seg.augment.views import normalize_images
from ssl_seg.base import IGNORE_INDEX, Model
from ssl_seg.data.image_cache import ImageCache
from ssl_seg.data.loader import Batch, sequential_batches
from ssl_seg.distributed.collectives import all_reduce_mean
from ssl_seg.engine.device import Device
from ssl_seg.engine.inference import eval_mode
from ssl_seg.tasks.segmentation_losses import build_loss, pixel_count
from ssl_seg.tasks.supervised import SupervisedTask
from ssl_seg.utils.autocast import full_precision
from ssl_seg.utils.foreign import wrong

Loss = Literal["ce", "dice", "lovasz", "ce+dice", "ce+lovasz"]


class SegmentationTask(SupervisedTask):
    """The loss of a model's logits against masks; pixels of `IGNORE_INDEX` and of the model's excluded classes
    do not count.

    Args:
        model, freeze_backbone, ema: see `SupervisedTask`.
        loss: cross entropy, Dice (Milletari et al. 2016), Lovasz-softmax (Berman et al. 2018), or a sum.
        weights: (classes,) factors of the cross entropy.
        aux_weight: of the loss of a head's `auxiliary` logits, if it has such.
    """

    def __init__(
        self,
        model: Model,
        *,
        loss: Loss = "ce",
        weights: Tensor | None = None,
        freeze_backbone: bool = False,
        aux_weight: float = 0.4,
        ema: float | None = None,
    ) -> None:
        super().__init__(model, freeze_backbone=freeze_backbone, ema=ema)
        self.aux_weight = aux_weight
        self.criteria = nn.ModuleList(build_loss(name, weights) for name in loss.split("+"))
        self.loss_over = "image" if loss == "ce" else "batch"

    def forward(self, micro_batch: Sequence[Tensor]) -> dict[str, Tensor]:
        """One batch: `loss`, and the fraction of pixels that are right.

        Args:
            micro_batch: (B, 3, H, W) images, (B, H, W) int64 classes and, if need be, (B,) factors of the
                losses of the images' pixels, for the cross entropy alone.
        """
        images, masks, *weights = micro_batch
        model, size = self.model, (images.shape[-2], images.shape[-1])
        masks = self._without_excluded(masks)
        features = model.backbone(images)
        logits = model.without_excluded(model.head(features, size))
        loss = self._loss(logits, masks, *weights)
        auxiliary = getattr(model.head, "auxiliary", None)
        extra = auxiliary(features, size) if auxiliary else None
        if extra is not None:
            if not isinstance(extra, Tensor) or extra.shape != logits.shape:
                raise wrong(model.head, "auxiliary() must return logits of the same shape as forward()")
            loss = loss + self.aux_weight * self._loss(model.without_excluded(extra), masks, *weights)
        labelled = masks != IGNORE_INDEX
        # of all processes together: they may hold unequal numbers of pixels with a class
        correct = ((logits.argmax(dim=1) == masks) & labelled).sum() / all_reduce_mean(labelled.sum()).clamp(
            min=1
        )
        return {"loss": loss, "pixel_accuracy": correct}

    def shares(self, parts: Sequence[Sequence[Tensor]]) -> list[Tensor]:
        """Of a batch in parts: the share of each in the loss, so that every pixel with a class counts the same."""
        weights = getattr(self.criteria[0], "weights", None)
        own = [pixel_count(self._without_excluded(masks), weights).double() for _, masks, *_ in parts]
        counts = all_reduce_mean(torch.stack(own))
        equal = torch.full_like(counts, 1.0 / len(own))
        return list(torch.where(counts.sum() > 0, counts / counts.sum(), equal))

    def _without_excluded(self, masks: Tensor) -> Tensor:
        return masks.masked_fill(torch.isin(masks, self.model.excluded), IGNORE_INDEX)

    @full_precision
    def _loss(self, logits: Tensor, masks: Tensor, *weights: Tensor) -> Tensor:
        return torch.stack([loss(logits, masks, *weights) for loss in self.criteria]).sum()


@torch.no_grad()
def full_image_logits(
    model: Model,
    images: ImageCache,
    device: Device,
    *,
    batch_size: int = 8,
    should_stop: Callable[[], bool] = lambda: False,
    **normalization: Any,
) -> Iterator[tuple[Tensor, Batch]]:
    """Logits of every image at its full size on the canvas, size by size.

    Images of one size go together, up to `batch_size`. Of several processes each gets some of the batches.

    Args:
        should_stop: asked after every batch; once it is true, no more batches come.
        normalization: `mean` and `std`.

    Returns:
        (B, C, h, w) float32 logits and the batch cut to (h, w), whose `samples` say which images these are.
    """
    with eval_mode(model):
        rank = {"rank": device.rank, "world_size": device.world_size}
        groups = _equal_sizes(images.sizes, batch_size)
        for batch in sequential_batches(images, batch_size, device.device, groups, **rank):
            height, width = batch.sizes[0].tolist()
            masks = None if batch.masks is None else batch.masks[:, :height, :width]
            cut = replace(batch, images=batch.images[:, :, :height, :width], masks=masks)
            with device.autocast():
                logits = model(normalize_images(cut.images, **normalization))
            yield logits.float(), cut
            if should_stop():
                break


def _equal_sizes(sizes: Tensor, batch_size: int) -> list[Tensor]:
    """Rows of (N, 2) sizes, at most `batch_size` together, and together only if they are equal."""
    _, kinds = sizes.unique(dim=0, return_inverse=True)
    order = kinds.argsort(stable=True)
    _, counts = kinds[order].unique_consecutive(return_counts=True)
    return [part for rows in order.split(counts.tolist()) for part in rows.split(batch_size)]
