"""Many small tensors on their way to a device, in one block of memory."""

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor

_ALIGNMENT = 16  # bytes; a view of another type must start at a multiple of its size


class Packed:
    """Tensors of the CPU in one block, which reaches a device in one copy.

    Args:
        tensors: any types and shapes.
        device: on which they are wanted. For a GPU the block is pinned, so that the copy waits for nothing.
    """

    def __init__(self, tensors: Sequence[Tensor], device: torch.device) -> None:
        self._kinds = [(tensor.dtype, tensor.shape, tensor.nbytes) for tensor in tensors]
        lengths = [-(-size // _ALIGNMENT) * _ALIGNMENT for _, _, size in self._kinds]
        self._starts = [0, *accumulate(lengths)]
        self._device = device
        self._block = torch.empty(self._starts[-1], dtype=torch.uint8, pin_memory=device.type == "cuda")
        for part, tensor in zip(self._parts(self._block), tensors, strict=True):
            part.copy_(tensor)

    def moved(self) -> list[Tensor]:
        """The tensors on the device: views of one block there."""
        return self._parts(self._block.to(self._device, non_blocking=True))

    def _parts(self, block: Tensor) -> list[Tensor]:
        return [
            block[start : start + size].view(dtype).view(shape)
            for start, (dtype, shape, size) in zip(self._starts, self._kinds, strict=False)
        ]


def moved_together(tensors: Sequence[Tensor], device: torch.device) -> list[Tensor]:
    """Tensors of the CPU on a device, by at most one copy; on the CPU the tensors themselves."""
    return list(tensors) if device.type == "cpu" else Packed(tensors, device).moved()
