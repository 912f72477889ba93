"""Segments over their image: translucent colours, of which neighbours have different ones, and outlines."""

import numpy as np
from numpy.typing import NDArray

# Okabe and Ito's, which people with any colour vision can tell apart; grey and black are left out
COLOURS = np.array(
    [
        (230, 159, 0),
        (86, 180, 233),
        (0, 158, 115),
        (240, 228, 66),
        (0, 114, 178),
        (213, 94, 0),
        (204, 121, 167),
    ],
    dtype=np.uint8,
)
_NEAR = (1, 4)  # pixels: segments so near to one another are neighbours
_COVER = 0.5


def overlay(image: NDArray[np.uint8], index: NDArray[np.int32]) -> NDArray[np.uint8]:
    """The image under its segments.

    Args:
        image: (H, W, 3).
        index: (H, W) number of the segment, 0 where there is none: there the image is as it was.

    Returns:
        (H, W, 3).
    """
    fill = COLOURS[colours_of(index)][index]
    covered = index > 0
    picture = image.copy()
    mixed = image[covered] * (1 - _COVER) + fill[covered] * _COVER
    picture[covered] = mixed.round().astype(np.uint8)
    picture[outlines(index, thick=max(1, max(index.shape) // 800))] = 255
    return picture


def outlines(index: NDArray[np.int32], thick: int = 1) -> NDArray[np.bool_]:
    """Where a segment ends: its last `thick` pixels before another number, below or to the right."""
    line = np.zeros(index.shape, dtype=bool)
    for step in range(1, thick + 1):
        line[:, :-step] |= index[:, :-step] != index[:, step:]
        line[:-step] |= index[:-step] != index[step:]
    return line


def colours_of(index: NDArray[np.int32]) -> NDArray[np.int64]:
    """(N + 1,) places in `COLOURS` for the numbers 0 to N, from the first on.

    A segment gets the colour that the fewest of its neighbours have, of several the least used one.
    """
    count = int(index.max(initial=0)) + 1
    near: list[set[int]] = [set() for _ in range(count)]
    for one, two in _neighbours(index).tolist():
        near[one].add(two)
        near[two].add(one)
    colours = np.full(count, -1, dtype=np.int64)
    used = np.zeros(len(COLOURS), dtype=np.int64)
    for number in range(1, count):
        beside = [colours[other] for other in near[number] if colours[other] >= 0]
        taken = np.bincount(beside, minlength=len(COLOURS)) if beside else np.zeros_like(used)
        colours[number] = np.lexsort((used, taken))[0]
        used[colours[number]] += 1
    return np.maximum(colours, 0)


def _neighbours(index: NDArray[np.int32]) -> NDArray[np.int64]:
    """(M, 2) pairs of numbers that lie near one another."""
    pairs = []
    for step in _NEAR:
        pairs += [(index[:, :-step], index[:, step:]), (index[:-step], index[step:])]
    found = [
        np.unique(one[apart].astype(np.int64) << 32 | two[apart])
        for one, two in pairs
        for apart in [(one != two) & (one > 0) & (two > 0)]
    ]
    codes = np.unique(np.concatenate(found))
    return np.stack([codes >> 32, codes & 0xFFFFFFFF], axis=1)
