"""Several ranks in one process: threads with a simulated `torch.distributed`."""

import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from unittest import mock

import torch
from torch import Tensor
from torch import distributed as dist

T = TypeVar("T")

_REDUCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "sum": lambda parts: parts.sum(dim=0),
    "avg": lambda parts: parts.mean(dim=0),
    "max": lambda parts: parts.amax(dim=0),
    "min": lambda parts: parts.amin(dim=0),
    "product": lambda parts: parts.prod(dim=0),
}


class UnevenRanks(Exception):
    """The ranks do not call the same collectives."""


class _Done:
    """Result of an asynchronous collective, already complete."""

    def wait(self, timeout: Any = None) -> bool:
        return True


class SimulatedRanks:
    """Run functions as the ranks of one job, one thread per rank.

    Inside, `is_initialized`, `get_rank`, `get_world_size`, `all_reduce`, `all_gather`, `all_gather_into_tensor`,
    `broadcast` and `barrier` of `torch.distributed` connect these threads. Nothing else is simulated.

    Args:
        world_size: number of ranks.
        timeout: seconds to wait for the other ranks.
    """

    def __init__(self, world_size: int, *, timeout: float = 60.0) -> None:
        self.world_size = world_size
        self._local = threading.local()
        self._timeout, self._barrier = timeout, threading.Barrier(world_size)
        self._posted: list[tuple[str, Tensor]] = [("", torch.empty(0))] * world_size

    def run(self, function: Callable[[int], T]) -> list[T]:
        """Call `function(rank)` in every rank; the results by rank.

        Raises:
            UnevenRanks: the ranks do not call the same collectives. Otherwise the exception of the first rank.
        """
        found: dict[int, T] = {}
        errors: dict[int, BaseException] = {}

        def rank_main(rank: int) -> None:
            self._local.rank = rank
            try:
                found[rank] = function(rank)
            except BaseException as error:  # passed on below
                errors[rank] = error
                self._barrier.abort()

        with mock.patch.multiple(dist, **self._replacements()):
            threads = [threading.Thread(target=rank_main, args=(rank,)) for rank in range(self.world_size)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        if errors:
            own = [error for error in errors.values() if not isinstance(error, threading.BrokenBarrierError)]
            raise own[0] if own else UnevenRanks("not all ranks call the same collective")
        return [found[rank] for rank in range(self.world_size)]

    def _replacements(self) -> dict[str, Any]:
        ours: dict[str, Callable[..., Any]] = {
            "is_initialized": lambda: True,
            "get_rank": lambda group=None: self._local.rank,
            "get_world_size": lambda group=None: self.world_size,
            "get_backend": lambda group=None: "gloo",
            "all_reduce": self._all_reduce,
            "all_gather": self._all_gather,
            "all_gather_into_tensor": self._all_gather_into_tensor,
            "broadcast": self._broadcast,
            "barrier": lambda *args, **options: self._exchange("barrier", torch.empty(0)),
        }
        return {name: self._in_ranks(function, getattr(dist, name)) for name, function in ours.items()}

    def _in_ranks(self, ours: Callable[..., Any], original: Callable[..., Any]) -> Callable[..., Any]:
        """Ours in the threads of the ranks, the original in all others."""
        return lambda *args, **options: (ours if hasattr(self._local, "rank") else original)(*args, **options)

    def _exchange(self, name: str, tensor: Tensor) -> list[Tensor]:
        """The tensors of all ranks.

        Raises:
            UnevenRanks: another rank calls another collective.
        """
        self._posted[self._local.rank] = (name, tensor.detach().clone())
        self._barrier.wait(self._timeout)
        posted = list(self._posted)
        self._barrier.wait(self._timeout)  # before anybody posts the next one
        if len({(each, part.shape) for each, part in posted}) > 1:
            raise UnevenRanks(
                f"the ranks call different collectives: {' and '.join(sorted({each for each, _ in posted}))}"
            )
        return [part for _, part in posted]

    def _all_reduce(
        self, tensor: Tensor, op: Any = dist.ReduceOp.SUM, group: Any = None, async_op: bool = False
    ) -> _Done | None:
        name = str(op).rpartition(".")[2].lower()
        tensor.detach().copy_(_REDUCTIONS[name](torch.stack(self._exchange("all_reduce", tensor))))
        return _Done() if async_op else None

    def _all_gather(
        self, tensors: Sequence[Tensor], tensor: Tensor, group: Any = None, async_op: bool = False
    ) -> _Done | None:
        for own, part in zip(tensors, self._exchange("all_gather", tensor), strict=True):
            own.detach().copy_(part)
        return _Done() if async_op else None

    def _all_gather_into_tensor(
        self, output: Tensor, tensor: Tensor, group: Any = None, async_op: bool = False
    ) -> _Done | None:
        parts = torch.stack(self._exchange("all_gather_into_tensor", tensor))
        output.detach().copy_(parts.reshape(output.shape))
        return _Done() if async_op else None

    def _broadcast(
        self, tensor: Tensor, src: int = 0, group: Any = None, async_op: bool = False
    ) -> _Done | None:
        tensor.detach().copy_(self._exchange("broadcast", tensor)[src])
        return _Done() if async_op else None
