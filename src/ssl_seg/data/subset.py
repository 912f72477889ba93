"""A part of a labelled dataset, chosen by its classes: for studies of few labels."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssl_seg.augment import stateless_rng
from ssl_seg.base import Dataset
from ssl_seg.errors import DataError


class Subset(Dataset):
    """Some images of a dataset, in its order. Other attributes are those of the dataset.

    Args:
        dataset: the whole.
        indices: of the images in it.
    """

    def __init__(self, dataset: Dataset, indices: Sequence[int]) -> None:
        self.whole, self.indices = dataset, [int(index) for index in indices]
        self.classes, self.masks = dataset.classes, dataset.masks
        self.channels, self.bands = dataset.channels, dataset.bands
        self.samples = [dataset.samples[index] for index in self.indices]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "whole":
            raise AttributeError(name)
        return getattr(self.whole, name)

    def origin(self, index: int) -> str:
        return self.whole.origin(self.indices[index])

    def file(self, index: int) -> str:
        return self.whole.file(self.indices[index])

    def identity(self, index: int) -> str:
        return self.whole.identity(self.indices[index])

    def size(self, index: int) -> tuple[int, int]:
        return self.whole.size(self.indices[index])

    def image(self, index: int, canvas: int) -> tuple[NDArray[np.uint8], tuple[int, int]]:
        return self.whole.image(self.indices[index], canvas)

    def mask(self, index: int, canvas: int) -> NDArray[np.uint8]:
        return self.whole.mask(self.indices[index], canvas)


def choose(
    pixels: NDArray[np.int64],
    digests: Tensor,
    *,
    fraction: float | None = None,
    per_class: int | None = None,
    images: int | None = None,
    seed: int = 0,
) -> list[int]:
    """Indices of the images of a subset in which every class is present, sorted.

    An image is chosen by its content, not by its name or place, so every run of a study has the same subset.

    Args:
        pixels: (N, C) pixels of each class in each image; one-hot for labels of whole images.
        digests: (N,) int64 hashes of the images.
        fraction: of all images, in (0, 1], in proportion to the classes.
        per_class: images that hold each class, or all that there are.
        images: in all, in proportion to the classes.
        seed: another one gives another subset.

    Raises:
        DataError: so few images cannot hold every class, or there are not so many.
    """
    draws = stateless_rng.uniform(seed, 0, 0, digests ^ (digests >> 32), 1)[0].numpy()
    order = np.argsort(draws, kind="stable")
    present = pixels[order] > 0
    count = images if fraction is None else max(1, round(fraction * len(pixels)))
    if count is not None and count > len(pixels):
        raise DataError(
            f"--images {count}: there are {len(pixels)}", next=f"--images {len(pixels)}, or fewer"
        )
    chosen = _covering(present, per_class or 1)
    if count is not None:
        if chosen.sum() > count:
            raise DataError(
                f"{count} of {len(pixels)} images cannot contain every class",
                next=f"--images {chosen.sum()}, or more",
            )
        _fill(chosen, pixels[order].argmax(axis=1), count)
    return sorted(int(index) for index in order[chosen])


def _covering(present: NDArray[np.bool_], times: int) -> NDArray[np.bool_]:
    """(N,) bool: the first images that hold every class so many times, the rarest class first."""
    chosen = np.zeros(len(present), dtype=np.bool_)
    for index in np.argsort(present.sum(axis=0), kind="stable"):
        missing = times - int(present[chosen, index].sum())
        candidates = np.flatnonzero(present[:, index] & ~chosen)
        chosen[candidates[: max(0, missing)]] = True
    return chosen


def _fill(chosen: NDArray[np.bool_], main_class: NDArray[np.int64], count: int) -> None:
    """Choose more images until there are `count`, each from the class that is furthest below its share."""
    classes = int(main_class.max()) + 1
    wanted = np.bincount(main_class, minlength=classes) * count / len(main_class)
    left = [list(np.flatnonzero((main_class == index) & ~chosen)) for index in range(classes)]
    held = np.bincount(main_class[chosen], minlength=classes)
    for _ in range(count - int(chosen.sum())):
        lack = [wanted[index] - held[index] if left[index] else -np.inf for index in range(classes)]
        index = int(np.argmax(lack))
        chosen[left[index].pop(0)] = True
        held[index] += 1


def one_hot(targets: Tensor, classes: int) -> NDArray[np.int64]:
    """(N,) class indices as (N, classes) counts; zeros for -1."""
    rows = torch.nn.functional.one_hot(targets.clamp(min=0), classes)
    rows[targets < 0] = 0
    return rows.numpy()
