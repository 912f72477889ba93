"""A sheet of images beside the views that training makes of them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ssl_seg.augment.views import IMAGENET_MEAN, IMAGENET_STD
from ssl_seg.data.bands import as_rgb
from ssl_seg.utils.files import atomic_file

_GAP = 4
_LETTERS = 13  # height in pixels
_FRAME = "#c8c8c8"


def draw_views(
    path: Path,
    images: Tensor,
    views: Sequence[Tensor],
    mean: tuple[float, ...] = IMAGENET_MEAN,
    std: tuple[float, ...] = IMAGENET_STD,
    names: Sequence[str] | None = None,
    painted: Tensor | None = None,
) -> None:
    """Write a PNG with one column per image: the canvas on top, its views below.

    Args:
        path: of the PNG; its folder is made.
        images: (B, C, H, W) uint8 canvases; see `as_rgb` for other channels than three.
        views: normalised (B, C, h, w) tensors.
        mean, std: of the normalisation.
        names: of the rows, to their left; by default image, view 1, view 2, ...
        painted: (B, 3, h, w) uint8, a row at the bottom: masks in colours.

    Raises:
        ResourceError: it cannot be written.
    """
    side = max(view.shape[-1] for view in views)
    rows = [F.interpolate(as_rgb(images).float() / 255, size=(side, side), mode="area").cpu()]
    for view in views:
        spread, centre = (torch.tensor(numbers).view(-1, 1, 1) for numbers in (std, mean))
        colour = view.detach().float().cpu() * spread + centre
        rows.append(F.interpolate(as_rgb(colour), size=(side, side), mode="nearest"))
    if painted is not None:
        rows.append(F.interpolate(painted.float().cpu() / 255, size=(side, side), mode="nearest"))
    names = names or ["image", *(f"view {index + 1}" for index in range(len(views)))]
    font = ImageFont.load_default(_LETTERS)
    left = round(max(map(font.getlength, names))) + 2 * _GAP
    step = side + _GAP
    sheet = np.full((len(rows) * step + _GAP, left + len(images) * step, 3), 255, dtype=np.uint8)
    for row, pictures in enumerate(rows):
        for column, picture in enumerate(pictures.clamp(0, 1)):
            y, x = row * step + _GAP, left + column * step
            sheet[y : y + side, x : x + side] = (picture.permute(1, 2, 0).numpy() * 255).round()
    image = Image.fromarray(sheet)
    draw = ImageDraw.Draw(image)
    for row, name in enumerate(names):
        y = row * step + _GAP
        draw.text((left - _GAP, y + side // 2), name, "black", font, anchor="rm")
        for x in range(left, left + len(images) * step, step):  # a white view on white paper has an end
            draw.rectangle((x - 1, y - 1, x + side, y + side), outline=_FRAME)
    with atomic_file(path) as file:
        image.save(file, format="PNG")
