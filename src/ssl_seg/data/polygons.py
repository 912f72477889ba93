"""Outlines of the regions of a mask, along the edges of its pixels.

Vertices are corners of pixels, x to the right and y down, (0, 0) the upper left corner of the image. Filled again,
the outlines give the mask exactly: a pixel is inside where its centre is. Regions that touch share their edges.
"""

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Ring = list[tuple[int, int]]  # (x, y), without the first one again at its end

# the four sides of a pixel, each walked with the pixel on the right as one sees it: top, right, bottom, left
_AHEAD = ((0, 1), (1, 0), (0, -1), (-1, 0))  # rows and columns
_OUTSIDE = ((-1, 0), (0, 1), (1, 0), (0, -1))
_END = ((0, 1), (1, 1), (1, 0), (0, 0))  # where it ends, from the pixel's upper left corner


class Region(NamedTuple):
    """Pixels of one class that are connected by their sides.

    Attributes:
        label: its number in `label_regions`. class_index: of its class.
        shell: its outline; counterclockwise where y points up, as GeoJSON has it.
        holes: the outlines of what it encloses, the other way round.
    """

    label: int
    class_index: int
    shell: Ring
    holes: list[Ring]


def label_regions(mask: NDArray[np.uint8]) -> tuple[NDArray[np.int32], list[int]]:
    """The regions of an (H, W) mask, numbered from 1 class by class, and the class of each number (of 0: -1)."""
    labels, classes = np.zeros(mask.shape, np.int32), [-1]
    for index in np.unique(mask).tolist():
        found, count = ndimage.label(mask == index)
        labels += np.where(found, found + len(classes) - 1, 0)
        classes += [index] * count
    return labels, classes


def trace_regions(labels: NDArray[np.int32], classes: list[int]) -> list[Region]:
    """The outlines of regions, by number; see `label_regions`."""
    regions = {label: Region(label, classes[label], [], []) for label in range(1, len(classes))}
    for label, ring in _rings(labels):
        if _area(ring) > 0:
            regions[label].shell.extend(ring)
        else:
            regions[label].holes.append(ring)
    return list(regions.values())


def pieces_without_holes(labels: NDArray[np.int32], region: Region) -> list[Ring]:
    """A region as polygons without holes, for formats that have none; together they are its pixels, each once.

    It is cut along the upper edge of every hole, which opens the hole.
    """
    if not region.holes:
        return [region.shell]
    xs, ys = zip(*region.shell, strict=True)
    left, top, right, bottom = min(xs), min(ys), max(xs), max(ys)
    inside = labels[top:bottom, left:right] == region.label
    cuts = sorted({top, bottom, *(min(y for _, y in hole) for hole in region.holes)})
    pieces = []
    for first, end in pairwise(cuts):
        part, _ = ndimage.label(inside[first - top : end - top])
        pieces += [[(x + left, y + first) for x, y in ring] for _, ring in _rings(part)]
    return pieces


def _rings(labels: NDArray[np.int32]) -> Iterator[tuple[int, Ring]]:
    """Every closed outline with the number of what is on its right; no ring meets itself."""
    following, ends, turns, owners = _edges(labels)
    done = bytearray(len(following))
    for start in range(len(following)):
        if done[start]:
            continue
        corners, edge = [], start
        while not done[edge]:
            done[edge] = 1
            if turns[edge]:
                corners.append(ends[edge])
            edge = following[edge]
        yield from ((owners[start], ring) for ring in _simple(corners))


def _edges(labels: NDArray[np.int32]) -> tuple[list[int], list[tuple[int, int]], list[bool], list[int]]:
    """Of every side of a pixel between two regions: the one that follows, where it ends, whether the outline turns
    there, and the number of its pixel.

    Where two pixels of a region meet only at their corners, the outline stays with the one it comes from.
    """
    padded = np.pad(labels, 1)
    flat, width = padded.ravel(), padded.shape[1]
    steps = [[rows * width + columns for rows, columns in table] for table in (_AHEAD, _OUTSIDE)]
    keys, following = [], []
    for side, (ahead, outside) in enumerate(zip(*steps, strict=True)):
        pixels = np.flatnonzero(flat)
        pixels = pixels[flat[pixels] != flat[pixels + outside]]
        own = flat[pixels]
        ends_here = flat[pixels + ahead] != own
        turns_out = ~ends_here & (flat[pixels + ahead + outside] == own)
        next_pixel = pixels + np.where(ends_here, 0, ahead + np.where(turns_out, outside, 0))
        next_side = (side + np.where(ends_here, 1, np.where(turns_out, -1, 0))) % 4
        keys.append(4 * pixels + side)
        following.append(4 * next_pixel + next_side)
    all_keys, all_following = np.concatenate(keys), np.concatenate(following)
    order = np.argsort(all_keys)
    all_keys, all_following = all_keys[order], all_following[order]
    pixels, sides = np.divmod(all_keys, 4)
    corner = np.array(_END)[sides]
    xs, ys = pixels % width - 1 + corner[:, 1], pixels // width - 1 + corner[:, 0]
    return (
        np.searchsorted(all_keys, all_following).tolist(),
        list(zip(xs.tolist(), ys.tolist(), strict=True)),
        (all_following % 4 != sides).tolist(),
        flat[pixels].tolist(),
    )


def _simple(corners: Iterable[tuple[int, int]]) -> Iterator[Ring]:
    """A closed outline, cut where it comes to a corner again."""
    path: Ring = []
    places: dict[tuple[int, int], int] = {}
    for corner in corners:
        if corner in places:
            start = places[corner]
            yield path[start:]
            for passed in path[start:]:
                del places[passed]
            del path[start:]
        places[corner] = len(path)
        path.append(corner)
    yield path


def _area(ring: Ring) -> int:
    """Twice the signed area."""
    return sum(x * v - u * y for (x, y), (u, v) in zip(ring, [*ring[1:], ring[0]], strict=True))
