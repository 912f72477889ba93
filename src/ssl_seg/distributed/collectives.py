"""What processes that train together tell each other. Alone, each function gives back what it was given.

Process r of R holds the rows r, r + R, r + 2R, ... of every batch.
"""

from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist


def rank_and_world_size() -> tuple[int, int]:
    """The number of this process, from 0, and how many there are."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def all_gather(rows: Tensor) -> Tensor:
    """The rows of all processes, in the order one process would have them: (B / R, ...) -> (B, ...).

    Gradients flow back to the process whose rows they are. A loss over the whole batch (contrast with
    the other images, a spread over them) is computed on what this gives; the gradients of all
    processes are averaged after it, as those of any other loss.
    """
    if rank_and_world_size()[1] == 1:
        return rows
    gathered: Tensor = _Gather.apply(rows)
    return gathered


def local_shard(rows: Tensor) -> Tensor:
    """The part of this process of what `gather` gives: (B, ...) -> (B / R, ...)."""
    rank, ranks = rank_and_world_size()
    return rows[rank::ranks]


def all_reduce_sum(numbers: Tensor) -> Tensor:
    """The sum over all processes, in place; no gradient."""
    if rank_and_world_size()[1] > 1:
        dist.all_reduce(numbers)
    return numbers


def all_reduce_mean(numbers: Tensor) -> Tensor:
    """The mean over all processes; no gradient. Alone, the very same tensor."""
    ranks = rank_and_world_size()[1]
    return numbers if ranks == 1 else all_reduce_sum(numbers.detach().to(torch.float64)) / ranks


def all_reduce_mean_scalar(number: float, device: torch.device) -> float:
    """`average` of a single number; `device` is where numbers are exchanged."""
    if rank_and_world_size()[1] == 1:
        return number
    return float(all_reduce_mean(torch.tensor(number, dtype=torch.float64, device=device)))


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, rows: Tensor) -> Tensor:
        rows = rows.contiguous()
        parts = [torch.empty_like(rows) for _ in range(rank_and_world_size()[1])]
        dist.all_gather(parts, rows)
        return torch.stack(parts, dim=1).flatten(0, 1)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        # every process has its own loss on these rows: what each wants of mine is summed
        return local_shard(all_reduce_sum(gradients[0].clone(memory_format=torch.contiguous_format)))
