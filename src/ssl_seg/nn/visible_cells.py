"""A convolutional network that sees only some patches of its images, as if it were computed sparsely.

Sparse convolutions compute nothing where the image is hidden (SparK, Tian et al. 2023, arXiv:2301.03580, section 3.1).
Dense ones give the same numbers at visible cells if they are given zeros at the others, and if statistics
are taken over visible cells alone. The network itself stays as it is: no layer is replaced or wrapped.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ssl_seg.errors import UsageError
from ssl_seg.nn.sync_batch_norm import batch_norm

_CONVOLUTIONS = {torch.conv2d, F.conv2d, torch.conv_transpose2d, F.conv_transpose2d}
_POOLINGS = {
    *(torch.max_pool2d, F.max_pool2d, F.max_pool2d_with_indices),
    *(torch._C._nn.avg_pool2d, F.avg_pool2d, F.lp_pool2d),
}
_NORMS = {batch_norm, F.batch_norm, F.group_norm, F.instance_norm}
_REDUCTIONS = {
    *(torch.mean, torch.sum, torch.amax, torch.std, torch.var, torch.norm, torch.linalg.vector_norm),
    *(Tensor.mean, Tensor.sum, Tensor.amax, Tensor.std, Tensor.var, Tensor.norm),
}
_ADAPTIVE = {F.adaptive_avg_pool2d, F.adaptive_max_pool2d, torch._C._nn.adaptive_avg_pool2d}
_ON_TOKENS = {F.linear, torch._C._nn.linear, F.layer_norm, torch.layer_norm}
_ATTENTION = {F.scaled_dot_product_attention}


class VisibleCells(TorchFunctionMode):
    """Inside this context, networks compute from the visible patches of images alone.

    Convolutions and poolings see zeros at hidden cells; normalisation and means over space are over visible cells.
    What a map holds at hidden cells is undefined: `hide` sets it to 0.

    Args:
        kept: (B, K) int64, the visible patches of each image, numbered row by row.
        side: patches along each side of an image.

    Raises:
        UsageError: inside, a layer cannot be computed so: attention, or maps that do not divide into the patches.
    """

    def __init__(self, kept: Tensor, side: int) -> None:
        super().__init__()
        self.kept, self.side = kept, side
        mask = torch.zeros(len(kept), side * side, dtype=torch.bool, device=kept.device)
        self.visible = mask.scatter(1, kept, True).unflatten(1, (side, side))
        self._hidden: dict[int, Tensor] = {}
        self._index_of: dict[int, Tensor] = {}

    def hide(self, maps: Tensor) -> Tensor:
        """(B, C, h, w) maps with 0 at hidden cells."""
        return maps.masked_fill(self.hidden(maps), 0.0)

    def hidden(self, maps: Tensor) -> Tensor:
        """(B, 1, h, w) bool, the hidden cells of (B, C, h, w) maps."""
        factor = self._cells_per_patch(maps)
        if factor not in self._hidden:
            hidden = ~self.visible.repeat_interleave(factor, 1).repeat_interleave(factor, 2)
            self._hidden[factor] = hidden[:, None]
        return self._hidden[factor]

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if not args or not isinstance(args[0], Tensor):
            return func(*args, **kwargs)
        maps, rest = args[0], args[1:]
        if func in _ATTENTION or (func in _ON_TOKENS and maps.ndim == 3):
            raise _cannot("a layer compares all patches of an image")
        if maps.ndim != 4 or maps.shape[2:] == (1, 1):  # no map: a number for each channel
            return func(maps, *rest, **kwargs)
        if func in _NORMS:
            return self._scatter(func(self._gather(maps), *rest, **kwargs), maps)
        if func in _POOLINGS or (func in _CONVOLUTIONS and rest[0].shape[2:] != (1, 1)):
            maps = self.hide(maps)
        elif _axes(func, rest, kwargs) == [2, 3]:
            maps = self._gather(maps)
        elif _axes(func, rest, kwargs) == [1, 2]:  # channels last
            maps = self._gather(maps.movedim(3, 1)).movedim(1, 3)
        return func(maps, *rest, **kwargs)

    def _gather(self, maps: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, N, 1), the visible cells; there are as many in each image."""
        return maps.flatten(2).gather(2, self._indices(maps))[..., None]

    def _scatter(self, cells: Tensor, maps: Tensor) -> Tensor:
        """The inverse of `_gather`, with 0 at hidden cells."""
        empty = cells.new_zeros(*cells.shape[:2], maps.shape[2] * maps.shape[3])
        filled: Tensor = empty.scatter(2, self._indices(maps), cells[..., 0]).unflatten(2, maps.shape[2:])
        return filled

    def _indices(self, maps: Tensor) -> Tensor:
        """(B, C, N) int64, where the visible cells of flattened maps lie."""
        factor = self._cells_per_patch(maps)
        if factor not in self._index_of:
            inner = torch.arange(factor, device=maps.device)
            y, x = (
                (each[..., None] * factor + inner) for each in (self.kept // self.side, self.kept % self.side)
            )
            cells = y[..., :, None] * (self.side * factor) + x[..., None, :]
            self._index_of[factor] = cells.flatten(1)
        return self._index_of[factor][:, None].expand(-1, maps.shape[1], -1)

    def _cells_per_patch(self, maps: Tensor) -> int:
        """Cells of maps along each side of a patch."""
        height, width = maps.shape[2:]
        if height != width or height % self.side:
            raise _cannot(f"a layer has {height} x {width} cells for {self.side} x {self.side} patches")
        return height // self.side


def _axes(func: Callable[..., Any], rest: Sequence[Any], kwargs: dict[str, Any]) -> list[int]:
    """Over which of four axes a function reduces, if over several."""
    if func in _ADAPTIVE:
        if (rest or list(kwargs.values()))[0] not in (1, (1, 1), [1, 1]):
            raise _cannot("a layer pools to a fixed number of cells")
        return [2, 3]
    if func not in _REDUCTIONS:
        return []
    sizes = [each for each in (*rest, kwargs.get("dim")) if isinstance(each, tuple | list)]
    return sorted(axis % 4 for axis in sizes[0]) if sizes else []


def _cannot(reason: str) -> UsageError:
    return UsageError(f"this backbone cannot be computed from visible patches alone: {reason}")
