"""A sheet of images beside the views that training makes of them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ssl_seg.augment.views import IMAGENET_MEAN, IMAGENET_STD

_GAP = 4


def draw_views(
    path: Path,
    images: Tensor,
    views: Sequence[Tensor],
    mean: tuple[float, ...] = IMAGENET_MEAN,
    std: tuple[float, ...] = IMAGENET_STD,
) -> None:
    """Write a PNG with one column per image: the canvas on top, its views below.

    Args:
        images: (B, 3, H, W) uint8 canvases.
        views: normalised (B, 3, h, w) tensors.
    """
    side = max(view.shape[-1] for view in views)
    rows = [F.interpolate(images.float() / 255, size=(side, side), mode="area").cpu()]
    for view in views:
        spread, centre = (torch.tensor(numbers).view(-1, 1, 1) for numbers in (std, mean))
        colour = view.detach().float().cpu() * spread + centre
        rows.append(F.interpolate(colour, size=(side, side), mode="nearest"))
    step = side + _GAP
    sheet = np.full((len(rows) * step + _GAP, len(images) * step + _GAP, 3), 255, dtype=np.uint8)
    for row, pictures in enumerate(rows):
        for column, picture in enumerate(pictures.clamp(0, 1)):
            y, x = row * step + _GAP, column * step + _GAP
            sheet[y : y + side, x : x + side] = (picture.permute(1, 2, 0).numpy() * 255).round()
    Image.fromarray(sheet).save(path)
