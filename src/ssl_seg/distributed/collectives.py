"""Collective operations of processes that train together. In a single process each returns its argument.

Process r of R holds the rows r, r + R, r + 2R, ... of every batch.
"""

import inspect
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist


def rank_and_world_size() -> tuple[int, int]:
    """The rank of this process and the number of processes."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def all_gather(rows: Tensor) -> Tensor:
    """Gather the rows of all processes, in the order of a single process: (B / R, ...) -> (B, ...).

    Gradients flow back to the process that owns the rows. A loss over the whole batch (contrast with
    other images, variance over images) is computed on the result; the gradients of all processes are
    averaged afterwards, as for any other loss.
    """
    if rank_and_world_size()[1] == 1:
        return rows
    gathered: Tensor = _Gather.apply(rows)
    return gathered


def local_shard(rows: Tensor) -> Tensor:
    """This process's rows of what `all_gather` returns: (B, ...) -> (B / R, ...)."""
    rank, world_size = rank_and_world_size()
    return rows[rank::world_size]


def all_reduce_sum(numbers: Tensor) -> Tensor:
    """Sum over all processes, in place; no gradient."""
    if rank_and_world_size()[1] > 1:
        dist.all_reduce(numbers)
    return numbers


def all_reduce_mean(numbers: Tensor) -> Tensor:
    """Mean over all processes; no gradient. In a single process, the same tensor."""
    world_size = rank_and_world_size()[1]
    if world_size == 1:
        return numbers
    return all_reduce_sum(numbers.detach().to(torch.float64)) / world_size


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, rows: Tensor) -> Tensor:
        rows = rows.contiguous()
        parts = [torch.empty_like(rows) for _ in range(rank_and_world_size()[1])]
        dist.all_gather(parts, rows)
        return torch.stack(parts, dim=1).flatten(0, 1)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        # every process has a loss on these rows: the gradients for this process's rows are summed
        return local_shard(all_reduce_sum(gradients[0].clone(memory_format=torch.contiguous_format)))


gather = all_gather  # deprecated: the name in version 0.1.0, which plugins import


def wrap_in_ddp(module: nn.Module) -> nn.Module:
    """Wrap a module so that its gradients are averaged over all processes."""
    from torch.nn.parallel import DistributedDataParallel

    # two BatchNorm passes before one backward forbid copying buffers between processes
    known = inspect.signature(DistributedDataParallel).parameters
    buffers = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    # the output of many backbones' last norm is unused: the first step finds the parameters without a gradient
    options: dict[str, Any] = {buffers: False, "static_graph": True, "gradient_as_bucket_view": True}
    if all(parameter.device.type == "cpu" for parameter in module.parameters()):
        options["bucket_cap_mb"] = 4  # the last one is averaged after the backward pass, and gloo is slow
    return DistributedDataParallel(module, **options)


class GradientSync:
    """When gradients are averaged over processes: once a step, however many parts a batch is computed in.

    Args:
        ddp: what `wrap_in_ddp` has returned; None: there is nothing to average.
    """

    def __init__(self, ddp: Any = None) -> None:
        self._ddp, self._is_first_step = ddp, True

    def __call__(self, *, last: bool) -> AbstractContextManager[Any]:
        """The context of the forward pass of a part of a batch, which may be the last one.

        In the first step gradients are averaged part by part: DDP learns from it which parameters have any.
        """
        skips = self._ddp is not None and not (last or self._is_first_step)
        self._is_first_step = self._is_first_step and not last
        return self._ddp.no_sync() if skips else nullcontext()


def start_all_reduce_max(
    numbers: Sequence[float], group: Any, timeout: timedelta
) -> Callable[[], list[float]]:
    """Start to find the largest of each number in all processes; call the result for the answer."""
    shared = torch.tensor(numbers, dtype=torch.float64)
    work = dist.all_reduce(shared, dist.ReduceOp.MAX, group=group, async_op=True)

    def answer() -> list[float]:
        work.wait(timeout)
        found: list[float] = shared.tolist()
        return found

    return answer
