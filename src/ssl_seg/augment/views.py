"""Turn a batch of images into views, as `ssl_seg.augment.recipes` describes them."""

from collections.abc import Callable, Sequence
from itertools import permutations

import torch
from torch import Tensor

from ssl_seg.augment import geometry, photometry, stateless_rng
from ssl_seg.augment.recipes import View
from ssl_seg.augment.view_list import Geometry, Source, Views
from ssl_seg.utils.autocast import without_autocast

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# One slot of chance for each decision; adding a slot at the end leaves the others as they were.
_FLIP_X = geometry.BOX_SLOTS
_FLIP_Y, _JITTER, _ORDER, _BRIGHTNESS, _CONTRAST, _SATURATION, _HUE = range(_FLIP_X + 1, _FLIP_X + 8)
_GRAY, _BLUR, _SIGMA, _SOLARIZE = range(_HUE + 1, _HUE + 5)
_TURN = _SOLARIZE + 1
_SLOTS = _TURN + 1

_ORDERS = torch.tensor(list(permutations(range(4))))


@without_autocast  # 8 bits of colour need more than the 8 of bfloat16; likewise below
def augment(
    images: Tensor,
    views: Sequence[View],
    sizes: Tensor | None = None,
    samples: Tensor | None = None,
    *,
    seed: int = 0,
    epoch: int = 0,
    size: int | None = None,
    multiple: int = 1,
    mean: tuple[float, ...] = IMAGENET_MEAN,
    std: tuple[float, ...] = IMAGENET_STD,
) -> Views:
    """Make every view of every image, with a draw of its own for each.

    The draws are made where `samples` lives. On the CPU that costs microseconds and tells which
    images an operation touches without waiting for the GPU.

    Args:
        images: (B, 3, H, W) uint8 canvases on the training device.
        views: the recipes.
        sizes: (B, 2) int64 height and width of the picture inside each canvas, on the CPU; without it a picture
            fills its canvas.
        samples: (B,) int64 ids, on the CPU; without it 0, 1, 2, ...
        seed, epoch: with the id they fix every draw.
        size: side of a view in pixels; without it the shorter side of the canvas.
        multiple: see `View.side`.
        mean, std: of the normalisation, for images in [0, 1].

    Returns:
        One (B, 3, side, side) float32 tensor per view, see `View.side`, normalised, channels last; a list that
        also knows boxes and flips.
    """
    count, _, height, width = images.shape
    sizes = torch.tensor([[height, width]]).expand(count, 2) if sizes is None else sizes
    samples = torch.arange(count) if samples is None else samples
    side = min(height, width) if size is None else size
    made, geometries = [], []
    for index, view in enumerate(views):
        draws = stateless_rng.uniform(seed, epoch, index, samples, _SLOTS)
        geometries.append(_geometry(view, draws, sizes, images.device))
        made.append(_make_view(images, geometries[-1], view, draws, view.side(side, multiple), mean, std))
    return Views(made, geometries, Source(sizes, samples, seed, epoch))


@without_autocast
def augment_with_masks(
    images: Tensor,
    masks: Tensor,
    sizes: Tensor,
    samples: Tensor,
    view: View,
    *,
    seed: int,
    epoch: int,
    size: int,
    mean: tuple[float, ...] = IMAGENET_MEAN,
    std: tuple[float, ...] = IMAGENET_STD,
) -> tuple[Tensor, Tensor]:
    """Make one view of every image, and take its mask through the same box and turns.

    Args are those of `augment`; `masks` are (B, H, W) uint8 on the device of `images`.

    Returns:
        What `augment` gives for the view, and (B, side, side) int64 classes.
    """
    draws = stateless_rng.uniform(seed, epoch, 0, samples, _SLOTS)
    side = view.side(size)
    where = _geometry(view, draws, sizes, masks.device)
    marks = geometry.transpose_where(
        geometry.crop_resize_nearest(masks, where.boxes, where.flips, side), where.turns
    )
    return _make_view(images, where, view, draws, side, mean, std), marks.long()


def normalize_images(
    images: Tensor, mean: tuple[float, ...] = IMAGENET_MEAN, std: tuple[float, ...] = IMAGENET_STD
) -> Tensor:
    """Whole canvases as a network wants them: (B, 3, H, W) uint8 -> float32, channels last."""
    return _normalize(images / 255.0, mean, std)


@without_autocast
def eval_view(
    images: Tensor,
    sizes: Tensor,
    *,
    size: int,
    share: float = 1.0,
    mean: tuple[float, ...] = IMAGENET_MEAN,
    std: tuple[float, ...] = IMAGENET_STD,
) -> Tensor:
    """The central square of each image, resized and normalised; no chance.

    Args and result are those of `augment`; `share` is the part of the shorter side that is kept.
    """
    boxes = geometry.center_crop_boxes(sizes, share).to(images.device)
    flips = torch.zeros(2, len(boxes), dtype=torch.bool, device=images.device)
    out = geometry.crop_resize(images, boxes, flips, size) / 255.0
    return _normalize(out, mean, std)


def _normalize(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    return photometry.normalize(images, mean, std).contiguous(memory_format=torch.channels_last)


def _make_view(
    images: Tensor,
    where: Geometry,
    view: View,
    draws: Tensor,
    size: int,
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> Tensor:
    out = geometry.crop_resize(images, where.boxes, where.flips, size)
    if view.turn_p:
        out = geometry.transpose_where(out, where.turns)
    out = out.div_(255.0).clamp_(0.0, 1.0)
    _jitter(out, view, draws)
    _apply_where(out, draws[_GRAY] < view.gray_p, photometry.grayscale)
    low, high = (sigma * size / 224 for sigma in view.blur_sigma)
    sigma = low + (high - low) * draws[_SIGMA]
    radius = min(max(1, size // 20), size - 1)  # a kernel of a tenth of the image
    blurred = draws[_BLUR] < view.blur_p
    if size > 1:
        _apply_where(out, blurred, lambda x, s: photometry.gaussian_blur(x, s, radius), sigma)
    _apply_where(out, draws[_SOLARIZE] < view.solarize_p, photometry.solarize)
    return _normalize(out, mean, std)


def _geometry(view: View, draws: Tensor, sizes: Tensor, device: torch.device) -> Geometry:
    """Boxes, flips and turns of one view, on the device."""
    boxes = geometry.random_resized_crop_boxes(draws[: geometry.BOX_SLOTS], sizes, view.scale, view.ratio)
    flips = torch.stack([draws[_FLIP_Y] < view.flip_y_p, draws[_FLIP_X] < view.flip_x_p])
    return Geometry(boxes.to(device), flips.to(device), (draws[_TURN] < view.turn_p).to(device))


def _jitter(images: Tensor, view: View, draws: Tensor) -> None:
    """Brightness, contrast, saturation and hue, in an order of its own for each image."""
    selected = draws[_JITTER] < view.jitter_p
    order = _ORDERS[(draws[_ORDER] * len(_ORDERS)).long()]
    operations = (
        (photometry.adjust_brightness, _jitter_factor(draws[_BRIGHTNESS], view.brightness)),
        (photometry.adjust_contrast, _jitter_factor(draws[_CONTRAST], view.contrast)),
        (photometry.adjust_saturation, _jitter_factor(draws[_SATURATION], view.saturation)),
        (photometry.adjust_hue, (2 * draws[_HUE] - 1) * view.hue),
    )
    for position in range(4):
        for index, (operation, factor) in enumerate(operations):
            _apply_where(images, selected & (order[:, position] == index), operation, factor)


def _jitter_factor(draw: Tensor, strength: float) -> Tensor:
    low = max(0.0, 1.0 - strength)
    return low + (1.0 + strength - low) * draw


def _apply_where(
    images: Tensor, selected: Tensor, operation: Callable[..., Tensor], *factors: Tensor
) -> None:
    """Apply `operation` in place to the images of the batch that `selected` (CPU, bool) marks."""
    rows = selected.nonzero()[:, 0]
    if len(rows) == 0:
        return
    device = images.device
    if len(rows) == len(images):
        images.copy_(operation(images, *(factor.to(device) for factor in factors)))
        return
    device_rows = rows.to(device)
    part = images.index_select(0, device_rows)
    images.index_copy_(0, device_rows, operation(part, *(factor[rows].to(device) for factor in factors)))
