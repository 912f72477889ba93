"""Training a model on masks, as a module that `fit` can train; and its answers on whole images."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ssl_seg.augment.views import normalize_images
from ssl_seg.base import IGNORE_INDEX, Model
from ssl_seg.data.image_cache import ImageCache
from ssl_seg.data.loader import Batch, sequential_batches
from ssl_seg.distributed.collectives import all_reduce_mean, all_reduce_mean_scalar
from ssl_seg.engine.device import Device
from ssl_seg.engine.inference import eval_mode
from ssl_seg.tasks.segmentation_losses import build_loss
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
        masks = masks.masked_fill(torch.isin(masks, model.excluded), IGNORE_INDEX)
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

    def shares(self, parts: Sequence[Sequence[Tensor]]) -> list[float]:
        """Of a batch in parts: the share of each in the loss, so that every pixel with a class counts the same."""
        counts = []
        for _, masks, *_ in parts:
            labelled = masks[~torch.isin(masks, self.model.excluded) & (masks != IGNORE_INDEX)]
            weights = getattr(self.criteria[0], "weights", None)
            count = float(weights[labelled].sum() if weights is not None else labelled.numel())
            counts.append(all_reduce_mean_scalar(count, masks.device))
        num_pixels = sum(counts)
        return [count / num_pixels if num_pixels else 1.0 / len(counts) for count in counts]

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
    """Logits of every image at its full size on the canvas, in the cache's order.

    Images of one size go together; others, which fill their canvases differently, one by one. Of
    several processes each gets some of the batches.

    Args:
        should_stop: asked after every batch; once it is true, no more batches come.
        normalization: `mean` and `std`.

    Returns:
        (B, C, h, w) float32 logits and the batch cut to (h, w); the batches' sizes vary.
    """
    with eval_mode(model):
        rank = {"rank": device.rank, "world_size": device.world_size}
        for batch in sequential_batches(images, batch_size, device.device, **rank):
            for group in _group_by_size(batch):
                with device.autocast():
                    logits = model(normalize_images(group.images, **normalization))
                yield logits.float(), group
            if should_stop():
                break


def _group_by_size(batch: Batch) -> Iterator[Batch]:
    same = bool((batch.sizes == batch.sizes[0]).all())
    for chosen in (
        [slice(0, len(batch.sizes))] if same else [slice(i, i + 1) for i in range(len(batch.sizes))]
    ):
        height, width = batch.sizes[chosen][0].tolist()
        masks = None if batch.masks is None else batch.masks[chosen, :height, :width]
        images = batch.images[chosen, :, :height, :width]
        yield Batch(
            images, batch.sizes[chosen], batch.samples[chosen], batch.targets[chosen], batch.epoch, masks
        )
