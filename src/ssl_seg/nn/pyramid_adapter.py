"""How a decoder that wants maps at strides 2, 4, 8, ... of a padded image is fed with any pyramid."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_seg.base import Head
from ssl_seg.errors import UsageError
from ssl_seg.nn.batch_norm import take_single_images


class Level(NamedTuple):
    """What a decoder is given in one place: a map of the pyramid, or an empty one.

    Attributes:
        stride: that the map should have.
        place: in the pyramid; None for an empty map.
        channels: of it.
        pooled: the map is halved first, for a pyramid that ends too early.
    """

    stride: int
    place: int | None = None
    channels: int = 0
    pooled: bool = False


class DecoderHead(Head):
    """A decoder and a last layer.

    For images of any size the maps are continued at the right and at the bottom, each by its own
    last column and row, until the image's sides are multiples of the largest stride; the logits are
    cut to size. A batch of one image can be trained on.

    Args:
        levels: what the decoder is given, in this order.
        decoder: takes a list of maps.
        last: takes what the decoder gives, and gives logits at full resolution.
        multiple: of which the continued image's sides are, if not of the largest stride.
        cells: the least number of cells along a side of the deepest map.
        more: further arguments of the decoder.
    """

    def __init__(
        self,
        levels: Sequence[Level],
        decoder: nn.Module,
        last: nn.Module,
        *,
        multiple: int = 1,
        cells: int = 1,
        more: tuple[Any, ...] = (),
    ) -> None:
        super().__init__()
        self.decoder, self.segmentation_head = decoder, last
        self._levels, self._cells, self._more = list(levels), cells, more
        self._multiple = max(multiple, *(level.stride for level in levels))
        take_single_images(decoder)

    def forward(self, features: list[Tensor], size: tuple[int, int]) -> Tensor:
        """Feature maps -> (B, classes, *size) logits."""
        deepest = [max(self._cells, -(-side // self._multiple)) for side in size]
        maps = []
        for level in self._levels:
            height, width = (count * self._multiple // level.stride for count in deepest)
            if level.place is None:
                maps.append(features[-1].new_empty(len(features[-1]), 0, height, width))
                continue
            x = features[level.place]
            if level.pooled:
                x = F.max_pool2d(x, 2, ceil_mode=True)
            whole = (size[0] // level.stride, size[1] // level.stride)
            maps.append(_fit(x, (height, width), whole))
        logits: Tensor = self.segmentation_head(self.decoder(maps, *self._more))
        return logits[:, :, : size[0], : size[1]]


def _fit(x: Tensor, cells: tuple[int, int], whole: tuple[int, int]) -> Tensor:
    """Bring a map to so many cells by continuing or cutting it at the right and at the bottom.

    A map with fewer cells than the image has `whole` strides comes from a network that pads nothing,
    and is stretched first.
    """
    if x.shape[2] < whole[0] or x.shape[3] < whole[1]:
        x = F.interpolate(x, size=whole, mode="bilinear", align_corners=False)
    for dim, wanted in zip((2, 3), cells, strict=True):
        if x.shape[dim] > wanted:
            x = x.narrow(dim, 0, wanted)
        elif x.shape[dim] < wanted:
            edge = x.narrow(dim, x.shape[dim] - 1, 1)
            x = torch.cat([x, edge.repeat_interleave(wanted - x.shape[dim], dim)], dim)
    return x


def doubling(
    name: str, channels: Sequence[int], strides: Sequence[int], *, dilated: bool = False
) -> list[Level]:
    """The image (no decoder looks at it: an empty map), then the maps at strides 2, 4, 8, ..., at most five.

    Args:
        name: of the head, for people.
        channels, strides: of the pyramid. A map at stride 1 is left out; one at stride 2 that is
            missing is an empty one.
        dilated: strides may repeat.

    Raises:
        UsageError: the pyramid is none of this kind.
    """
    levels = [Level(1, channels=3)]
    if 2 not in strides and 4 in strides:
        levels.append(Level(2))
    levels += [Level(s, i, c) for i, (c, s) in enumerate(zip(channels, strides, strict=True)) if s > 1]
    steps = pairwise(level.stride for level in levels)
    if not all(b == 2 * a or (dilated and a == b) for a, b in steps) or not 4 <= len(levels) <= 6:
        raise unsuited(name, strides, "three to five maps whose strides double, from 2 or 4")
    return levels


def unsuited(name: str, strides: Sequence[int], wanted: str) -> UsageError:
    """The refusal of a pyramid."""
    return UsageError(
        f"head {name} takes {wanted}; the backbone's maps have strides {', '.join(map(str, strides))}",
        next="--head deeplabv3 takes any strides, --head smp:dpt also a transformer's equal ones",
    )
