"""Segments: how masks are judged, thinned out, kept small, and laid on one another."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.ops import nms

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Segment:
    """One mask, cut to its box and packed: a thousand of them fit where a few arrays would.

    Attributes:
        box: left, top, right, bottom in pixels of the image; right and bottom are the first ones outside.
        area: in pixels.
        score: the IoU that the model itself expects.
        stability: see `stability`.
        packed: the mask inside the box; `mask` unpacks it.
    """

    box: Box
    area: int
    score: float
    stability: float
    packed: bytes

    @property
    def mask(self) -> NDArray[np.bool_]:
        """(h, w) truth of every pixel inside the box."""
        left, top, right, bottom = self.box
        bits = np.frombuffer(zlib.decompress(self.packed), dtype=np.uint8)
        flat = np.unpackbits(bits, count=(bottom - top) * (right - left))
        return flat.reshape(bottom - top, right - left).astype(bool)


def pack(mask: NDArray[np.bool_], left: int, top: int, score: float, stable: float) -> Segment:
    """The segment of a mask that lies at (left, top) in the image; the mask is its box, so not empty."""
    height, width = mask.shape
    box = (left, top, left + width, top + height)
    packed = zlib.compress(np.packbits(mask).tobytes(), level=1)
    return Segment(box, int(np.count_nonzero(mask)), score, stable, packed)


def point_grid(per_side: int, height: int, width: int) -> Tensor:
    """(per_side ** 2, 2) x and y, in pixels, of the centres of equal cells, row by row."""
    positions = (torch.arange(per_side) + 0.5) / per_side
    y, x = torch.meshgrid(positions * height, positions * width, indexing="ij")
    return torch.stack([x.flatten(), y.flatten()], dim=1)


def stability(logits: Tensor, offset: float = 1.0) -> Tensor:
    """How little masks change when their threshold does: the stability score of the paper.

    Args:
        logits: (N, H, W); the mask is where they are above 0.
        offset: by how much the threshold is raised and lowered.

    Returns:
        (N,) IoU of the mask at the higher and at the lower threshold; 0 where both are empty.
    """
    inner = (logits > offset).flatten(1).sum(dim=1)
    outer = (logits > -offset).flatten(1).sum(dim=1)
    return inner / outer.clamp(min=1)


def boxes_of(masks: Tensor) -> Tensor:
    """(N, H, W) truths -> (N, 4) left, top, right, bottom, the last two outside; zeros where empty."""
    rows, columns = masks.any(dim=2), masks.any(dim=1)
    ends = [*_ends(columns), *_ends(rows)]
    return torch.stack([ends[0], ends[2], ends[1], ends[3]], dim=1)


def _ends(present: Tensor) -> tuple[Tensor, Tensor]:
    """First and one past the last of the truths of each row."""
    any_present, length = present.any(dim=1), present.shape[1]
    first = present.int().argmax(dim=1)
    last = length - present.flip(1).int().argmax(dim=1)
    return first * any_present, last * any_present


def at_inner_border(boxes: Tensor, crop: Box, height: int, width: int, margin: int) -> Tensor:
    """Which boxes come within `margin` of a side of the crop that is no side of the image: masks cut off.

    Args:
        boxes: (N, 4) in pixels of the crop.
        crop: in pixels of the image.
        height, width: of the image.
    """
    left, top, right, bottom = crop
    near_start = boxes[:, :2] < margin
    near_end = boxes[:, 2:] > torch.tensor([right - left, bottom - top]) - margin
    inner_start = torch.tensor([left > 0, top > 0])
    inner_end = torch.tensor([right < width, bottom < height])
    return ((near_start & inner_start) | (near_end & inner_end)).any(dim=1)


def box_nms(segments: Sequence[Segment], limit: float, ranks: Sequence[float] | None = None) -> list[Segment]:
    """Without those whose box overlaps that of a better one by an IoU above `limit`; the best come first.

    Args:
        limit: in [0, 1]; 1 keeps all.
        ranks: what better means; by default the score.
    """
    if not segments:
        return []
    boxes = torch.tensor([segment.box for segment in segments], dtype=torch.float32)
    values = torch.tensor([segment.score for segment in segments] if ranks is None else ranks)
    return [segments[index] for index in nms(boxes, values.float(), limit).tolist()]


def to_index_map(segments: Sequence[Segment], height: int, width: int) -> NDArray[np.int32]:
    """One segment per pixel.

    Returns:
        (H, W): 0 where there is none, else 1 + its place; of several the last one. Sorted from large
        to small, the smallest is on top.
    """
    index = np.zeros((height, width), dtype=np.int32)
    for number, segment in enumerate(segments, start=1):
        left, top, right, bottom = segment.box
        index[top:bottom, left:right][segment.mask] = number
    return index
