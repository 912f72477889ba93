"""How many pixels the classes of a set of masks have, and whether one can learn or measure with that."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ssl_seg.base import IGNORE_INDEX
from ssl_seg.data.image_cache import ImageCache
from ssl_seg.data.index_masks import VOID_SHARE
from ssl_seg.data.mask_census import percent
from ssl_seg.errors import DataError

_SHOWN = 8  # classes in a line


@dataclass
class MaskStatistics:
    """What is in masks.

    Attributes:
        classes: names.
        excluded: indices of those that are neither learnt nor measured.
        pixels: (256,) int64 by class index; those without a class at 255.
        masks: how many.
        empty: of these, without a pixel of a class that counts.
    """

    classes: Sequence[str]
    excluded: Sequence[int]
    pixels: NDArray[np.int64]
    masks: int = 0
    empty: int = 0

    @classmethod
    def of(cls, classes: Sequence[str], exclude: Sequence[str]) -> "MaskStatistics":
        """Nothing yet; `exclude` names classes."""
        excluded = [index for index, name in enumerate(classes) if name in exclude]
        return cls(classes, excluded, np.zeros(256, dtype=np.int64))

    def add(self, counts: NDArray[np.int64]) -> None:
        """One more mask, with its pixels by class index."""
        self.pixels += counts
        self.masks += 1
        self.empty += not counts[self.kept].any()

    @property
    def kept(self) -> list[int]:
        """Classes that count."""
        return [index for index in range(len(self.classes)) if index not in self.excluded]

    @property
    def seen(self) -> list[int]:
        """Classes that count and have a pixel."""
        return [index for index in self.kept if self.pixels[index]]

    @property
    def nowhere(self) -> list[str]:
        """Names of the classes that count and have none."""
        return [self.classes[index] for index in self.kept if not self.pixels[index]]

    def share(self, *indices: int) -> float:
        """Of all pixels."""
        return int(self.pixels[list(indices)].sum()) / max(1, int(self.pixels.sum()))

    def histogram(self, most: int = _SHOWN) -> str:
        """`water: 61.2 %, unknown (excluded): 30.1 %, no class: 8.7 %`; of more than `most` the most frequent."""
        names = [f"{name} (excluded)" if i in self.excluded else name for i, name in enumerate(self.classes)]
        rows = [*enumerate(names), *([(IGNORE_INDEX, "no class")] if self.pixels[IGNORE_INDEX] else [])]
        more = [f"and {len(rows) - most} more"] if len(rows) > most else []
        if more:
            rows.sort(key=lambda row: -self.pixels[row[0]])
        return ", ".join([*(f"{name}: {percent(self.share(index))}" for index, name in rows[:most]), *more])


def count_masks(image_cache: ImageCache, exclude: Sequence[str]) -> MaskStatistics:
    """Count the masks of a store; what fills its canvas does not count.

    Raises:
        DataError: a pixel of a class that there is not.
    """
    found = MaskStatistics.of(image_cache.classes, exclude)
    for counts in _pixels(image_cache):
        found.add(counts)
    if (beyond := np.flatnonzero(found.pixels[len(image_cache.classes) : IGNORE_INDEX])).size:
        index = int(beyond[0]) + len(image_cache.classes)
        raise DataError(
            f"the masks have {found.pixels[index]:,} pixels of class {index} of {len(image_cache.classes)}"
        )
    return found


def pixels_of_masks(image_cache: ImageCache, exclude: Sequence[str]) -> NDArray[np.int64]:
    """(N, C) pixels of each class in each mask; none of excluded classes."""
    counts = np.stack([counts[: len(image_cache.classes)] for counts in _pixels(image_cache)])
    counts[:, [index for index, name in enumerate(image_cache.classes) if name in exclude]] = 0
    return counts


def _pixels(image_cache: ImageCache) -> Iterator[NDArray[np.int64]]:
    """(256,) pixels of each mask by class index; what fills the canvas does not count."""
    for row, (height, width) in enumerate(image_cache.sizes.tolist()):
        (mask,) = image_cache.masks_at(torch.tensor([row]))
        yield torch.bincount(mask[:height, :width].flatten(), minlength=256).numpy()


def check_learnable(found: MaskStatistics, where: str, *, guesses_void: bool) -> list[str]:
    """Whether one can train on such masks; returns what to warn of.

    Args:
        where: whose masks they are, for people.
        guesses_void: see `MaskReader`.

    Raises:
        DataError: fewer than two classes have a pixel, or 255 covers regions and nobody has said that it is none.
    """
    void, histogram = found.share(IGNORE_INDEX), f"{where}: {found.histogram()}"
    if guesses_void and void > VOID_SHARE:
        raise DataError(
            f"255, used as the ignore value, covers {percent(void)} of the masks",
            where=histogram,
            next=f"-o data.ignore={IGNORE_INDEX}  # ignore value; if it is a class: -o data.palette=binary, or =FILE.json",
        )
    if len(found.seen) < 2:
        what = "no mask contains a labeled pixel"
        if found.seen:
            what = f"only one class has labeled pixels: {found.classes[found.seen[0]]}"
        raise DataError(what, where=histogram, next=_another_class(found, guesses_void=guesses_void))
    lacking = found.nowhere
    warnings = [f"no mask of {where} contains {_names(lacking)}: not trained"] if lacking else []
    return warnings + _hardly_used(found, where)


def _another_class(found: MaskStatistics, *, guesses_void: bool) -> str:
    """What may be one more class to learn."""
    if excluded := [found.classes[index] for index in found.excluded if found.pixels[index]]:
        return f'--exclude ""  # if {_names(excluded)} should be trained too'
    if guesses_void and found.pixels[IGNORE_INDEX]:
        return f"-o data.palette=binary  # {IGNORE_INDEX} is a class"
    return "masks with two classes"


def check_measurable(found: MaskStatistics, where: str, learnt: MaskStatistics | None = None) -> list[str]:
    """Whether one can measure on such masks; returns what to warn of.

    Args:
        where: whose masks they are, for people.
        learnt: the masks that were trained on.

    Raises:
        DataError: no pixel has a class that counts.
    """
    if not found.seen:
        raise DataError(
            "no mask contains a labeled pixel for validation", where=f"{where}: {found.histogram()}"
        )
    warnings = []
    if len(found.seen) < 2:
        warnings.append(f"the masks of {where} contain no scored class but {found.classes[found.seen[0]]}")
    if learnt and (new := [found.classes[i] for i in found.seen if not learnt.pixels[i]]):
        warnings.append(f"the masks of {where} contain {_names(new)}, which the training masks lack")
    return warnings + _hardly_used(found, where)


def _hardly_used(found: MaskStatistics, where: str) -> list[str]:
    unused = found.share(IGNORE_INDEX, *found.excluded)
    if unused <= 0.5:
        return []
    return [f"{percent(unused)} of the pixels of {where} are ignored: {found.histogram()}"]


def _names(names: Sequence[str]) -> str:
    more = [f"{len(names) - _SHOWN} more"] if len(names) > _SHOWN else []
    return ", ".join([*names[:_SHOWN], *more])
