"""A dataset of images and labels in memory."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from torch import Tensor

from ssl_seg.base import IGNORE_INDEX, Dataset
from ssl_seg.data.bands import each_band
from ssl_seg.data.canvases import fitted
from ssl_seg.data.mask_files import downsample_mask
from ssl_seg.errors import UsageError


class Arrays(Dataset):
    """A dataset of arrays or tensors.

    The arrays are not copied and must not change while the dataset is in use.

    Args:
        images: (N, H, W, C) or (N, C, H, W) uint8, RGB.
        labels: (N,) integer class indices, or (N, H, W) masks of class indices, 255 for unlabeled pixels;
            None for pre-training.
        classes: class names; default `0`, `1`, ... up to the largest label.
        name: name in messages; image 7 is `NAME-00007`.
        channels: C; of others than 3, mean and standard deviation are measured.

    Raises:
        UsageError: an unsupported shape or type, or a label without a class.
    """

    def __init__(
        self,
        images: ArrayLike | Tensor,
        labels: ArrayLike | Tensor | None = None,
        *,
        classes: Sequence[str] | None = None,
        name: str = "image",
        channels: int = 3,
    ) -> None:
        self._images, self.channels = _images(images, channels), channels
        count = len(self._images)
        self._masks, targets = _labels(labels, self._images.shape[:3])
        self.masks = self._masks is not None
        self.classes = _class_names(classes, targets if self._masks is None else self._masks)
        own = [-1] * count if targets is None else targets.tolist()
        self.samples = [(f"{name}-{index:05d}", target) for index, target in enumerate(own)]

    def identity(self, index: int) -> str:
        """Text that changes with the image and its mask."""
        digest = hashlib.sha256(np.ascontiguousarray(self._images[index]).data)
        if self._masks is not None:
            digest.update(np.ascontiguousarray(self._masks[index]).data)
        return f"array {self._images.shape[1:3]} {digest.hexdigest()}"

    def size(self, index: int) -> tuple[int, int]:
        """Height and width; the same of all images."""
        height, width = self._images.shape[1:3]
        return height, width

    def image(self, index: int, canvas: int) -> tuple[NDArray[np.uint8], tuple[int, int]]:
        """The (h, w, C) image, reduced to fit a square of side `canvas`, and its true (h, w)."""
        image = np.ascontiguousarray(self._images[index])
        height, width = self._reduced_size(canvas)
        if (height, width) != image.shape[:2]:
            image = each_band(image, lambda band: band.resize((width, height), Image.Resampling.BILINEAR))
        return image, self.size(index)

    def mask(self, index: int, canvas: int) -> NDArray[np.uint8]:
        """The class of every pixel of what `image` gives: (h, w), 255 where there is none."""
        assert self._masks is not None
        return downsample_mask(np.ascontiguousarray(self._masks[index]), *self._reduced_size(canvas))

    def _reduced_size(self, canvas: int) -> tuple[int, int]:
        return fitted(*self.size(0), canvas)


def _array(values: Any) -> NDArray[Any]:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)


def _images(values: Any, channels: int) -> NDArray[np.uint8]:
    """(N, H, W, C) uint8, a view of what is given."""
    images = _array(values)
    if images.ndim == 4 and images.shape[3] != channels and images.shape[1] == channels:
        images = images.transpose(0, 2, 3, 1)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != channels or not images.size:
        shapes = f"(N, H, W, {channels}) or (N, {channels}, H, W)"
        raise UsageError(
            f"images must be {shapes} of uint8, got {images.shape} of {images.dtype}",
            next="(images * 255).round().astype('uint8')  # of values from 0 to 1",
        )
    return images


def _labels(values: Any, shape: tuple[int, ...]) -> tuple[NDArray[np.uint8] | None, NDArray[np.int64] | None]:
    """(N, H, W) masks, or (N,) targets, or neither."""
    if values is None:
        return None, None
    labels = _array(values)
    if labels.shape not in (shape, shape[:1]) or not np.issubdtype(labels.dtype, np.integer):
        raise UsageError(
            f"labels must be {shape[:1]} class indices or {shape} masks, got {labels.shape} of {labels.dtype}"
        )
    is_mask = labels.ndim == 3
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or (is_mask and high > IGNORE_INDEX):
        raise UsageError(
            f"labels go from 0 to {IGNORE_INDEX if is_mask else 'the last class'}, got {low} to {high}"
        )
    return (labels.astype(np.uint8, copy=False), None) if is_mask else (None, labels.astype(np.int64))


def _class_names(names: Sequence[str] | None, labels: NDArray[Any] | None) -> list[str]:
    if labels is None:
        return []
    known = labels[labels != IGNORE_INDEX] if labels.ndim == 3 else labels
    count = int(known.max()) + 1 if known.size else 0
    if names is None:
        return [str(index) for index in range(count)]
    if len(names) < count:
        raise UsageError(f"label {count - 1} with {len(names)} classes")
    return list(names)
