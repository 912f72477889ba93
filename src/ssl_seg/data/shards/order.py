"""The order of images in shards: random, and yet read almost in sequence.

Shards come in a random order, and the images of a few neighbouring shards, a window, are mixed. Both permutations are
functions of (seed, epoch), so any part of the order can be asked for. A window of all shards is the order of
`stateless_rng.permutation`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ssl_seg.augment.stateless_rng import permutation

WINDOW = 32  # shards: 8 GB, if they have the usual length


class WindowedOrder:
    """The order of the images of one epoch.

    Args:
        lengths: number of images of each shard; images are numbered shard by shard.
        seed, epoch: fix the order.
        window: number of shards whose images are mixed.
    """

    def __init__(self, lengths: Sequence[int], seed: int, epoch: int, *, window: int = WINDOW) -> None:
        self._seed, self._epoch, self._window = seed, epoch, window
        count = torch.tensor(lengths)
        self._is_mixed = window >= len(count)
        order = permutation(seed, epoch, len(count))
        self._first = (count.cumsum(0) - count)[order]  # first image of the shards, in the order of the epoch
        self._ends = count[order].cumsum(0)  # positions at which they end
        self._total = int(count.sum())

    def __call__(self, positions: Tensor) -> Tensor:
        """(B,) int64 positions in the epoch -> (B,) int64 images."""
        if self._is_mixed:
            return permutation(self._seed, self._epoch, self._total, positions)
        windows = torch.searchsorted(self._ends, positions, right=True) // self._window
        images = torch.empty_like(positions)
        for window in windows.unique().tolist():
            inside = windows == window
            images[inside] = self._images(window, positions[inside])
        return images

    def _images(self, window: int, positions: Tensor) -> Tensor:
        """Images of one window: its positions are permuted, then looked up in its shards."""
        before = window * self._window
        start = int(self._ends[before - 1]) if before else 0
        stop = int(self._ends[min(before + self._window, len(self._ends)) - 1])
        seed = self._seed ^ (window + 1) << 32  # another permutation in each window
        mixed = start + permutation(seed, self._epoch, stop - start, positions - start)
        shard = torch.searchsorted(self._ends, mixed, right=True)
        offset = mixed - torch.where(shard > 0, self._ends[(shard - 1).clamp(min=0)], 0)
        return self._first[shard] + offset
