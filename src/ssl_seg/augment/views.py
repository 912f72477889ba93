"""Turn a batch of images into views, as `ssl_seg.augment.recipes` describes them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

from ssl_seg.augment import fixed_shape, geometry, photometry
from ssl_seg.augment.draws import Draws, draw_views
from ssl_seg.augment.recipes import View
from ssl_seg.augment.view_list import Geometry, Source, Views
from ssl_seg.utils.autocast import without_autocast

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Augmentation:
    """Random views of batches, in two parts: what chance decides, and the pictures on the device.

    Args:
        views: the recipes.
        size: side of a view in pixels.
        seed: with epoch and id it fixes every draw.
        multiple: see `View.side`.
        mean, std: of the normalization, for images in [0, 1].
        compile: run the operations of a GPU through `torch.compile`.
    """

    views: Sequence[View]
    size: int
    seed: int = 0
    multiple: int = 1
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    compile: bool = False

    @property
    def sides(self) -> list[int]:
        """The side of each view in pixels."""
        return [view.side(self.size, self.multiple) for view in self.views]

    def draw(self, sizes: Tensor, samples: Tensor, epoch: int) -> Draws:
        """Draw for every view of every image, without looking at them; a loader's thread does it ahead.

        Args:
            sizes: (B, 2) int64 height and width of the picture inside each canvas, on the CPU.
            samples: (B,) int64 ids, on the CPU.
            epoch: from 0.
        """
        return draw_views(self.views, self.sides, sizes, samples, seed=self.seed, epoch=epoch)

    @without_autocast  # 8 bits of colour need more than the 8 of bfloat16; likewise below
    def make(self, images: Tensor, draws: Draws, epoch: int = 0) -> Views:
        """Make the views that were drawn.

        Args:
            images: (B, C, H, W) uint8 canvases.
            draws: on the device of `images`.
            epoch: of the draws.

        Returns:
            See `augment`.
        """
        geometries = [_geometry(draws, index) for index in range(len(self.views))]
        make = self._one_by_one if images.device.type == "cpu" else self._fixed_shape
        return Views(make(images, draws), geometries, Source(draws.sizes, draws.samples, self.seed, epoch))

    def masks(self, masks: Tensor, draws: Draws) -> Tensor:
        """Take (B, H, W) uint8 masks through the box and turns of the first view: (B, side, side) int64 classes."""
        where = _geometry(draws, 0)
        cut = geometry.crop_resize_nearest(masks, where.boxes, where.flips, self.sides[0])
        return geometry.transpose_where(cut, where.turns).long()

    def _one_by_one(self, images: Tensor, draws: Draws) -> list[Tensor]:
        """Every operation on the images that it touches, which a CPU knows without waiting."""
        made = []
        for index, (view, side) in enumerate(zip(self.views, self.sides, strict=True)):
            out = _distorted(images, view, Draws(*draws[:2], *(part[:, index] for part in draws[2:])), side)
            made.append(_normalize(out, self.mean, self.std))
        return made

    def _fixed_shape(self, images: Tensor, draws: Draws) -> list[Tensor]:
        """Every operation on all images, views of one side together."""
        make = fixed_shape.compiled() if self.compile else fixed_shape.make_views
        center, spread = (photometry.per_channel(each, images.device) for each in (self.mean, self.std))
        made: list[Tensor] = []
        for side, group in groupby(self.sides):
            which = slice(len(made), len(made) + len(list(group)))
            made += make(images, self.views[which], draws.of_views(which), side, center, spread)
        return made


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

    The draws are made on the CPU, and reach the device in one copy; see `Augmentation` to make them ahead.

    Args:
        images: (B, C, H, W) uint8 canvases on the training device.
        views: the recipes.
        sizes: (B, 2) int64 height and width of the picture inside each canvas, on the CPU; without it a picture
            fills its canvas.
        samples: (B,) int64 ids, on the CPU; without it 0, 1, 2, ...
        seed, epoch: with the id they fix every draw.
        size: side of a view in pixels; without it the shorter side of the canvas.
        multiple: see `View.side`.
        mean, std: of the normalisation, for images in [0, 1].

    Returns:
        One (B, C, side, side) float32 tensor per view, see `View.side`, normalised, channels last; a list that
        also knows boxes and flips.
    """
    count, _, height, width = images.shape
    sizes = torch.tensor([[height, width]]).expand(count, 2) if sizes is None else sizes
    samples = torch.arange(count) if samples is None else samples
    side = min(height, width) if size is None else size
    augmentation = Augmentation(views, side, seed, multiple, mean, std)
    return augmentation.make(images, augmentation.draw(sizes, samples, epoch).to(images.device), epoch)


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
    augmentation = Augmentation([view], size, seed, mean=mean, std=std)
    draws = augmentation.draw(sizes, samples, epoch).to(images.device)
    return augmentation.make(images, draws, epoch)[0], augmentation.masks(masks, draws)


def normalize_images(
    images: Tensor, mean: tuple[float, ...] = IMAGENET_MEAN, std: tuple[float, ...] = IMAGENET_STD
) -> Tensor:
    """Whole canvases as a network wants them: (B, C, H, W) uint8 -> float32, channels last."""
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


def _geometry(draws: Draws, index: int) -> Geometry:
    """Boxes, flips and turns of one view."""
    return Geometry(draws.boxes[:, index], draws.flips[:, index].T, draws.turns[:, index])


def _distorted(images: Tensor, view: View, draws: Draws, side: int) -> Tensor:
    """One view, in [0, 1]; `draws` without the dimension of views."""
    out = geometry.crop_resize(images, draws.boxes, draws.flips.T, side)
    if view.turn_p:
        out = geometry.transpose_where(out, draws.turns)
    out = out.div_(255.0).clamp_(0.0, 1.0)
    colours = photometry.has_colours(out)
    jitter = (
        photometry.adjust_brightness,
        photometry.adjust_contrast,
        photometry.adjust_saturation,
        photometry.adjust_hue,
    )[: 4 if colours else 2]
    for chosen in draws.order.unbind(dim=1):
        for index, operation in enumerate(jitter):
            _apply_where(out, chosen == index, operation, draws.factors[:, index])
    if colours:
        _apply_where(out, draws.grayed, photometry.grayscale)
    if side > 1:
        radius = photometry.blur_radius(side)
        _apply_where(out, draws.blurred, lambda x, s: photometry.gaussian_blur(x, s, radius), draws.sigmas)
    _apply_where(out, draws.solarized, photometry.solarize)
    return out


def _apply_where(
    images: Tensor, selected: Tensor, operation: Callable[..., Tensor], *factors: Tensor
) -> None:
    """Apply `operation` in place to the images of the batch that `selected` (bool) marks."""
    rows = selected.nonzero()[:, 0]
    if len(rows) == 0:
        return
    if len(rows) == len(images):
        images.copy_(operation(images, *factors))
        return
    part = images.index_select(0, rows)
    images.index_copy_(0, rows, operation(part, *(factor[rows] for factor in factors)))
