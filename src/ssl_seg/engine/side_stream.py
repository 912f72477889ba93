"""The next batch is made on a stream of its own, while a GPU computes the backward pass on another."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils._pytree import tree_leaves

from ssl_seg.augment.view_list import Views

BatchFn = Callable[[int], Sequence[Any]]


class SideStream:
    """Makes batches on a stream of its own; elsewhere than on a GPU it calls `batches`, and that is all.

    Args:
        batches: step -> its micro-batches. It reads nothing that training writes: the two run at the same time.
        device: of the batches.
    """

    def __init__(self, batches: BatchFn, device: torch.device) -> None:
        self._batches = batches
        self._stream: Any = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._made: Any = None
        if self._stream:  # what was made before is there: images that lie on the device
            self._stream.wait_stream(torch.cuda.current_stream(device))

    def __call__(self, step: int) -> Sequence[Any]:
        """The micro-batches of a step, which may not be there yet: see `ready`."""
        if not self._stream:
            return self._batches(step)
        with torch.cuda.stream(self._stream):
            inputs = self._batches(step)
            self._made = self._stream.record_event()
        return inputs

    def ready(self, inputs: Sequence[Any]) -> Sequence[Any]:
        """The same, for the current stream, which waits until they are there; the host does not."""
        if self._stream:
            stream = torch.cuda.current_stream(self._stream.device)
            stream.wait_event(self._made)
            for part in inputs:
                for tensor in part.tensors() if isinstance(part, Views) else tree_leaves(part):
                    if isinstance(tensor, torch.Tensor) and tensor.is_cuda:
                        tensor.record_stream(
                            stream
                        )  # its memory is not used again before this stream has read it
        return inputs
