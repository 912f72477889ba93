"""What chance decides about the views of a batch: drawn on the CPU, moved to the device in one block."""

from collections.abc import Sequence
from itertools import permutations
from typing import NamedTuple

import torch
from torch import Tensor

from ssl_seg.augment import geometry, stateless_rng
from ssl_seg.augment.recipes import View
from ssl_seg.utils.packing import moved_together

# One slot of chance for each decision; adding a slot at the end leaves the others as they were.
_FLIP_X = geometry.BOX_SLOTS
_FLIP_Y, _JITTER, _ORDER, _BRIGHTNESS, _CONTRAST, _SATURATION, _HUE = range(_FLIP_X + 1, _FLIP_X + 8)
_GRAY, _BLUR, _SIGMA, _SOLARIZE = range(_HUE + 1, _HUE + 5)
_TURN = _SOLARIZE + 1
_SLOTS = _TURN + 1

_ORDERS = torch.tensor(list(permutations(range(4))))
BRIGHTNESS, CONTRAST, SATURATION, HUE, NONE = range(5)


class Draws(NamedTuple):
    """Everything that differs between the views of B images: V views of each.

    Attributes:
        sizes: (B, 2) int64 height and width of the images.
        samples: (B,) int64 ids.
        boxes: (B, V, 4) int64 top, left, height, width in pixels of the canvas.
        flips: (B, V, 2) bool, up-down and left-right.
        turns: (B, V) bool, height and width swapped after the flips.
        order: (B, V, 4) int64 the operation at each of four places: `BRIGHTNESS` to `HUE`, or `NONE`.
        factors: (B, V, 4) float32 of each of these operations.
        grayed, blurred, solarized: (B, V) bool.
        sigmas: (B, V) float32 of the blur, in pixels of the view.
    """

    sizes: Tensor
    samples: Tensor
    boxes: Tensor
    flips: Tensor
    turns: Tensor
    order: Tensor
    factors: Tensor
    grayed: Tensor
    blurred: Tensor
    solarized: Tensor
    sigmas: Tensor

    def to(self, device: torch.device) -> "Draws":
        """Move all of it, in one copy."""
        return Draws(*moved_together(self, device))

    def of_views(self, which: slice) -> "Draws":
        """Those of some of the views."""
        return Draws(self.sizes, self.samples, *(each[:, which] for each in self[2:]))


def draw_views(
    views: Sequence[View], sides: Sequence[int], sizes: Tensor, samples: Tensor, *, seed: int, epoch: int
) -> Draws:
    """Draw for every view of every image.

    Args:
        views: the recipes.
        sides: of each view in pixels.
        sizes: (B, 2) int64 height and width of the images, on the CPU.
        samples: (B,) int64 ids, on the CPU.
        seed, epoch: with the ids they fix every draw.
    """
    drawn = []
    for index, (view, side) in enumerate(zip(views, sides, strict=True)):
        draws = stateless_rng.uniform(seed, epoch, index, samples, _SLOTS)
        drawn.append(_draw_view(view, side, draws, sizes))
    return Draws(sizes, samples, *(torch.stack(each, dim=1) for each in zip(*drawn, strict=True)))


def _draw_view(view: View, side: int, draws: Tensor, sizes: Tensor) -> tuple[Tensor, ...]:
    """The decisions about one view, in the order of `Draws`."""
    order = _ORDERS[(draws[_ORDER] * len(_ORDERS)).long()]
    factors = (
        _jitter_factor(draws[_BRIGHTNESS], view.brightness),
        _jitter_factor(draws[_CONTRAST], view.contrast),
        _jitter_factor(draws[_SATURATION], view.saturation),
        (2 * draws[_HUE] - 1) * view.hue,
    )
    low, high = (sigma * side / 224 for sigma in view.blur_sigma)
    return (
        geometry.random_resized_crop_boxes(draws[: geometry.BOX_SLOTS], sizes, view.scale, view.ratio),
        torch.stack([draws[_FLIP_Y] < view.flip_y_p, draws[_FLIP_X] < view.flip_x_p], dim=1),
        draws[_TURN] < view.turn_p,
        order.masked_fill((draws[_JITTER] >= view.jitter_p)[:, None], NONE),
        torch.stack(factors, dim=1),
        draws[_GRAY] < view.gray_p,
        draws[_BLUR] < view.blur_p,
        draws[_SOLARIZE] < view.solarize_p,
        low + (high - low) * draws[_SIGMA],
    )


def _jitter_factor(draw: Tensor, strength: float) -> Tensor:
    low = max(0.0, 1.0 - strength)
    return low + (1.0 + strength - low) * draw
