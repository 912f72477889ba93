"""Alone, what processes tell each other is what they were given."""

import torch

from ssl_seg.distributed.collectives import (
    all_gather,
    all_reduce_mean,
    all_reduce_sum,
    local_shard,
    rank_and_world_size,
)


def test_alone_everything_stays_as_it_is():
    rows = torch.randn(4, 3, requires_grad=True)
    assert rank_and_world_size() == (0, 1)
    assert all_gather(rows) is rows and all_reduce_mean(rows) is rows and all_reduce_sum(rows) is rows
    assert torch.equal(local_shard(rows), rows)
