"""BatchNorm over parts of a batch, as if each were on a device of its own.

A query and its key that were normalised with the same images can be recognised by the statistics they share.
MoCo (He et al. 2020, section 3.3) therefore normalises them with different images.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


def split_norm(module: nn.Module, parts: int) -> None:
    """Have every BatchNorm normalise `parts` equal parts of a training batch each by itself, in place.

    Tensors and their names stay, and evaluation is as before. Where a batch cannot be cut into so many parts, into
    as many as it can, see `parts_of`.
    """
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and not isinstance(part, _Split):
            kind = type(part)
            part.__class__ = type(f"Split{kind.__name__}", (_Split, kind), {})
            part.split_parts = parts  # type: ignore[assignment]


def parts_of(count: int, parts: int) -> int:
    """The largest number up to `parts` whose square divides `count`."""
    return max(number for number in range(1, parts + 1) if count % (number * number) == 0)


def swap_blocks(rows: Tensor, parts: int) -> Tensor:
    """Reorder (B, ...) so that each part of the result has as many rows from each part of `rows`; its own inverse."""
    number = parts_of(len(rows), parts)
    blocks: Tensor = rows.unflatten(0, (number, number, -1))
    return blocks.transpose(0, 1).flatten(0, 2)


class _Split(nn.Module):
    """Stands before a norm's own class: in training its `F.batch_norm` takes the batch in parts."""

    split_parts: int

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)  # type: ignore[no-any-return]
        with _InParts(parts_of(len(input), self.split_parts)):
            return super().forward(input)  # type: ignore[no-any-return]


class _InParts(TorchFunctionMode):
    def __init__(self, parts: int) -> None:
        super().__init__()
        self.parts = parts

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        if func is F.batch_norm:
            return _batch_norm(self.parts, *args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _batch_norm(
    parts: int,
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """`F.batch_norm` with the channels of the parts beside each other; running statistics are means over them."""
    mean, variance, scale, shift = (
        None if each is None else each.repeat(parts) for each in (running_mean, running_var, weight, bias)
    )
    folded = input.unflatten(0, (parts, -1)).transpose(0, 1).flatten(1, 2)
    out = F.batch_norm(folded, mean, variance, scale, shift, training, momentum, eps)
    for own, many in ((running_mean, mean), (running_var, variance)):
        if own is not None and many is not None:
            with torch.no_grad():
                own.copy_(many.unflatten(0, (parts, -1)).mean(dim=0))
    split: Tensor = out.unflatten(1, (parts, -1))
    return split.transpose(0, 1).flatten(0, 1)
