"""Two datasets as one."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssl_seg.base import Dataset
from ssl_seg.errors import DataError


class Joined(Dataset):
    """The images of a dataset, then those of another. Classes and other attributes are those of the first.

    Args:
        first, second: both with masks, or both without.
        targets: class indices of the second's images, as indices of the first's classes.

    Raises:
        DataError: the two have different numbers of channels.
    """

    def __init__(self, first: Dataset, second: Dataset, targets: Sequence[int]) -> None:
        self.first, self.second = first, second
        if second.channels != first.channels:
            raise DataError(
                f"images of {first.channels} and of {second.channels} channels cannot be joined",
                next="-o data.bands=1,2,3 and -o extra.bands=1,2,3",
            )
        self.classes, self.masks = first.classes, first.masks
        self.channels, self.bands = first.channels, first.bands
        names = (name for name, _ in second.samples)
        self.samples = [*first.samples, *zip(names, targets, strict=True)]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "first":
            raise AttributeError(name)
        return getattr(self.first, name)

    def _at(self, index: int) -> tuple[Dataset, int]:
        count = len(self.first)
        return (self.first, index) if index < count else (self.second, index - count)

    def origin(self, index: int) -> str:
        dataset, own = self._at(index)
        return dataset.origin(own)

    def file(self, index: int) -> str:
        dataset, own = self._at(index)
        return dataset.file(own)

    def identity(self, index: int) -> str:
        dataset, own = self._at(index)
        return dataset.identity(own)

    def size(self, index: int) -> tuple[int, int]:
        dataset, own = self._at(index)
        return dataset.size(own)

    def image(self, index: int, canvas: int) -> tuple[NDArray[np.uint8], tuple[int, int]]:
        dataset, own = self._at(index)
        return dataset.image(own, canvas)

    def mask(self, index: int, canvas: int) -> NDArray[np.uint8]:
        dataset, own = self._at(index)
        return dataset.mask(own, canvas)
