"""Answers on images that are too large to go through a network at once: tiles that overlap."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from ssl_seg.augment.views import normalize_images
from ssl_seg.base import Model
from ssl_seg.engine.device import Device
from ssl_seg.engine.inference import eval_mode
from ssl_seg.engine.tta import ONCE, Averaged, Pass


@torch.no_grad()
def sliding_window_logits(
    model: Model,
    images: Tensor,
    device: Device,
    *,
    tile: int = 1024,
    overlap: int = 128,
    passes: Sequence[Pass] = ONCE,
    temperature: float = 1.0,
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> Iterator[tuple[int, int, Tensor]]:
    """The logits of images, piece by piece; every pixel comes once.

    Where tiles overlap, a pixel is taken from the tile whose border is farthest from it. So a network
    that looks no farther than half of `overlap` gives what it gives for the whole image. Tiles start at
    multiples of the backbone's largest stride, so that its cells lie where they lie in the whole image;
    only the last tile of an axis, which ends where the image ends, may not.

    Args:
        images: (B, 3, H, W) uint8 of any size, on the CPU.
        tile: largest side of what goes through the network, in pixels.
        overlap: of neighbouring tiles, in pixels; less than `tile`.
        passes, temperature: see `Averaged`, which also says what the logits are then.
        mean, std: of the normalisation.

    Returns:
        For each piece its top, its left, and (B, C, h, w) float32 logits on the device.
    """
    height, width = images.shape[-2:]
    step = max(model.backbone.strides)
    averaged = Averaged(model, passes, temperature)
    with eval_mode(model):
        for top, bottom, first_row, last_row in window_bounds(height, tile, overlap, step):
            for left, right, first_column, last_column in window_bounds(width, tile, overlap, step):
                part = images[..., top:bottom, left:right].to(device.device)
                with device.autocast():
                    logits = averaged(normalize_images(part, mean, std)).float()
                rows = slice(first_row - top, last_row - top)
                columns = slice(first_column - left, last_column - left)
                yield first_row, first_column, logits[..., rows, columns]


def window_bounds(length: int, tile: int, overlap: int, stride: int = 1) -> list[tuple[int, int, int, int]]:
    """Tiles along one axis: start and end of each, and of the part that is taken from it.

    All tiles have the same length, the last one ends where the axis ends, the others start at multiples
    of `stride` (if tiles are larger than overlap and stride together), and the parts cover the axis
    without a gap. Neighbours overlap by `overlap` at least.
    """
    if length <= tile:
        return [(0, length, 0, length)]
    step = (tile - overlap) // stride * stride or tile - overlap
    starts = [*range(0, length - tile, step), length - tile]
    cuts = [(a + tile + b) // 2 for a, b in pairwise(starts)]
    edges = [0, *cuts, length]
    return [(s, s + tile, edges[i], edges[i + 1]) for i, s in enumerate(starts)]
