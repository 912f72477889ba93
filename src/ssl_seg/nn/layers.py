"""Small parts that several methods are made of, and the moving average of one network by another."""

import copy
import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor, nn

from ssl_seg.base import Backbone

M = TypeVar("M", bound=nn.Module)
# classes of timm, torchvision and many who copied them, and the attribute that holds the share dropped
_DROPS = {"DropPath": "drop_prob", "DropBlock2d": "drop_prob", "PatchDropout": "prob", "StochasticDepth": "p"}


def mlp(
    in_features: int,
    hidden_features: int,
    out_features: int,
    *,
    num_layers: int = 2,
    norm: bool = True,
    last_norm: bool = False,
    last_affine: bool = False,
    last_bias: bool = True,
    layers: int | None = None,
) -> nn.Sequential:
    """A perceptron: linear layers with BatchNorm and ReLU between them.

    Args:
        in_features, hidden_features, out_features: widths.
        num_layers: number of linear layers, >= 2.
        norm: BatchNorm after the hidden layers; without it they have a bias.
        last_norm: end with a BatchNorm (SimSiam's projector).
        last_affine: that BatchNorm has a scale and a shift (SimCLR's, NNCLR's).
        last_bias: the last linear layer has a bias, unless that BatchNorm follows.
        layers: deprecated name of `num_layers`.

    Returns:
        A module from (B, in_features) to (B, out_features).
    """
    parts: list[nn.Module] = []
    widths = [in_features] + [hidden_features] * ((layers or num_layers) - 1)
    for before, after in pairwise(widths):
        parts.append(nn.Linear(before, after, bias=not norm))
        parts += [nn.BatchNorm1d(after)] if norm else []
        parts.append(nn.ReLU(inplace=True))
    parts.append(nn.Linear(widths[-1], out_features, bias=last_bias and not last_norm))
    if last_norm:
        parts.append(nn.BatchNorm1d(out_features, affine=last_affine))
    return nn.Sequential(*parts)


def global_pool(features: Sequence[Tensor]) -> Tensor:
    """The mean over space of the deepest map: list of (B, C, H, W) -> (B, C)."""
    return features[-1].mean(dim=(2, 3))


def pooled_crops(backbone: Backbone, views: Sequence[Tensor], large: int = 2) -> Tensor:
    """The backbone's `summary` of all views: V of (B, 3, h, w) -> (V * B, C), view by view.

    Views of one size go through together, so that BatchNorm sees them as one batch: the first `large`, then the rest.
    """
    groups = [torch.cat(list(group)) for group in (views[:large], views[large:]) if group]
    return torch.cat([backbone.summary(group) for group in groups])


def make_ema_copy(module: M, *, own_statistics: bool = False) -> M:
    """A deep copy that no gradient reaches: the start of a target network.

    Its BatchNorm layers normalise by the batch, as the online network's do, but their momentum is
    0: a forward pass leaves the running statistics alone, so only `update_ema` moves them. It drops
    nothing, in training mode either: see `without_dropout`.

    Args:
        own_statistics: running statistics are those of the copy's own forward passes, where it sees other views
            than the online network; to be moved by `update_ema(..., buffers=False)`.
    """
    target = without_dropout(copy.deepcopy(module).requires_grad_(False))
    for part in target.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and not own_statistics:
            part.momentum = 0.0
    return target


def without_dropout(module: M) -> M:
    """The module itself, of which dropout and stochastic depth (timm's `DropPath`) drop nothing any more."""
    for part in module.modules():
        if isinstance(part, nn.modules.dropout._DropoutNd):
            part.p = 0.0
        elif isinstance(part, nn.MultiheadAttention):
            part.dropout = 0.0
        elif rate := _DROPS.get(type(part).__name__):
            setattr(part, rate, 0.0)
    return module


def ema_decay_schedule(progress: float, start: float) -> float:
    """The decay of a target network: from `start` to 1 along half a cosine; `progress` in [0, 1]."""
    return 1.0 - (1.0 - start) * (math.cos(math.pi * progress) + 1.0) / 2.0


decay_at = ema_decay_schedule  # deprecated: the name in version 0.1.0, which plugins import


@torch.no_grad()
def update_ema(target: nn.Module, online: nn.Module, decay: float, *, buffers: bool = True) -> None:
    """Set `target = decay * target + (1 - decay) * online`, in place and fused.

    Floating-point buffers (BatchNorm's running statistics) are averaged like the weights; integer
    buffers (its counters) are copied.

    Args:
        target, online: modules of the same structure.
        decay: in [0, 1].
        buffers: whether buffers move too.
    """
    averages: list[Tensor] = []
    sources: list[Tensor] = []
    counters: list[Tensor] = []
    counts: list[Tensor] = []
    target_tensors: list[Tensor] = [*target.parameters(), *(target.buffers() if buffers else ())]
    online_tensors: list[Tensor] = [*online.parameters(), *(online.buffers() if buffers else ())]
    for average, source in zip(target_tensors, online_tensors, strict=True):
        moves = average.is_floating_point()
        (averages if moves else counters).append(average)
        (sources if moves else counts).append(source)
    torch._foreach_mul_(averages, decay)
    torch._foreach_add_(averages, sources, alpha=1.0 - decay)
    if counters:
        torch._foreach_copy_(counters, counts)


def in_chans_of(network: nn.Module) -> int:
    """How many channels the images of a backbone, or of a model with one, have; 3 where it does not say."""
    return int(getattr(getattr(network, "backbone", network), "in_chans", 3))
