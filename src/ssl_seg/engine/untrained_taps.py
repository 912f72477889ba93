"""Taps of convolutions that images of one size never reach."""

from dataclasses import dataclass
from math import ceil
from typing import Any

import torch
from torch import Tensor, nn

from ssl_seg.engine.inference import eval_mode
from ssl_seg.nn.layers import in_chans_of


@dataclass(frozen=True)
class UntrainedTaps:
    """A convolution with taps that lie in the padding wherever it is applied.

    Attributes:
        name: of the module.
        taps, of: how many of the kernel's taps these are.
        cells: height and width of its input.
        dilation: of its kernel.
        size: smallest side of an image, in pixels, at which every tap is trained.
    """

    name: str
    taps: int
    of: int
    cells: tuple[int, int]
    dilation: int
    size: int


@torch.no_grad()
def untrained_taps(module: nn.Module, size: int) -> list[UntrainedTaps]:
    """The trained convolutions of a network whose outer taps get no gradient from (B, 3, size, size) images.

    They keep their random start and act only in larger images: DeepLabv3's atrous taps, trained on small crops and
    applied to whole images.
    """
    found: list[UntrainedTaps] = []
    hooks = []

    def watch(name: str, conv: nn.Conv2d) -> None:
        def look(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            height, width = inputs[0].shape[-2:]
            reached = [_reached(conv, axis, cells) for axis, cells in enumerate((height, width))]
            kernel = conv.kernel_size[0] * conv.kernel_size[1]
            if missing := kernel - reached[0] * reached[1]:
                needed = max(_cells_needed(conv, axis) / cells for axis, cells in enumerate((height, width)))
                dilation = max(conv.dilation)
                found.append(
                    UntrainedTaps(name, missing, kernel, (height, width), dilation, ceil(size * needed))
                )

        hooks.append(conv.register_forward_pre_hook(look))

    for name, part in module.named_modules():
        if isinstance(part, nn.Conv2d) and max(part.kernel_size) > 1 and part.weight.requires_grad:
            watch(name, part)
    if not hooks:  # the head of a frozen backbone, say
        return []
    device: Any = next((parameter.device for parameter in module.parameters()), None)
    try:
        with eval_mode(module):
            module(torch.zeros(1, in_chans_of(module), size, size, device=device))
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _reached(conv: nn.Conv2d, axis: int, cells: int) -> int:
    """How many taps of one axis see a cell at some output position."""
    kernel, dilation, stride = conv.kernel_size[axis], conv.dilation[axis], conv.stride[axis]
    padding = _padding(conv, axis)
    outputs = (cells + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
    starts = range(-padding, -padding + outputs * stride, stride)
    return sum(any(0 <= start + tap * dilation < cells for start in starts) for tap in range(kernel))


def _cells_needed(conv: nn.Conv2d, axis: int) -> int:
    """The smallest input at which every tap of one axis sees a cell."""
    cells = 1
    while _reached(conv, axis, cells) < conv.kernel_size[axis]:
        cells += 1
    return cells


def _padding(conv: nn.Conv2d, axis: int) -> int:
    if isinstance(conv.padding, str):
        return conv.dilation[axis] * (conv.kernel_size[axis] - 1) // 2 if conv.padding == "same" else 0
    return int(conv.padding[axis])
