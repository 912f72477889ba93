"""Answers on images that are too large to go through a network at once: tiles that overlap."""

from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor

from ssl_seg.augment.views import normalised
from ssl_seg.base import Model
from ssl_seg.engine.device import Device
from ssl_seg.engine.inference import evaluating


@torch.no_grad()
def tiled_logits(
    model: Model,
    image: Tensor,
    device: Device,
    *,
    tile: int = 1024,
    overlap: int = 128,
    flips: bool = False,
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> Iterator[tuple[int, int, Tensor]]:
    """The logits of one image, piece by piece; every pixel comes once.

    Where tiles overlap, a pixel is taken from the tile whose border is farthest from it. So a network
    that looks no farther than half of `overlap` gives what it gives for the whole image.

    Args:
        image: (3, H, W) uint8 of any size, on the CPU.
        tile: largest side of what goes through the network, in pixels.
        overlap: of neighbouring tiles, in pixels; less than `tile`.
        flips: average over the image and its mirror image.
        mean, std: of the normalisation.

    Returns:
        For each piece its top, its left, and (C, h, w) float32 logits on the device.
    """
    height, width = image.shape[-2:]
    with evaluating(model):
        for top, bottom, first_row, last_row in spans(height, tile, overlap):
            for left, right, first_column, last_column in spans(width, tile, overlap):
                part = image[None, :, top:bottom, left:right].to(device.device)
                logits = _answer(model, normalised(part, mean, std), device, flips)
                rows = slice(first_row - top, last_row - top)
                columns = slice(first_column - left, last_column - left)
                yield first_row, first_column, logits[0, :, rows, columns]


def _answer(model: Model, images: Tensor, device: Device, flips: bool) -> Tensor:
    with device.autocast():
        logits: Tensor = model(images).float()
        if flips:
            logits = (logits + model(images.flip(-1)).float().flip(-1)) / 2.0
    return logits


def spans(length: int, tile: int, overlap: int) -> list[tuple[int, int, int, int]]:
    """Tiles along one axis: start and end of each, and of the part that is taken from it.

    All tiles have the same length, the last one ends where the axis ends, and the parts cover the
    axis without a gap.
    """
    if length <= tile:
        return [(0, length, 0, length)]
    count = -(-(length - overlap) // (tile - overlap))
    starts = [round(i * (length - tile) / (count - 1)) for i in range(count)]
    cuts = [(a + tile + b) // 2 for a, b in pairwise(starts)]
    edges = [0, *cuts, length]
    return [(s, s + tile, edges[i], edges[i + 1]) for i, s in enumerate(starts)]
