"""Small parts that several methods are made of, and the moving average of one network by another."""

import copy
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn


def mlp(inputs: int, hidden: int, outputs: int, *, layers: int = 2, last_norm: bool = False) -> nn.Sequential:
    """A perceptron of `layers` linear layers with BatchNorm and ReLU between them.

    Args:
        inputs, hidden, outputs: widths.
        layers: number of linear layers, >= 2.
        last_norm: end with a BatchNorm that has no parameters (SimSiam's projector).

    Returns:
        A module from (B, inputs) to (B, outputs).
    """
    parts: list[nn.Module] = []
    widths = [inputs] + [hidden] * (layers - 1)
    for before, after in pairwise(widths):
        parts += [nn.Linear(before, after, bias=False), nn.BatchNorm1d(after), nn.ReLU(inplace=True)]
    parts.append(nn.Linear(widths[-1], outputs, bias=not last_norm))
    if last_norm:
        parts.append(nn.BatchNorm1d(outputs, affine=False))
    return nn.Sequential(*parts)


def pool(features: Sequence[Tensor]) -> Tensor:
    """The mean over space of the deepest map: list of (B, C, H, W) -> (B, C)."""
    return features[-1].mean(dim=(2, 3))


def frozen_copy(module: nn.Module) -> nn.Module:
    """A deep copy that no gradient reaches: the start of a target network.

    Its BatchNorm layers normalise by the batch, as the online network's do, but their momentum is
    0: a forward pass leaves the running statistics alone, so only `move_average` moves them.
    """
    target = copy.deepcopy(module).requires_grad_(False)
    for part in target.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.momentum = 0.0
    return target


@torch.no_grad()
def move_average(target: nn.Module, online: nn.Module, decay: float) -> None:
    """Set `target = decay * target + (1 - decay) * online`, in place and fused.

    Floating-point buffers (BatchNorm's running statistics) are averaged like the weights; integer
    buffers (its counters) are copied.

    Args:
        target, online: modules of the same structure.
        decay: in [0, 1].
    """
    average: list[Tensor] = []
    source: list[Tensor] = []
    mine_all: list[Tensor] = [*target.parameters(), *target.buffers()]
    theirs_all: list[Tensor] = [*online.parameters(), *online.buffers()]
    for mine, theirs in zip(mine_all, theirs_all, strict=True):
        if mine.is_floating_point():
            average.append(mine)
            source.append(theirs)
        else:
            mine.copy_(theirs)
    torch._foreach_mul_(average, decay)
    torch._foreach_add_(average, source, alpha=1.0 - decay)
