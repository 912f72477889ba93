"""What single images say of a mean IoU: its interval, and whether two models differ by more than chance.

A mean IoU is no mean over images, so neither a share's interval nor a test on sums applies. Both are
made from one confusion matrix per image.
"""

from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from ssl_seg.base import IGNORE

CONFUSIONS = "val_confusions.npz"
DRAWS = 2_000
_PART = 100  # draws at a time, to bound the memory

Counts = NDArray[np.float64]


def mean_iou(confusion: Counts, kept: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The mean IoU of confusion matrices.

    Args:
        confusion: (..., C, C + 1) pixels; row: true class, column: predicted class, the last: none.
        kept: (C,) whether a class counts.

    Returns:
        (...) the mean over the kept classes that are there or predicted; 0 where there are none.
    """
    right = np.diagonal(confusion, axis1=-2, axis2=-1)
    union = confusion.sum(axis=-1) + confusion[..., :-1].sum(axis=-2) - right
    present = kept & (union > 0)
    iou = np.where(present, right / np.maximum(union, 1e-9), 0.0)
    mean: NDArray[np.float64] = iou.sum(axis=-1) / np.maximum(present.sum(axis=-1), 1)
    return mean


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


def bootstrap(confusions: Counts, kept: NDArray[np.bool_]) -> tuple[float, float]:
    """The 95 % interval of a mean IoU: what as many images drawn from these, with repetition, give.

    Args:
        confusions: (N, C, C + 1), one matrix per image.
        kept: (C,) whether a class counts.
    """
    count, shape = len(confusions), confusions.shape[1:]
    random, flat = np.random.default_rng(0), confusions.reshape(count, -1)
    found = []
    for _ in range(DRAWS // _PART):
        times = random.multinomial(count, np.full(count, 1.0 / count), _PART).astype(np.float64)
        found.append(mean_iou((times @ flat).reshape(-1, *shape), kept))
    low, high = np.quantile(np.concatenate(found), (0.025, 0.975))
    return float(low), float(high)


def swaps(one: Counts, two: Counts, kept: NDArray[np.bool_]) -> float:
    """How often chance alone gives a difference as large: the paired permutation test, two-sided.

    If two models are equally good, their answers on any image could as well have been exchanged.

    Args:
        one, two: (N, C, C + 1), one matrix per image.
        kept: (C,) whether a class counts.
    """
    shape, random = one.shape[1:], np.random.default_rng(0)
    half = ((one - two) / 2.0).reshape(len(one), -1)
    middle = ((one + two) / 2.0).sum(axis=0)
    seen = abs(mean_iou(one.sum(axis=0), kept) - mean_iou(two.sum(axis=0), kept))
    extreme = 0
    for _ in range(DRAWS // _PART):
        signs = random.integers(0, 2, (_PART, len(one))) * 2.0 - 1.0
        moved = (signs @ half).reshape(-1, *shape)
        differences = mean_iou(middle + moved, kept) - mean_iou(middle - moved, kept)
        extreme += int(np.count_nonzero(np.abs(differences) >= seen - 1e-12))
    return (extreme + 1) / (DRAWS + 1)


def read_confusions(path: Path) -> tuple[list[str], NDArray[np.int64], NDArray[np.bool_]]:
    """File names, one confusion matrix per image, and which classes count.

    Raises:
        ValueError: the file does not hold them.
    """
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            excluded = set(file["exclude"].tolist())
            kept = np.array([name not in excluded for name in file["classes"].tolist()])
            return file["filenames"].tolist(), file["confusions"].astype(np.int64), kept
    except (OSError, KeyError, ValueError, TypeError, EOFError, BadZipFile) as error:
        raise ValueError(f"{path.name} cannot be read: {error}") from error
