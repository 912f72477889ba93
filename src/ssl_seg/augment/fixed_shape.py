"""Views on an accelerator: every image goes through every operation, and the draws select.

Which images an operation touches is known on the CPU; to gather them on the device would cost a copy and a
few launches for every operation. Here shapes are fixed and nothing waits. Views of one side go together, so the
number of launches does not depend on how many they are.
"""

from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor

from ssl_seg.augment import geometry, photometry
from ssl_seg.augment.draws import BRIGHTNESS, CONTRAST, HUE, NONE, Draws
from ssl_seg.augment.recipes import View


def make_views(
    images: Tensor, views: Sequence[View], draws: Draws, side: int, center: Tensor, spread: Tensor
) -> list[Tensor]:
    """Make views of one side.

    Args:
        images: (B, C, H, W) uint8 canvases.
        views: the recipes; operations that none of them has are left out.
        draws: of these views, on the device of `images`.
        side: of the views in pixels.
        center, spread: (C, 1, 1) of the normalization, for images in [0, 1].

    Returns:
        One (B, C, side, side) float32 tensor per view, channels last.
    """
    batch, count = draws.turns.shape
    each = Draws(draws.sizes, draws.samples, *(part.flatten(0, 1) for part in draws[2:]))  # (B * V, ...)
    out = _crops(images, each, count, side)
    if any(view.turn_p for view in views):
        out = geometry.transpose_where(out, each.turns)
    out = (out / 255.0).clamp(0.0, 1.0)
    colours = photometry.has_colours(out)
    if any(view.jitter_p for view in views):
        out = _jitter(out, each) if colours else _jitter_bands(out, each)
    if colours and any(view.gray_p for view in views):
        out = torch.where(_column(each.grayed), photometry.luma(out), out)
    if side > 1 and any(view.blur_p for view in views):
        blurred = photometry.gaussian_blur(out, each.sigmas, photometry.blur_radius(side))
        out = torch.where(_column(each.blurred), blurred, out)
    if any(view.solarize_p for view in views):
        solarized = _column(each.solarized) & (out >= 0.5)
        out = torch.where(solarized, 1.0 - out, out)
    out = ((out - center) / spread).unflatten(0, (batch, count))
    return [view.contiguous(memory_format=torch.channels_last) for view in out.unbind(dim=1)]


@cache
def compiled() -> Callable[..., list[Tensor]]:
    """`make_views` through `torch.compile`: a few dozen kernels."""
    return torch.compile(make_views, dynamic=False)


def _crops(images: Tensor, draws: Draws, count: int, side: int) -> Tensor:
    """`geometry.crop_resize` for `count` boxes of each image: two matrix products for all of them."""
    batch, channels, height, width = images.shape
    tops, lefts, heights, widths = draws.boxes.unbind(dim=1)
    wy = geometry.resize_weights(tops, heights, draws.flips[:, 0], side, height)
    wx = geometry.resize_weights(lefts, widths, draws.flips[:, 1], side, width)
    # the rows of all channels beside each other: then no product needs its operands copied
    lines = images.permute(0, 2, 1, 3).to(torch.float32, memory_format=torch.contiguous_format)
    rows = torch.bmm(wy.view(batch, count * side, height), lines.view(batch, height, channels * width))
    rows = rows.view(batch * count, side * channels, width)
    out: Tensor = torch.bmm(rows, wx.transpose(1, 2)).view(-1, side, channels, side).transpose(1, 2)
    return out


def _jitter(images: Tensor, draws: Draws) -> Tensor:
    """Four places, at each of which an image goes through one of four operations, or none.

    Brightness, contrast and saturation are one operation: away from black, from the mean luma, or from the
    pixel's own.
    """
    factors = draws.factors.gather(1, draws.order.clamp(max=HUE))
    for position in range(4):
        operation, factor = _column(draws.order[:, position]), factors[:, position]
        luma = photometry.luma(images)
        mean = luma.mean(dim=(2, 3), keepdim=True)
        away_from = torch.where(operation == CONTRAST, mean, luma) * (operation != BRIGHTNESS)
        blended = torch.lerp(away_from, images, _column(factor)).clamp(0.0, 1.0)
        turned = photometry.adjust_hue(images, factor)
        changed = torch.where(operation == HUE, turned, blended)
        images = torch.where(operation == NONE, images, changed)
    return images


def _jitter_bands(images: Tensor, draws: Draws) -> Tensor:
    """As `_jitter`, of channels that are no colours: brightness, and contrast of each by its own mean."""
    factors = draws.factors.gather(1, draws.order.clamp(max=HUE))
    for position in range(4):
        operation, factor = _column(draws.order[:, position]), factors[:, position]
        away_from = images.mean(dim=(2, 3), keepdim=True) * (operation == CONTRAST)
        blended = torch.lerp(away_from.expand_as(images), images, _column(factor)).clamp(0.0, 1.0)
        images = torch.where((operation == CONTRAST) | (operation == BRIGHTNESS), blended, images)
    return images


def _column(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)
