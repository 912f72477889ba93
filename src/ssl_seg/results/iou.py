"""What single images say of a mean IoU: its interval, and whether two models differ by more than chance.

A mean IoU is no mean over images, so neither a share's interval nor a test on sums applies. Both are
made from one confusion matrix per image.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ssl_seg.base import IGNORE_INDEX
from ssl_seg.metrics.mean_iou import Counts, areas, mean_of_areas
from ssl_seg.results.chance import permutation_p
from ssl_seg.utils.arrays import read_arrays

CONFUSIONS = "val_confusions.npz"
NUM_RESAMPLES = 2_000
_PART = 100  # draws at a time, to bound the memory


def mean_iou(confusion: Counts, scored_classes: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The mean IoU of confusion matrices.

    Args:
        confusion: (..., C, C + 1) pixels; row: true class, column: predicted class, the last: none.
        scored_classes: (C,) whether a class counts.

    Returns:
        (...) the mean over the kept classes that are there or predicted; 0 where there are none.
    """
    return mean_of_areas(areas(confusion), scored_classes)


def image_iou(
    predicted: NDArray[np.uint8],
    target: NDArray[np.uint8],
    scored_classes: NDArray[np.bool_],
    *,
    ignore_excluded: bool = False,
) -> float:
    """The mean IoU of one image, over the kept classes that are in its label or were predicted.

    Args:
        predicted: (H, W) predicted classes; what is no class is wrong everywhere.
        target: (H, W) true classes, 255 where there is none.
        scored_classes: (C,) whether a class counts.
        ignore_excluded: pixels whose true class does not count do not either, as if they were 255.

    Returns:
        In [0, 1]; NaN if the image has nothing to measure.
    """
    classes, is_labeled = len(scored_classes), target != IGNORE_INDEX
    pairs = target[is_labeled].astype(np.int64) * (classes + 1) + np.minimum(predicted[is_labeled], classes)
    counts = np.bincount(pairs, minlength=classes * (classes + 1)).reshape(classes, classes + 1)
    if ignore_excluded:
        counts[~scored_classes] = 0
    if not (counts[scored_classes].any() or counts[:, :-1][:, scored_classes].any()):
        return float("nan")
    return float(mean_iou(counts.astype(np.float64), scored_classes))


def by_difficulty(confusions: Counts, scored_classes: NDArray[np.bool_]) -> tuple[list[int], Counts]:
    """The images with a class that counts, the lowest mean IoU first, and the mean IoU of all images.

    Args:
        confusions: (N, C, C + 1) pixels. scored_classes: (C,) whether a class counts.

    Returns:
        Indices, at most N; and (N,) in [0, 1].
    """
    ious = mean_iou(confusions.astype(np.float64), scored_classes)
    present = confusions[:, scored_classes].sum(axis=(1, 2)) > 0
    return [int(index) for index in np.argsort(ious, kind="stable") if present[index]], ious


def bootstrap_interval(seeds: Counts, scored_classes: NDArray[np.bool_]) -> tuple[float, float]:
    """The 95 % interval of the mean over seeds of the mean IoU.

    Each draw takes as many images, with repetition, the same ones for every seed. The mean IoU is no
    sum, so it is computed of each seed and then averaged, as the number is that the interval belongs to.

    Args:
        seeds: (S, N, 2, C), the `areas` of each image.
        scored_classes: (C,) whether a class counts.
    """
    count = seeds.shape[1]
    random, flat = np.random.default_rng(0), _by_image(seeds)
    means = []
    for _ in range(NUM_RESAMPLES // _PART):
        times = random.multinomial(count, np.full(count, 1.0 / count), _PART).astype(np.float64)
        means.append(_over_seeds(times @ flat, seeds.shape, scored_classes))
    low, high = np.quantile(np.concatenate(means), (0.025, 0.975))
    return float(low), float(high)


def paired_permutation_test(first: Counts, second: Counts, scored_classes: NDArray[np.bool_]) -> float:
    """How often chance alone gives a difference as large: the paired permutation test, two-sided.

    If two models are equally good, their answers on any image could as well have been exchanged: those
    of every seed together. What is compared is the mean over seeds of the mean IoU.

    Args:
        one, two: (S, N, 2, C), the `areas` of each image, by the same seeds.
        scored_classes: (C,) whether a class counts.
    """
    half = _by_image(first - second) / 2.0
    half = half[half.any(axis=1)]  # exchanging equal answers changes nothing
    midpoint = (first + second).sum(axis=1).reshape(-1) / 2.0

    def difference(moved: Counts) -> NDArray[np.float64]:
        return np.abs(
            _over_seeds(midpoint + moved, first.shape, scored_classes)
            - _over_seeds(midpoint - moved, first.shape, scored_classes)
        )

    observed = difference(half.sum(axis=0))
    return permutation_p(len(half), lambda signs: difference(signs @ half) >= observed - 1e-12)


def _by_image(seeds: Counts) -> Counts:
    """(S, N, 2, C) -> (N, S * 2 * C)."""
    return seeds.swapaxes(0, 1).reshape(seeds.shape[1], -1).astype(np.float64)


def _over_seeds(
    sums: Counts, shape: tuple[int, ...], scored_classes: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """(..., S * 2 * C) -> (...) the mean over seeds of the mean IoU of each."""
    mean: NDArray[np.float64] = mean_of_areas(
        sums.reshape(*sums.shape[:-1], shape[0], *shape[2:]), scored_classes
    ).mean(axis=-1)
    return mean


def read_confusions(path: Path) -> tuple[list[str], NDArray[np.int64], NDArray[np.bool_]]:
    """File names, one confusion matrix per image, and which classes count.

    Raises:
        ValueError: the file does not hold them.
    """
    try:
        names, confusions, classes, exclude = read_arrays(
            path, ["filenames", "confusions", "classes", "exclude"]
        )
        excluded = set(exclude.tolist())
        scored_classes = np.array([name not in excluded for name in classes.tolist()])
        return names.tolist(), confusions.astype(np.int64), scored_classes
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(f"cannot read {path.name}: {error}") from error
