"""Threads beside the one that trains."""

import pytest
import torch

from ssl_seg.engine.checkpoint_writer import CheckpointWriter
from ssl_seg.utils.threads import side_thread


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    "made", [lambda: side_thread("beside"), lambda: CheckpointWriter()._pool], ids=["a pool", "checkpoints"]
)
def test_pytorch_computes_in_a_side_thread_without_helpers(two_threads, made):
    """With helpers of its own there, OpenMP slows down those of training."""

    def computed():
        torch.ones(1_000_000).exp_()  # PyTorch sets the number of threads at the first operation
        return torch.get_num_threads()

    with made() as pool:
        assert pool.submit(computed).result() == 1
    assert torch.get_num_threads() == 2
