"""Which predictions are confident enough to be labels: one threshold for all classes, or one for each.

Zou et al., Unsupervised Domain Adaptation for Semantic Segmentation via Class-Balanced Self-Training, 2018
(arXiv:1810.07911), and with an upper limit Li et al., Bidirectional Learning, 2019 (arXiv:1904.10620).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssl_seg.errors import UsageError

# the float16 numbers from 0 to 1 in order: the bits of one that is not negative grow with it
_GRID = np.arange(0x3C01, dtype=np.uint16).view(np.float16)


@dataclass(frozen=True)
class Thresholds:
    """The rule by which predictions are selected.

    Attributes:
        threshold: the lowest confidence of a label, from 0 to 1.
        per_class_share: in (0, 1]. The most confident share of the predictions of each class is selected even below
            `threshold`, so that classes of which a model is rarely sure get labels; None: no class is favored.

    Raises:
        UsageError: a number is out of range.
    """

    threshold: float = 0.9
    per_class_share: float | None = None

    def __post_init__(self) -> None:
        if not 0.0 <= self.threshold <= 1.0:
            raise UsageError(
                f"--threshold must be from 0 to 1, got {self.threshold:g}", next="--threshold 0.9"
            )
        if self.per_class_share is not None and not 0.0 < self.per_class_share <= 1.0:
            raise UsageError(
                f"--per-class-share must be above 0 and at most 1, got {self.per_class_share:g}",
                next="--per-class-share 0.2",
            )

    def of_class(self, confidences: NDArray[np.floating], counts: NDArray[np.int64]) -> float:
        """The lowest confidence that is selected of one class.

        Args:
            confidences: (N,) ascending. counts: (N,) predictions of the class with each of them.
        """
        count = int(counts.sum())
        if self.per_class_share is None or not count:
            return self.threshold
        rank = math.ceil(round(self.per_class_share * count, 6))  # without the last digits of a product
        index = np.searchsorted(counts[::-1].cumsum(), rank)
        return min(self.threshold, float(confidences[::-1][index]))


class ConfidenceHistogram:
    """How often each class was predicted with each confidence, exact to the last digit of float16.

    Args:
        classes: how many there are.
    """

    def __init__(self, classes: int) -> None:
        self.counts = np.zeros((classes, len(_GRID)), dtype=np.int64)

    def add(self, predicted: NDArray[np.integer], confidence: NDArray[np.float16]) -> None:
        """Count predictions: two arrays of one shape, of class indices and their probabilities."""
        index = predicted.astype(np.int64) * len(_GRID) + confidence.view(np.uint16)
        self.counts += np.bincount(index.ravel(), minlength=self.counts.size).reshape(self.counts.shape)

    def thresholds(self, rule: Thresholds) -> list[float]:
        """The threshold of each class; equal confidences are on one side of it."""
        return [rule.of_class(_GRID, counts) for counts in self.counts]


def thresholds_of(
    predicted: NDArray[np.integer], confidence: NDArray[np.floating], classes: int, rule: Thresholds
) -> list[float]:
    """The threshold of each class, from all predictions at once.

    Args:
        predicted: (N,) class indices. confidence: (N,) their probabilities.
        classes: how many there are.
    """
    ranked = (np.unique(confidence[predicted == index], return_counts=True) for index in range(classes))
    return [rule.of_class(values, counts) for values, counts in ranked]


def selected(
    predicted: NDArray[np.integer], confidence: NDArray[np.floating], thresholds: Sequence[float]
) -> NDArray[np.bool_]:
    """Which predictions reach the threshold of their class: two arrays of one shape -> a third."""
    chosen: NDArray[np.bool_] = confidence >= np.array(thresholds)[predicted]
    return chosen
