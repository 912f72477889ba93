"""Small parts that several methods are made of, and the moving average of one network by another."""

import copy
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn


def mlp(
    in_features: int,
    hidden_features: int,
    out_features: int,
    *,
    num_layers: int = 2,
    last_norm: bool = False,
    layers: int | None = None,
) -> nn.Sequential:
    """A perceptron: linear layers with BatchNorm and ReLU between them.

    Args:
        in_features, hidden_features, out_features: widths.
        num_layers: number of linear layers, >= 2.
        last_norm: end with a BatchNorm without parameters (SimSiam's projector).
        layers: deprecated name of `num_layers`.

    Returns:
        A module from (B, in_features) to (B, out_features).
    """
    parts: list[nn.Module] = []
    widths = [in_features] + [hidden_features] * ((layers or num_layers) - 1)
    for before, after in pairwise(widths):
        parts += [nn.Linear(before, after, bias=False), nn.BatchNorm1d(after), nn.ReLU(inplace=True)]
    parts.append(nn.Linear(widths[-1], out_features, bias=not last_norm))
    if last_norm:
        parts.append(nn.BatchNorm1d(out_features, affine=False))
    return nn.Sequential(*parts)


def global_pool(features: Sequence[Tensor]) -> Tensor:
    """The mean over space of the deepest map: list of (B, C, H, W) -> (B, C)."""
    return features[-1].mean(dim=(2, 3))


def make_ema_copy(module: nn.Module) -> nn.Module:
    """A deep copy that no gradient reaches: the start of a target network.

    Its BatchNorm layers normalise by the batch, as the online network's do, but their momentum is
    0: a forward pass leaves the running statistics alone, so only `update_ema` moves them.
    """
    target = copy.deepcopy(module).requires_grad_(False)
    for part in target.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.momentum = 0.0
    return target


@torch.no_grad()
def update_ema(target: nn.Module, online: nn.Module, decay: float) -> None:
    """Set `target = decay * target + (1 - decay) * online`, in place and fused.

    Floating-point buffers (BatchNorm's running statistics) are averaged like the weights; integer
    buffers (its counters) are copied.

    Args:
        target, online: modules of the same structure.
        decay: in [0, 1].
    """
    averages: list[Tensor] = []
    sources: list[Tensor] = []
    target_tensors: list[Tensor] = [*target.parameters(), *target.buffers()]
    online_tensors: list[Tensor] = [*online.parameters(), *online.buffers()]
    for average, source in zip(target_tensors, online_tensors, strict=True):
        if average.is_floating_point():
            averages.append(average)
            sources.append(source)
        else:
            average.copy_(source)
    torch._foreach_mul_(averages, decay)
    torch._foreach_add_(averages, sources, alpha=1.0 - decay)
