"""How pictures are reduced, and how they lie on their canvases.

All canvases of a cache are squares of one side, and a picture lies in the upper left corner of its own. To
reduce an elongated picture until its longer side fits would leave few pixels of the shorter one: 64 of
400 x 1600 on a canvas of 256. Such a picture may be longer than the canvas and take no more pixels than it
has. It is *folded* then: its rows follow each other in the same bytes, without regard to the canvas's own.
"""

import hashlib
import math

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ssl_seg.base import Dataset
from ssl_seg.utils.foreign import wrong

WHOLE = 1 << 16  # a limit to which no image is reduced
_LONGEST = 4  # of a picture's longer side, as a multiple of what an ordinary one may have


def side_of(height: int, width: int, limit: int) -> int:
    """To how many pixels the longer side of an image is reduced; a smaller image stays as it is.

    It is `limit`, unless the shorter side would get less than half of that. Then the shorter side keeps
    half of `limit`, as far as the picture has no more than limit x limit pixels, and its longer side no more
    than four times `limit`.
    """
    long, short = max(height, width), min(height, width)
    if long <= limit or 2 * short >= long:
        return limit
    side = min(long, _LONGEST * limit, math.ceil(limit / 2 * long / short))
    if side * _shorter(short, side, long) > limit * limit:
        side = math.isqrt(limit * limit * long // short)
    while side * _shorter(short, side, long) > limit * limit:  # by rounding
        side -= 1
    return max(side, limit)


def pixels_of(height: int, width: int, limit: int) -> int:
    """At most how many pixels an image has when it is reduced."""
    long, short = max(height, width), min(height, width)
    side = min(long, side_of(height, width, limit))
    return side * _shorter(short, side, long)


def fitted(height: int, width: int, side: int) -> tuple[int, int]:
    """Height and width of an image that is reduced to fit a square of this side."""
    scale = min(1.0, side / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def reduced(dataset: Dataset, index: int, limit: int) -> tuple[NDArray[np.uint8], int]:
    """An image, reduced as `side_of` says, and that side: with it, `dataset.mask` gives what fits the image.

    Returns:
        (h, w, C) uint8, and pixels.

    Raises:
        ValueError: it cannot be read; the text says why.
    """
    image, true = _image(dataset, index, limit)
    side = side_of(*true, limit)
    return (image if side == limit else _image(dataset, index, side)[0]), side


def reduced_mask(dataset: Dataset, index: int, side: int, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The (h, w) mask of an image that `reduced` has returned together with `side`.

    Raises:
        ValueError: it cannot be read, or has another size than the image.
        PluginError: it is no mask.
    """
    mask = dataset.mask(index, side)
    if not is_bytes(mask, 2):
        raise wrong(dataset, f"mask({index}, {side}) is not a uint8 array of shape (h, w)")
    if mask.shape != image.shape[:2]:
        (height, width), (rows, columns) = image.shape[:2], mask.shape
        raise ValueError(f"the mask is {rows} x {columns}, the image {height} x {width}")
    return mask


def pixel_digest(image: NDArray[np.uint8]) -> int:
    """Hash of an (h, w, C) image, which does not depend on the canvas it lies on."""
    height, width = image.shape[:2]
    planes = np.ascontiguousarray(image.transpose(2, 0, 1))
    digest = hashlib.blake2b(planes.data, digest_size=8, key=f"{height}x{width}".encode())
    return int.from_bytes(digest.digest(), signed=True)


def _image(dataset: Dataset, index: int, limit: int) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """What `dataset.image` gives, which may be foreign code.

    Raises:
        PluginError: no image.
    """
    found = dataset.image(index, limit)
    try:
        image, (height, width) = found
        good = is_bytes(image, 3) and image.shape[2] == channels_of(dataset) and height > 0 and width > 0
    except (TypeError, ValueError):
        good = False
    if not good:
        shape = f"(h, w, {channels_of(dataset)})"
        raise wrong(dataset, f"image({index}, {limit}) is not a non-empty uint8 array of shape {shape}")
    return found


def channels_of(dataset: Dataset) -> int:
    """How many channels the images of a dataset have, which need not be derived from the base class."""
    return int(getattr(dataset, "channels", 3))


def is_bytes(array: object, dimensions: int) -> bool:
    """Whether it is an array of uint8 with something in it."""
    if not isinstance(array, np.ndarray):
        return False
    return array.dtype == np.uint8 and array.ndim == dimensions and array.size > 0


def _shorter(short: int, side: int, long: int) -> int:
    """At most how many pixels of the shorter side there are when the longer one has `side`."""
    return math.ceil(short * side / long)


def laid(picture: NDArray[np.uint8], side: int, fill: int = 0) -> bytes:
    """The bytes of a canvas with a picture on it.

    Args:
        picture: (C, h, w).
        side: of the canvas in pixels.
        fill: of what the picture does not cover.

    Raises:
        ValueError: the picture has more pixels than the canvas.
    """
    channels, height, width = picture.shape
    canvas = np.full((channels, side, side), fill, dtype=np.uint8)
    if height <= side and width <= side:
        canvas[:, :height, :width] = picture
    elif height * width <= side * side:
        canvas.reshape(-1)[: picture.size] = picture.reshape(-1)
    else:
        raise ValueError(f"{height} x {width} pixels exceed the canvas of {side} x {side}")
    return canvas.tobytes()


def unfolded(canvases: Tensor, sizes: Tensor, fill: int = 0) -> Tensor:
    """Canvases as they are seen: larger ones, if a folded picture is among them.

    Args:
        canvases: (B, C, side, side) or (B, side, side) uint8, on any device.
        sizes: (B, 2) int64 height and width of the pictures, on the CPU.
        fill: of what the pictures do not cover.

    Returns:
        The same tensor if no picture is folded; otherwise (B, C, H, W) or (B, H, W), each picture in the
        upper left corner, H and W those of the tallest and of the widest one.
    """
    side = canvases.shape[-1]
    folded = (sizes > side).any(dim=1)
    if not folded.any():
        return canvases
    max_height, max_width = sizes.amax(dim=0).tolist()
    seen = canvases.new_full((*canvases.shape[:-2], max_height, max_width), fill)
    for row, (height, width) in enumerate(sizes.tolist()):
        if folded[row]:
            picture = canvases[row].flatten()[: canvases[row, ..., 0, 0].numel() * height * width]
            seen[row, ..., :height, :width] = picture.view(*canvases.shape[1:-2], height, width)
        else:
            seen[row, ..., :height, :width] = canvases[row, ..., :height, :width]
    return seen
