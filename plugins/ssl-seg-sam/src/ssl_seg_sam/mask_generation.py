"""What SAM is asked: everything, by a grid of points, or for the objects at given boxes or points."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ssl_seg_sam.model import ImageEmbedding, Sam
from ssl_seg_sam.segments import (
    Box,
    Segment,
    at_inner_border,
    box_nms,
    boxes_of,
    pack,
    point_grid,
    stability,
)

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class GridConfig:
    """Which masks of a grid are kept; the defaults are those of the paper's generator.

    Attributes:
        points: of the grid, per side of a tile.
        tile: images larger than this, in pixels, are cut.
        quality: least IoU that the model expects of a mask.
        stability: least IoU of a mask with itself at another threshold.
        overlap: of two masks whose boxes have a larger IoU the worse goes.
    """

    points: int = 32
    tile: int = 1024
    quality: float = 0.88
    stability: float = 0.95
    overlap: float = 0.7


def crops_of(height: int, width: int, tile: int) -> list[Box]:
    """Tiles that overlap by a third and cover the image; the whole image if it fits in one."""
    return [
        (left, top, right, bottom)
        for top, bottom in _spans(height, tile)
        for left, right in _spans(width, tile)
    ]


def _spans(length: int, tile: int) -> list[tuple[int, int]]:
    if length <= tile:
        return [(0, length)]
    overlap = tile // 3
    count = -(-(length - overlap) // (tile - overlap))
    starts = [round(index * (length - tile) / (count - 1)) for index in range(count)]
    return [(start, start + tile) for start in starts]


def batches_of(height: int, width: int, grid: GridConfig, batch: int) -> int:
    """How many batches of points an image takes."""
    crops = len(crops_of(height, width, grid.tile))
    return (crops + (crops > 1)) * -(-(grid.points**2) // batch)


def generate_masks(
    sam: Sam, image: Picture, grid: GridConfig, on_progress: Callable[[], None]
) -> list[Segment]:
    """All segments of an image, the largest first.

    An image larger than a tile is looked at twice: whole but reduced, for what is larger than a tile,
    and tile by tile at its own size. Masks cut off by a tile's border are left out; of two that are
    the same, that of the tile stays.

    Args:
        image: (H, W, 3).
        on_progress: called after every batch of points.
    """
    height, width = image.shape[:2]
    crops = crops_of(height, width, grid.tile)
    found: list[Segment] = []
    ranks: list[float] = []
    if len(crops) > 1:
        small = downscaled(image, grid.tile)
        whole = (0, 0, small.shape[1], small.shape[0])
        seen = _in_crop(sam, small, whole, small.shape[:2], grid, on_progress)
        found += [upscaled_segment(segment, small.shape[:2], (height, width)) for segment in seen]
        ranks += [segment.score - 10.0 for segment in seen]  # after those of any tile
    for crop in crops:
        left, top, right, bottom = crop
        seen = _in_crop(sam, image[top:bottom, left:right], crop, (height, width), grid, on_progress)
        found += seen
        ranks += [segment.score for segment in seen]
    return by_area(box_nms(found, grid.overlap, ranks))


def by_area(segments: list[Segment]) -> list[Segment]:
    """The largest first, those of equal area by their places."""
    return sorted(segments, key=lambda segment: (-segment.area, segment.box))


def _in_crop(
    sam: Sam,
    part: Picture,
    crop: Box,
    size: tuple[int, int],
    grid: GridConfig,
    on_progress: Callable[[], None],
) -> list[Segment]:
    """The segments that a grid of points finds in one crop, in pixels of the image."""
    embedding, found = sam.encode_image(part), []
    for points in point_grid(grid.points, *part.shape[:2]).split(sam.batch):
        logits, scores = embedding.predict_masks(points=points)
        good = scores > grid.quality  # first, so that few are enlarged
        for segment, cut in _segments(embedding, logits[good], scores[good], crop, size, grid):
            if not cut and segment.stability > grid.stability:
                found.append(segment)
        on_progress()
    return box_nms(found, grid.overlap)


def _segments(
    embedding: ImageEmbedding,
    logits: Tensor,
    scores: Tensor,
    crop: Box,
    size: tuple[int, int],
    grid: GridConfig,
) -> Iterator[tuple[Segment, bool]]:
    """Small logits as segments of the image, and whether the crop cuts them; empty ones are left out."""
    for chunk, values in zip(
        logits.split(embedding.chunk_size), scores.split(embedding.chunk_size), strict=True
    ):
        upscaled = embedding.enlarge(chunk)
        masks, stable = upscaled > 0, stability(upscaled).tolist()
        boxes = boxes_of(masks).cpu()
        cuts = at_inner_border(boxes, crop, *size, margin=max(1, grid.tile // 50)).tolist()
        rows = zip(masks.cpu().numpy(), boxes.tolist(), values.tolist(), stable, cuts, strict=True)
        for mask, (left, top, right, bottom), score, firm, cut in rows:
            if right > left:
                inside = mask[top:bottom, left:right]
                yield pack(inside, crop[0] + left, crop[1] + top, score, firm), cut


def segment_prompts(
    sam: Sam,
    image: Picture,
    tile: int,
    on_progress: Callable[[], None],
    *,
    points: Tensor | None = None,
    boxes: Tensor | None = None,
) -> list[Segment]:
    """One segment for each point or box, the best of what SAM offers; none where its mask is empty.

    An image larger than a tile is reduced to it, as SAM reduces any image to its own size.

    Args:
        points: (P, 2) x, y in pixels.
        boxes: (P, 4) left, top, right, bottom in pixels.
    """
    size = (image.shape[0], image.shape[1])
    small = downscaled(image, tile) if max(size) > tile else image
    embedding, found = sam.encode_image(small), []
    (height, width), grid = small.shape[:2], GridConfig(tile=tile)
    crop, factor = (0, 0, width, height), torch.tensor([width / size[1], height / size[0]])
    prompts = (points if boxes is None else boxes.reshape(-1, 2)) * factor  # type: ignore[operator]
    for chunk in prompts.reshape(-1, 2 if boxes is None else 4).split(sam.batch):
        prompt: dict[str, Any] = {"points" if boxes is None else "boxes": chunk}
        logits, scores = embedding.predict_masks(**prompt)
        best = torch.arange(len(chunk)), scores.argmax(dim=1).cpu()
        for segment, _ in _segments(embedding, logits[best], scores[best], crop, (height, width), grid):
            found.append(upscaled_segment(segment, (height, width), size))
        on_progress()
    return by_area(found)


def downscaled(image: Picture, tile: int) -> Picture:
    """The image with its longer side reduced to `tile`, antialiased."""
    height, width = image.shape[:2]
    scale = tile / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR, reducing_gap=3.0))


def upscaled_segment(segment: Segment, small: tuple[int, ...], size: tuple[int, ...]) -> Segment:
    """A segment of a reduced image in the whole one: a pixel belongs to what is below its centre."""
    if tuple(small) == tuple(size):
        return segment
    left, top, right, bottom = segment.box
    rows = (2 * np.arange(size[0]) + 1) * small[0] // (2 * size[0])
    columns = (2 * np.arange(size[1]) + 1) * small[1] // (2 * size[1])
    first_row, first_column = int(np.searchsorted(rows, top)), int(np.searchsorted(columns, left))
    rows, columns = rows[(rows >= top) & (rows < bottom)], columns[(columns >= left) & (columns < right)]
    mask = segment.mask[rows[:, None] - top, columns[None, :] - left]
    return pack(mask, first_column, first_row, segment.score, segment.stability)
