"""Strided convolutions of maps so small that they make one output, which torch gets wrong in bfloat16 on a CPU."""

from typing import Any

import torch.nn.functional as F
from torch import nn


def pad_small_maps(module: nn.Module) -> None:
    """Have every strided convolution of a module see maps as large as its one output allows.

    Where a map is smaller than the stride, most taps of the kernel lie in the padding, and oneDNN (of torch
    2.15, on a CPU with bfloat16 units) leaves the gradient of their weights as the memory happens to be. More
    rows and columns of zeros change no output and take another path.
    """
    for part in module.modules():
        if (
            isinstance(part, nn.Conv2d)
            and max(part.stride) > 1
            and _pad not in part._forward_pre_hooks.values()
        ):
            part.register_forward_pre_hook(_pad)


def _pad(conv: nn.Module, inputs: tuple[Any, ...]) -> Any:
    assert isinstance(conv, nn.Conv2d)
    images, *rest = inputs
    height, width = (_missing(conv, axis, images.shape[axis - 2]) for axis in (0, 1))
    return (F.pad(images, (0, width, 0, height)), *rest) if height or width else None


def _missing(conv: nn.Conv2d, axis: int, side: int) -> int:
    """How many zeros can be added to a map that makes one output, without making two."""
    stride, padding = conv.stride[axis], conv.padding[axis]
    if stride == 1 or isinstance(padding, str):
        return 0
    spare = side + 2 * padding - conv.dilation[axis] * (conv.kernel_size[axis] - 1) - 1
    return stride - 1 - spare if 0 <= spare < stride else 0
