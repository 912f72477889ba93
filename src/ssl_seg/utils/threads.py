"""Threads that work beside the one that trains."""

from concurrent.futures import ThreadPoolExecutor

import torch


def side_thread(name: str) -> ThreadPoolExecutor:
    """A pool of one thread, in which PyTorch computes without helper threads.

    OpenMP gives every thread that computes its own helpers, for good. With more helpers than cores, all of them sleep between two
    operations instead of spinning: training on two cores was 1.15 times as slow from the first checkpoint on.
    """
    return ThreadPoolExecutor(1, name, initializer=_compute_alone)


def _compute_alone() -> None:
    from threadpoolctl import threadpool_limits  # comes with scikit-learn

    torch.get_num_threads()  # PyTorch sets the number when a thread first asks for it, or computes
    threadpool_limits(1, user_api="openmp")  # of this thread alone
