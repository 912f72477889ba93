"""Boxes and the two matrices that each of them is.

Cropping a box, resizing it with antialiasing and flipping it are linear along each axis. So for a
whole batch, with one draw per image, the three together are `Wy @ image @ Wx.T`: two batched
matrix products.
"""

import math

import torch
from torch import Tensor

BOX_SLOTS = 22
_ATTEMPTS = 10


def random_resized_crop_boxes(
    draws: Tensor, sizes: Tensor, scale: tuple[float, float], ratio: tuple[float, float]
) -> Tensor:
    """Choose a random crop of each image, as torchvision's `RandomResizedCrop` does.

    Ten attempts at an area and an aspect; the first that fits is placed at random. When none fits,
    the largest central box whose aspect is allowed.

    Args:
        draws: (22, B) uniform numbers in [0, 1).
        sizes: (B, 2) int64 height and width of each image in pixels.
        scale: least and greatest share of the image's area.
        ratio: least and greatest width / height.

    Returns:
        (B, 4) int64 top, left, height, width.
    """
    height, width = sizes[:, 0].double(), sizes[:, 1].double()
    share = scale[0] + (scale[1] - scale[0]) * draws[:_ATTEMPTS].double()
    low, high = math.log(ratio[0]), math.log(ratio[1])
    aspect = torch.exp(low + (high - low) * draws[_ATTEMPTS : 2 * _ATTEMPTS].double())
    area = share * (height * width)
    box_widths = torch.sqrt(area * aspect).round()
    box_heights = torch.sqrt(area / aspect).round()
    fits = (box_widths > 0) & (box_widths <= width) & (box_heights > 0) & (box_heights <= height)
    first = fits.to(torch.uint8).argmax(dim=0, keepdim=True)
    found = fits.any(dim=0)

    whole = width / height
    center_w = torch.where(whole > ratio[1], (height * ratio[1]).round(), width)
    center_h = torch.where(whole < ratio[0], (width / ratio[0]).round(), height)
    box_w = torch.where(found, box_widths.gather(0, first)[0], center_w)
    box_h = torch.where(found, box_heights.gather(0, first)[0], center_h)
    top_draw, left_draw = draws[2 * _ATTEMPTS].double(), draws[2 * _ATTEMPTS + 1].double()
    spare_h, spare_w = height - box_h, width - box_w
    top = torch.where(found, (top_draw * (spare_h + 1)).floor(), (spare_h / 2).floor())
    left = torch.where(found, (left_draw * (spare_w + 1)).floor(), (spare_w / 2).floor())
    return torch.stack([top, left, box_h, box_w], dim=1).long()


def center_crop_boxes(sizes: Tensor, share: float = 1.0) -> Tensor:
    """The central square whose side is `share` of the shorter side of each image.

    Args:
        sizes: (B, 2) int64 height and width.
        share: in (0, 1].

    Returns:
        (B, 4) int64 top, left, height, width.
    """
    side = (sizes.min(dim=1).values * share).round().clamp(min=1).long()
    top = (sizes[:, 0] - side) // 2
    left = (sizes[:, 1] - side) // 2
    return torch.stack([top, left, side, side], dim=1)


def resize_weights(start: Tensor, length: Tensor, flip: Tensor, size: int, canvas: int) -> Tensor:
    """The matrices that cut an interval out of an axis and resize it, with antialiasing.

    The filter is the triangle of `torch.nn.functional.interpolate(mode="bilinear",
    antialias=True)`, and it never looks outside the interval.

    Args:
        start: (B,) first pixel of the interval.
        length: (B,) its length in pixels.
        flip: (B,) bool, whether the result runs backwards.
        size: length of the result.
        canvas: length of the axis.

    Returns:
        (B, size, canvas) float32; every row sums to 1.
    """
    step = length.float() / size
    row = torch.arange(size, device=start.device, dtype=torch.float32)
    row = torch.where(flip[:, None], size - 1 - row, row)
    center = step[:, None] * (row + 0.5)
    column = torch.arange(canvas, device=start.device, dtype=torch.float32) - start.float()[:, None]
    inverse_support = 1.0 / step.clamp(min=1.0)
    distance = (column[:, None, :] + 0.5 - center[:, :, None]).abs() * inverse_support[:, None, None]
    weight = (1.0 - distance).clamp(min=0.0)
    inside = (column >= 0) & (column < length[:, None])
    weight = weight * inside[:, None, :]
    return weight / weight.sum(dim=2, keepdim=True)


def crop_resize_nearest(masks: Tensor, boxes: Tensor, flips: Tensor, size: int) -> Tensor:
    """Cut the boxes of `crop_resize` out of masks: each pixel takes the class at its centre.

    Args:
        masks: (B, H, W) uint8 class indices.
        boxes, flips, size: see `crop_resize`.

    Returns:
        (B, size, size) uint8.
    """
    rows = _center_pixels(boxes[:, 0], boxes[:, 2], flips[0], size)
    columns = _center_pixels(boxes[:, 1], boxes[:, 3], flips[1], size)
    batch = torch.arange(len(masks), device=masks.device)
    return masks[batch[:, None, None], rows[:, :, None], columns[:, None, :]]


def _center_pixels(start: Tensor, length: Tensor, flip: Tensor, size: int) -> Tensor:
    """(B, size) the pixel in which each centre of the result lies."""
    position = torch.arange(size, device=start.device)
    position = torch.where(flip[:, None], size - 1 - position, position)
    # in integers: (place + 1/2) * length / size, rounded down
    return start[:, None] + ((2 * position + 1) * length[:, None]).div(2 * size, rounding_mode="floor")


def transpose_where(images: Tensor, selected: Tensor) -> Tensor:
    """Swap height and width of the chosen images: with the two flips, all eight turns and mirrors.

    Args:
        images: (B, ..., S, S).
        selected: (B,) bool.
    """
    shape = (-1,) + (1,) * (images.ndim - 1)
    return torch.where(selected.view(shape), images.transpose(-1, -2), images)


def crop_resize(images: Tensor, boxes: Tensor, flips: Tensor, size: int) -> Tensor:
    """Cut a box out of each image, resize it and flip it.

    Args:
        images: (B, C, H, W) canvases, uint8 (0-255) or float.
        boxes: (B, 4) int64 top, left, height, width, inside the canvas.
        flips: (2, B) bool, up-down and left-right.
        size: side of the result in pixels.

    Returns:
        (B, C, size, size) float32 in the range of `images`.
    """
    batch, channels, height, width = images.shape
    wy = resize_weights(boxes[:, 0], boxes[:, 2], flips[0], size, height)
    wx = resize_weights(boxes[:, 1], boxes[:, 3], flips[1], size, width)
    rows = images.reshape(batch, channels * height, width).float() @ wx.transpose(1, 2)
    rows = rows.view(batch, channels, height, size)
    return torch.matmul(wy[:, None], rows)
