"""A batch in parts, whose gradients are added up."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn


def shares(module: nn.Module, parts: Sequence[Any]) -> list[float | Tensor]:
    """What each part of a batch counts: the same, unless the module says otherwise."""
    shares_of = getattr(module, "shares", None) if len(parts) > 1 else None
    return shares_of(parts) if shares_of else [1.0 / len(parts)] * len(parts)
