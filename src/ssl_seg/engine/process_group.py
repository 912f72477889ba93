"""The process group of the processes that a launcher started together, and those of one machine.

Only this file and `loggers.py` use Accelerate, which finds the device and connects the processes of
`accelerate launch`, `torchrun` or `srun`.
"""

import warnings
from datetime import timedelta
from typing import Any

import torch
from accelerate.state import PartialState
from torch import distributed as dist

from ssl_seg.distributed.launcher import set_env_from_slurm, world_size_from_env
from ssl_seg.errors import DistributedError, UsageError
from ssl_seg.utils.timeout import timeout_seconds


def timeout() -> timedelta:
    """The timeout of a collective."""
    return timedelta(seconds=timeout_seconds())


def join_processes(cpu: bool) -> PartialState:
    """Initialize the process group of the processes that a launcher started together.

    Raises:
        UsageError: it is one of several and cannot find the others. DistributedError: they have not come.
    """
    count = world_size_from_env()
    if count == 1:
        return PartialState(cpu=cpu)
    set_env_from_slurm()
    apart = f"process group of {count} processes could not be initialized"
    way = "torchrun --nproc-per-node 2 -m ssl_seg train ..."
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it tells how it shares the cores, which is as it should be
            state = PartialState(cpu=cpu or not torch.cuda.is_available(), timeout=timeout())
    except ValueError as error:
        raise UsageError(f"{apart}: {error}", next=way) from error
    except RuntimeError as error:
        raise DistributedError(f"{apart}: {str(error).splitlines()[0]}") from error
    if state.num_processes != count:
        missing = "RANK, LOCAL_RANK, WORLD_SIZE, MASTER_ADDR or MASTER_PORT is missing in the environment"
        raise UsageError(apart, where=missing, next=way)
    return state


def node_group(local_rank: int, exchange: Any) -> Any:
    """The process group of this process's machine; all processes must call it.

    Args:
        local_rank: of this process on its machine, whose ranks follow each other.
        exchange: a group of all processes, for numbers on the CPU; None: the default one.
    """
    first = torch.tensor(dist.get_rank() - local_rank)
    firsts = [torch.empty_like(first) for _ in range(dist.get_world_size())]
    dist.all_gather(firsts, first, exchange)
    found = [int(each) for each in firsts]
    ranks = [[rank for rank, its in enumerate(found) if its == each] for each in sorted(set(found))]
    groups = [dist.new_group(each, timeout=timeout()) for each in ranks]
    return next(group for group, each in zip(groups, ranks, strict=True) if dist.get_rank() in each)
