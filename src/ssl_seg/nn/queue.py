"""A queue of what earlier batches have shown: more negatives or neighbours than a batch holds."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_seg.distributed.collectives import all_gather
from ssl_seg.utils.autocast import full_precision


class Queue(nn.Module):
    """The newest unit vectors of all processes; full of random ones at the start.

    Call `push` in `training_step` and `advance` in `after_step`: what a step adds is seen by the next one, also
    if the batch is computed in parts, and a checkpoint holds all of it.

    Args:
        size: how many vectors it holds.
        width: of each.

    Attributes:
        rows: (size, width) unit vectors, float32; a buffer.
        count: () int64, how many vectors have been pushed since the start; a buffer.
    """

    rows: Tensor
    count: Tensor

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.register_buffer("rows", F.normalize(torch.randn(size, width), dim=1))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self._pushed: list[Tensor] = []

    @torch.no_grad()
    @full_precision
    def push(self, vectors: Tensor) -> None:
        """Take (B, width) vectors of this process's part of a batch; they are normalised."""
        self._pushed.append(all_gather(F.normalize(vectors, dim=1)))

    @torch.no_grad()
    def advance(self) -> None:
        """Write what was pushed over the oldest rows."""
        if not self._pushed:
            return
        vectors = torch.cat(self._pushed)
        self._pushed.clear()
        size = len(self.rows)
        skipped = max(0, len(vectors) - size)
        offsets = torch.arange(skipped, len(vectors), device=self.rows.device)
        self.rows.index_copy_(0, (self.count + offsets) % size, vectors[skipped:].to(self.rows.dtype))
        self.count += len(vectors)
