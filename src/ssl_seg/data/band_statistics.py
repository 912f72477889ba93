"""Mean and standard deviation of each band over the images of a cache, measured while it is built."""

import threading

import numpy as np
from numpy.typing import NDArray

from ssl_seg.base import Dataset
from ssl_seg.data.canvases import channels_of

_LEAST = 1 / 255  # of a standard deviation, which images are divided by


def needs_statistics(dataset: Dataset) -> bool:
    """Whether nothing is known of its bands beforehand: those of colour photographs are ImageNet's."""
    return channels_of(dataset) != 3 or bool(getattr(dataset, "bands", ()))


class BandSums:
    """Sums over all pixels of all images, as whole numbers: the order of the images makes no difference."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pixels, self._sums, self._squares = 0, list[int](), list[int]()

    def add(self, image: NDArray[np.uint8]) -> None:
        """Take in an (h, w, C) image."""
        values = image.reshape(-1, image.shape[2]).astype(np.int64)
        sums, squares = values.sum(axis=0).tolist(), (values * values).sum(axis=0).tolist()
        with self._lock:
            self._pixels += len(values)
            self._sums = [a + b for a, b in zip(self._sums or [0] * len(sums), sums, strict=True)]
            self._squares = [a + b for a, b in zip(self._squares or [0] * len(sums), squares, strict=True)]

    def statistics(self) -> dict[str, list[float]]:
        """`mean` and `std` of each band, for values in [0, 1], over the pixels of all images.

        The deviation of a band of one value is a step of 8 bits.
        """
        count = max(1, self._pixels)
        mean = [values / count / 255 for values in self._sums]
        std = [
            (squares * count - values * values) ** 0.5 / count / 255
            for values, squares in zip(self._sums, self._squares, strict=True)
        ]
        return {"mean": mean, "std": [max(_LEAST, value) for value in std]}
