"""Pixels of annotations: polygons and run lengths, and what holds where several of them overlap.

A pixel belongs to a polygon if its centre is inside, by the even-odd rule; x is to the right and y down, (0, 0) the upper
left corner of the image. The polygons that `predict --polygons` writes give its masks again, exactly.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ssl_seg.base import IGNORE_INDEX

Overlap = Literal["smaller", "last", "ignore"]
Shape = tuple[int, int]


class Layer(NamedTuple):
    """The pixels of one annotation.

    Attributes:
        value: of its class.
        top, left: where `inside`, (h, w) bool, lies in the image.
    """

    value: int
    top: int
    left: int
    inside: NDArray[np.bool_]


def fill_polygons(rings: Sequence[Sequence[float]], shape: Shape, value: int) -> Layer:
    """The union of polygons.

    Args:
        rings: of each, x and y in turn.
        shape: height and width of the image; what is outside is cut off.

    Raises:
        ValueError: no polygon, or one with fewer than three corners or numbers that are none.
    """
    points = [np.array(ring, dtype=np.float64) for ring in rings]
    if not points or any(ring.ndim != 1 or len(ring) < 6 or len(ring) % 2 for ring in points):
        raise ValueError("a polygon needs three corners or more: x and y of each")
    if not all(np.isfinite(ring).all() for ring in points):
        raise ValueError("a corner of a polygon is not a number")
    corners = [ring.reshape(-1, 2) for ring in points]
    every = np.concatenate(corners)
    left, top = (int(low) for low in np.clip(np.floor(every.min(axis=0)), 0, shape[::-1]))
    right, bottom = (int(high) for high in np.clip(np.ceil(every.max(axis=0)), 0, shape[::-1]))
    inside = np.zeros((max(0, bottom - top), max(0, right - left)), dtype=np.bool_)
    for ring in corners:
        inside |= _filled(ring - (left, top), inside.shape)
    return Layer(value, top, left, inside)


def _filled(corners: NDArray[np.float64], shape: Shape) -> NDArray[np.bool_]:
    """The pixels whose centre is inside: right of an odd number of edges."""
    height, width = shape
    crossings = np.zeros((height, width + 1), dtype=np.bool_)
    for (x, y), (u, v) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        first, last = (int(np.clip(np.ceil(edge - 0.5), 0, height)) for edge in sorted((y, v)))
        if first < last:
            rows = np.arange(first, last)
            at = x + (rows + 0.5 - y) * (u - x) / (v - y)
            crossings[rows, np.clip(np.ceil(at - 0.5), 0, width).astype(np.int64)] ^= True
    return np.logical_xor.accumulate(crossings, axis=1)[:, :width]


def fill_runs(counts: str | Sequence[int], shape: Shape, value: int) -> Layer:
    """The pixels of COCO's run lengths, as numbers or as its text: column by column, off first.

    Raises:
        ValueError: they are damaged, or of an image of another size.
    """
    runs = np.array(_runs_in(counts) if isinstance(counts, str) else counts, dtype=np.int64)
    if runs.ndim != 1 or (runs < 0).any() or runs.sum() != shape[0] * shape[1]:
        raise ValueError(f"its runs are {int(runs.sum())} pixels long, the image has {shape[0] * shape[1]}")
    pixels = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return Layer(value, 0, 0, pixels.reshape(shape[1], shape[0]).T)


def _runs_in(text: str) -> list[int]:
    """Numbers of five bits a character, low ones first; from the fourth on, what is added to the last but one."""
    runs, number, shift = list[int](), 0, 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64:
            raise ValueError(f"its run lengths hold the character {character!r}")
        number |= (code & 31) << shift
        shift += 5
        if not code & 32:
            if code & 16:
                number -= 1 << shift
            runs.append(number + (runs[-2] if len(runs) > 2 else 0))
            number = shift = 0
    return runs


def stack(layers: Sequence[Layer], shape: Shape, background: int, overlap: Overlap) -> NDArray[np.uint8]:
    """The value of every pixel, (H, W).

    Args:
        layers: in the order of the annotations.
        background: of pixels in none.
        overlap: of pixels in several with different values: that of the smallest, that of the last, or no class.
    """
    image = np.full(shape, background, dtype=np.uint8)
    covered = np.zeros(shape, dtype=np.bool_)
    order = list(layers)
    if overlap == "smaller":
        order.sort(key=lambda layer: -int(layer.inside.sum()))
    for layer in order:
        height, width = layer.inside.shape
        part = np.s_[layer.top : layer.top + height, layer.left : layer.left + width]
        if overlap == "ignore":
            twice = layer.inside & covered[part] & (image[part] != layer.value)
            image[part][layer.inside & ~covered[part]] = layer.value
            image[part][twice] = IGNORE_INDEX
        else:
            image[part][layer.inside] = layer.value
        covered[part] |= layer.inside
    return image
