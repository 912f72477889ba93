"""Mean intersection over union of segmentation, from one confusion matrix over all pixels."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssl_seg.base import IGNORE_INDEX, Metric
from ssl_seg.errors import UsageError, did_you_mean
from ssl_seg.hooks import hookimpl

Counts = NDArray[Any]  # whole numbers, as int64 or float64


def areas(confusions: Counts) -> Counts:
    """Intersections and unions, which can be summed over images: (..., C, C + 1) -> (..., 2, C) pixels.

    Args:
        confusions: row: true class, column: predicted class, the last one for no class.
    """
    intersection = np.diagonal(confusions, axis1=-2, axis2=-1)
    union = confusions.sum(axis=-1) + confusions[..., :-1].sum(axis=-2) - intersection
    return np.stack([intersection, union], axis=-2)


def class_iou(sums: Counts, scored: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The IoU of each class: (..., 2, C) `areas` -> (..., C) in [0, 1].

    NaN where a class is not scored, or is neither there nor predicted.
    """
    intersection, union = sums[..., 0, :], sums[..., 1, :]
    present = scored & (union > 0)
    return np.where(present, intersection / np.where(present, union, 1), np.nan)


def mean_of_areas(sums: Counts, scored: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The mean IoU: (..., 2, C) `areas` -> (...), over the classes that have an IoU; 0 where none has."""
    iou = class_iou(sums, scored)
    found = ~np.isnan(iou)
    mean: NDArray[np.float64] = np.where(found, iou, 0.0).sum(axis=-1) / np.maximum(found.sum(axis=-1), 1)
    return mean


class MeanIoU(Metric):
    """Mean over classes of intersection / union, summed over all images.

    A class with 90 pixels in one image, all correct, and 10 in another, 5 of them correct, has an IoU of
    95 / 100 = 0.95. The mean of the per-image IoUs would be (1.0 + 0.5) / 2 = 0.75.

    Classes absent from targets and predictions have no value. Pixels with target 255 are ignored.

    Args:
        classes: names, at most 254.
        exclude: names of classes left out of all scores, as a list or separated by commas. A pixel of such
            a class still counts as wrong for the class predicted there, as in graders that average six of
            seven classes.
        lenient: ignore pixels whose true class is excluded, like 255.

    Attributes:
        confusion: (C, C + 1) int64; row: true class, column: predicted class, the last one for
            predicted indices that are no class.

    Raises:
        UsageError: an excluded class that there is not, or no class left.
    """

    def __init__(
        self, classes: Sequence[str], *, exclude: str | Sequence[str] = (), lenient: bool = False
    ) -> None:
        if len(classes) >= IGNORE_INDEX:
            raise UsageError(f"masks hold at most {IGNORE_INDEX - 1} classes, not {len(classes)}")
        names = exclude.split(",") if isinstance(exclude, str) else exclude
        excluded = {name.strip() for name in names if name.strip()}
        for name in sorted(excluded.difference(classes)):
            raise UsageError(f"no class {name!r} to exclude{did_you_mean(name, classes)}")
        self.classes, self.lenient = classes, lenient
        self._scored = torch.tensor([name not in excluded for name in classes])
        if not self._scored.any():
            raise UsageError("all classes are excluded")
        self.reset()

    def reset(self) -> None:
        count = len(self.classes)
        self.confusion = torch.zeros(count, count + 1, dtype=torch.int64)

    def update(self, logits: Tensor, target: Tensor) -> None:
        """Take in a batch; see `confusion_of`."""
        self.add(self.confusion_of(logits, target))

    def add(self, confusion: Tensor) -> None:
        """Take in the (C, C + 1) counts of some images, as `confusion_of` gives them."""
        self.confusion = self.confusion.to(confusion.device) + confusion

    def confusion_of(self, logits: Tensor, target: Tensor) -> Tensor:
        """The (C, C + 1) int64 counts of a batch alone.

        Args:
            logits: (B, C, H, W), of equal ones the first class counts; or predicted indices
                (B, H, W), of which any outside 0 to C - 1 is no class and wrong everywhere.
            target: (B, H, W) class indices, 255 (or less than 0) where there is none.

        Raises:
            ValueError: a target that is neither a class nor 255.
        """
        count = len(self.classes)
        predicted = logits.argmax(dim=1) if logits.ndim == target.ndim + 1 else logits.long()
        predicted = torch.where((predicted >= 0) & (predicted < count), predicted, count)
        known = (target != IGNORE_INDEX) & (target >= 0)
        pairs = target[known].long() * (count + 1) + predicted[known]
        counted = torch.bincount(pairs, minlength=count * (count + 1))
        if len(counted) > count * (count + 1):
            raise ValueError(f"target {int(target[known].max())} with {count} classes")
        return counted.view(count, count + 1)

    def compute(self) -> dict[str, float]:
        """`miou`, `fw_iou`, `pixel_accuracy`, and `iou/<class>` in [0, 1]; `support/<class>` in pixels.

        `fw_iou` weights each class by its true pixels. Without any pixel the first three are 0.
        """
        counts, scored = self.confusion.cpu().numpy(), self._scored.numpy()
        if self.lenient:
            counts = counts * scored[:, None]
        sums, support = areas(counts), counts.sum(axis=1)
        iou = class_iou(sums, scored)
        found = [(name, float(iou[i]), int(support[i])) for i, name in enumerate(self.classes) if iou[i] >= 0]
        num_pixels = max(1, int(support[scored].sum()))
        return {
            "miou": float(mean_of_areas(sums, scored)),
            "fw_iou": sum(pixels * value for _, value, pixels in found) / num_pixels,
            "pixel_accuracy": int(sums[0][scored].sum()) / num_pixels,
            **{f"iou/{name}": value for name, value, _ in found},
            **{f"support/{name}": float(pixels) for name, _, pixels in found},
        }


@hookimpl
def metrics() -> dict[str, type[Metric]]:
    return {"mean_iou": MeanIoU}
