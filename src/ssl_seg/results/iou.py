"""What single images say of a mean IoU: its interval, and whether two models differ by more than chance.

A mean IoU is no mean over images, so neither a share's interval nor a test on sums applies. Both are
made from one confusion matrix per image.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ssl_seg.base import IGNORE
from ssl_seg.metrics.mean_iou import Counts, areas, mean_of_areas
from ssl_seg.results.chance import permutation_p
from ssl_seg.utils.arrays import read_arrays

CONFUSIONS = "val_confusions.npz"
DRAWS = 2_000
_PART = 100  # draws at a time, to bound the memory


def mean_iou(confusion: Counts, kept: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The mean IoU of confusion matrices.

    Args:
        confusion: (..., C, C + 1) pixels; row: true class, column: predicted class, the last: none.
        kept: (C,) whether a class counts.

    Returns:
        (...) the mean over the kept classes that are there or predicted; 0 where there are none.
    """
    return mean_of_areas(areas(confusion), kept)


def image_iou(
    said: NDArray[np.uint8], label: NDArray[np.uint8], kept: NDArray[np.bool_], *, lenient: bool = False
) -> float:
    """The mean IoU of one image, over the kept classes that are in its label or were predicted.

    Args:
        said: (H, W) predicted classes; what is no class is wrong everywhere.
        label: (H, W) true classes, 255 where there is none.
        kept: (C,) whether a class counts.
        lenient: pixels whose true class does not count do not either, as if they were 255.

    Returns:
        In [0, 1]; NaN if the image has nothing to measure.
    """
    classes, known = len(kept), label != IGNORE
    pairs = label[known].astype(np.int64) * (classes + 1) + np.minimum(said[known], classes)
    counts = np.bincount(pairs, minlength=classes * (classes + 1)).reshape(classes, classes + 1)
    if lenient:
        counts[~kept] = 0
    if not (counts[kept].any() or counts[:, :-1][:, kept].any()):
        return float("nan")
    return float(mean_iou(counts.astype(np.float64), kept))


def bootstrap(seeds: Counts, kept: NDArray[np.bool_]) -> tuple[float, float]:
    """The 95 % interval of the mean over seeds of the mean IoU.

    Each draw takes as many images, with repetition, the same ones for every seed. The mean IoU is no
    sum, so it is computed of each seed and then averaged, as the number is that the interval belongs to.

    Args:
        seeds: (S, N, 2, C), the `areas` of each image.
        kept: (C,) whether a class counts.
    """
    count = seeds.shape[1]
    random, flat = np.random.default_rng(0), _by_image(seeds)
    found = []
    for _ in range(DRAWS // _PART):
        times = random.multinomial(count, np.full(count, 1.0 / count), _PART).astype(np.float64)
        found.append(_over_seeds(times @ flat, seeds.shape, kept))
    low, high = np.quantile(np.concatenate(found), (0.025, 0.975))
    return float(low), float(high)


def swaps(one: Counts, two: Counts, kept: NDArray[np.bool_]) -> float:
    """How often chance alone gives a difference as large: the paired permutation test, two-sided.

    If two models are equally good, their answers on any image could as well have been exchanged: those
    of every seed together. What is compared is the mean over seeds of the mean IoU.

    Args:
        one, two: (S, N, 2, C), the `areas` of each image, by the same seeds.
        kept: (C,) whether a class counts.
    """
    half = _by_image(one - two) / 2.0
    half = half[half.any(axis=1)]  # exchanging equal answers changes nothing
    middle = (one + two).sum(axis=1).reshape(-1) / 2.0

    def difference(moved: Counts) -> NDArray[np.float64]:
        return np.abs(
            _over_seeds(middle + moved, one.shape, kept) - _over_seeds(middle - moved, one.shape, kept)
        )

    seen = difference(half.sum(axis=0))
    return permutation_p(len(half), lambda signs: difference(signs @ half) >= seen - 1e-12)


def _by_image(seeds: Counts) -> Counts:
    """(S, N, 2, C) -> (N, S * 2 * C)."""
    return seeds.swapaxes(0, 1).reshape(seeds.shape[1], -1).astype(np.float64)


def _over_seeds(sums: Counts, shape: tuple[int, ...], kept: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(..., S * 2 * C) -> (...) the mean over seeds of the mean IoU of each."""
    mean: NDArray[np.float64] = mean_of_areas(
        sums.reshape(*sums.shape[:-1], shape[0], *shape[2:]), kept
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
        kept = np.array([name not in excluded for name in classes.tolist()])
        return names.tolist(), confusions.astype(np.int64), kept
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(f"cannot read {path.name}: {error}") from error
