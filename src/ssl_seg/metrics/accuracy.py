"""Accuracy of classification, over all images and by class, from one confusion matrix."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ssl_seg.base import Metric
from ssl_seg.hooks import hookimpl


class Accuracy(Metric):
    """Top-1, top-5, mean per-class and per-class accuracy.

    Classes without images have no value. Images with a target below 0 are ignored.

    Args:
        classes: names.

    Attributes:
        confusion: (C, C) int64; row: true class, column: predicted class.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = classes
        self.reset()

    def reset(self) -> None:
        self.confusion = torch.zeros(len(self.classes), len(self.classes), dtype=torch.int64)
        self._top5_correct = torch.zeros((), dtype=torch.int64)

    def update(self, logits: Tensor, target: Tensor) -> None:
        """Take in (B, C) logits and (B,) targets; of equal logits the first class counts."""
        known = target >= 0
        logits, target = logits[known], target[known]
        count = len(self.classes)
        pairs = torch.bincount(target * count + logits.argmax(dim=1), minlength=count * count)
        self.confusion = self.confusion.to(pairs.device) + pairs.view(count, count)
        own, rank = logits.gather(1, target[:, None]), torch.arange(logits.shape[1], device=logits.device)
        before = (logits > own) | ((logits == own) & (rank < target[:, None]))
        self._top5_correct = self._top5_correct.to(pairs.device) + (before.sum(dim=1) < 5).sum()

    def compute(self) -> dict[str, float]:
        """`top1`, `top5`, `mean_class`, and `top1/<class>`, each in [0, 1]."""
        images = self.confusion.sum(dim=1)
        num_images = max(1, int(images.sum()))
        right = self.confusion.diagonal()
        by_class = {
            f"top1/{name}": int(right[index]) / int(images[index])
            for index, name in enumerate(self.classes)
            if images[index]
        }
        mean = sum(by_class.values()) / max(1, len(by_class))
        top1, top5 = int(right.sum()) / num_images, int(self._top5_correct) / num_images
        return {"top1": top1, "top5": top5, "mean_class": mean, **by_class}


@hookimpl
def metrics() -> dict[str, type[Metric]]:
    return {"accuracy": Accuracy}
