"""How well segments without names agree with a label map, and what models say of the same image.

The mean IoU of segments that are named by majority: every segment is named after the class that most of its labelled pixels have, of
those that are not excluded, for a model predicts no excluded class either,
and the mean IoU of what comes of it is taken, as of a model's prediction. The naming is that of the
achievable segmentation accuracy of Liu et al., Entropy rate superpixel segmentation, CVPR 2011, which has the
highest pixel accuracy of all namings, but not always the highest mean IoU: it is no upper bound. More and
smaller segments raise it: one per pixel would have 1.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path, PurePath

import numpy as np
from numpy.typing import NDArray

from ssl_seg.results.iou import CONFUSIONS, mean_iou, read_confusions

IGNORE_INDEX = 255  # in a label map: a pixel without a class

Counts = NDArray[np.int64]


def assign_majority_class(
    index: NDArray[np.int32], label: NDArray[np.uint8], scored_classes: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """The class of every pixel when each segment has the most frequent kept one of its labelled pixels.

    Args:
        index: (H, W) number of the segment, 0 where there is none.
        label: (H, W) class indices, 255 where there is none.
        scored_classes: (C,) whether a class counts.

    Returns:
        (H, W) class indices; C in no segment, and in segments without a pixel of a kept class. Of
        equally frequent classes the first.
    """
    known, classes = label != IGNORE_INDEX, len(scored_classes)
    pairs = index[known].astype(np.int64) * classes + label[known]
    counts = np.bincount(pairs, minlength=(int(index.max(initial=0)) + 1) * classes).reshape(-1, classes)
    counts[:, ~scored_classes] = 0
    names = np.where(counts.any(axis=1), counts.argmax(axis=1), classes)
    names[0] = classes
    return names[index]


def confusion(predicted: NDArray[np.int64], label: NDArray[np.uint8], classes: int) -> Counts:
    """(C, C + 1) pixels: true classes down, said classes across, the last: none."""
    known = label != IGNORE_INDEX
    pairs = label[known].astype(np.int64) * (classes + 1) + predicted[known]
    return np.bincount(pairs, minlength=classes * (classes + 1)).reshape(classes, classes + 1)


def score(counts: Counts | None, scored_classes: NDArray[np.bool_]) -> float | None:
    """The mean IoU, None where no class that counts is there or said.

    Args:
        counts: as `confusion` gives them.
        scored_classes: (C,) whether a class counts.
    """
    if counts is None or not (counts[scored_classes].any() or counts[:, :-1][:, scored_classes].any()):
        return None
    return float(mean_iou(counts.astype(np.float64), scored_classes))


class ComparedRun:
    """A run of `ssl-seg segment`, as its last epoch predicted each validation image.

    Args:
        folder: of the run.
        label: how it is called here.

    Attributes:
        scored_classes: (C,) which of its classes count.

    Raises:
        ValueError: the run has not kept what it predicted, or it cannot be read.
    """

    def __init__(self, folder: Path, label: str) -> None:
        self.label = label
        if not (folder / CONFUSIONS).is_file():
            raise ValueError(f"no {CONFUSIONS}; finished runs with --val have one")
        files, self._confusions, self.scored_classes = read_confusions(folder / CONFUSIONS)
        self._rows = rows_of(files, "_sat")

    def of(self, file: str, suffix: str) -> Counts | None:
        """The confusion matrix of an image, None if the run has not measured it."""
        for name in names_of(file, suffix):
            if len(rows := self._rows.get(name, [])) == 1:
                counts: Counts = self._confusions[rows[0]]
                return counts
        return None


def names_of(file: str, suffix: str) -> Iterator[str]:
    """What an image may be called: `a/0013_sat.jpg`, `0013_sat.jpg`, `0013_sat`, `0013`."""
    path = PurePath(file)
    yield from dict.fromkeys((file, path.name, path.stem, path.stem.removesuffix(suffix) or path.stem))


def rows_of(files: Iterable[str], suffix: str) -> dict[str, list[int]]:
    """Which images have a name; a file's own full name is its alone."""
    found: dict[str, list[int]] = {}
    whole = {}
    for row, file in enumerate(files):
        whole[file] = [row]
        for name in names_of(file, suffix):
            found.setdefault(name, []).append(row)
    return found | whole
