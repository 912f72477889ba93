"""How a decoder that wants maps at strides 2, 4, 8, ... of a padded image is fed with any pyramid."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_seg.base import Head
from ssl_seg.errors import UsageError
from ssl_seg.nn.batch_norm import use_pooled_batch_norm


class PyramidLevel(NamedTuple):
    """One input of a decoder: a map of the pyramid, or an empty one.

    Attributes:
        stride: the stride that the decoder expects.
        map_index: position in the pyramid; None for an empty map.
        channels: of the map.
        downsampled: halve the map first, for a pyramid that ends too early.
    """

    stride: int
    map_index: int | None = None
    channels: int = 0
    downsampled: bool = False


class DecoderHead(Head):
    """A decoder and a last layer.

    For images of any size the maps are continued at the right and at the bottom, each by its own
    last column and row, until the image's sides are multiples of the largest stride; the logits are
    cut to size. A batch of one image can be trained on.

    Args:
        levels: inputs of the decoder, in this order.
        decoder: a module that takes a list of maps.
        classifier: output of the decoder -> logits at full resolution.
        size_divisor: of the padded image's sides; at least the largest stride.
        min_size: smallest side of the deepest map, in cells.
        extra_inputs: further arguments of the decoder.
    """

    def __init__(
        self,
        levels: Sequence[PyramidLevel],
        decoder: nn.Module,
        classifier: nn.Module,
        *,
        size_divisor: int = 1,
        min_size: int = 1,
        extra_inputs: tuple[Any, ...] = (),
    ) -> None:
        super().__init__()
        self.decoder, self.segmentation_head = decoder, classifier
        self._levels, self._min_size, self._extra_inputs = list(levels), min_size, extra_inputs
        self._size_divisor = max(size_divisor, *(level.stride for level in levels))
        use_pooled_batch_norm(decoder)

    def forward(self, features: list[Tensor], size: tuple[int, int]) -> Tensor:
        """Feature maps -> (B, classes, *size) logits."""
        deepest = [max(self._min_size, -(-side // self._size_divisor)) for side in size]
        maps = []
        for level in self._levels:
            height, width = (count * self._size_divisor // level.stride for count in deepest)
            if level.map_index is None:
                maps.append(features[-1].new_empty(len(features[-1]), 0, height, width))
                continue
            x = features[level.map_index]
            if level.downsampled:
                x = F.max_pool2d(x, 2, ceil_mode=True)
            image_size = (size[0] // level.stride, size[1] // level.stride)
            maps.append(_pad_or_crop(x, (height, width), image_size))
        logits: Tensor = self.segmentation_head(self.decoder(maps, *self._extra_inputs))
        return logits[:, :, : size[0], : size[1]]


def _pad_or_crop(x: Tensor, size: tuple[int, int], image_size: tuple[int, int]) -> Tensor:
    """Replicate or crop the right and bottom edges of a map until it has `size`.

    A map smaller than `image_size`, the image's sides in strides, comes from a network without padding
    and is interpolated first.
    """
    if x.shape[2] < image_size[0] or x.shape[3] < image_size[1]:
        x = F.interpolate(x, size=image_size, mode="bilinear", align_corners=False)
    for dim, side in zip((2, 3), size, strict=True):
        if x.shape[dim] > side:
            x = x.narrow(dim, 0, side)
        elif x.shape[dim] < side:
            edge = x.narrow(dim, x.shape[dim] - 1, 1)
            x = torch.cat([x, edge.repeat_interleave(side - x.shape[dim], dim)], dim)
    return x


def power_of_two_levels(
    name: str, channels: Sequence[int], strides: Sequence[int], *, dilated: bool = False
) -> list[PyramidLevel]:
    """The image (no decoder looks at it: an empty map), then the maps at strides 2, 4, 8, ..., at most five.

    Args:
        name: of the head, for people.
        channels, strides: of the pyramid. A map at stride 1 is left out; one at stride 2 that is
            missing is an empty one.
        dilated: strides may repeat.

    Raises:
        UsageError: the pyramid is none of this kind.
    """
    levels = [PyramidLevel(1, channels=3)]
    if 2 not in strides and 4 in strides:
        levels.append(PyramidLevel(2))
    levels += [PyramidLevel(s, i, c) for i, (c, s) in enumerate(zip(channels, strides, strict=True)) if s > 1]
    steps = pairwise(level.stride for level in levels)
    if not all(b == 2 * a or (dilated and a == b) for a, b in steps) or not 4 <= len(levels) <= 6:
        raise unsupported_strides(name, strides, "three to five maps whose strides double, from 2 or 4")
    return levels


def unsupported_strides(name: str, strides: Sequence[int], wanted: str) -> UsageError:
    """The refusal of a pyramid."""
    return UsageError(
        f"head {name} requires {wanted}; backbone strides: {', '.join(map(str, strides))}",
        next="--head deeplabv3 accepts any strides, --head smp:dpt equal strides of a transformer",
    )
