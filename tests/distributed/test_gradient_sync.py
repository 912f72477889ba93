"""How often gradients are averaged, counted in a group of one process."""

from datetime import timedelta

import pytest
import torch
from torch import distributed as dist
from torch import nn

from ssl_seg.distributed.collectives import GradientSync, start_all_reduce_max, wrap_in_ddp

PARTS = 4


@pytest.fixture
def group():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def train(sync_of, steps=5):
    """Weights after some steps, and how often gradients were averaged in each."""
    torch.manual_seed(0)
    module, counts = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1)), []
    ddp = wrap_in_ddp(module)

    def hook(state, bucket):
        counts[-1] += 1
        return dist.all_reduce(bucket.buffer(), async_op=True).get_future().then(lambda f: f.value()[0])

    ddp.register_comm_hook(None, hook)
    optimizer, sync = torch.optim.SGD(module.parameters(), 0.1), sync_of(ddp)
    for _ in range(steps):
        counts.append(0)
        for part in range(PARTS):
            with sync(last=part + 1 == PARTS):
                loss = ddp(torch.randn(5, 3)).square().mean() / PARTS
            loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return torch.cat([p.detach().flatten() for p in module.parameters()]), counts


def test_a_batch_in_parts_is_averaged_once(group):
    once, counts = train(GradientSync)
    assert counts == [PARTS, 1, 1, 1, 1], "in the first step DDP learns which parameters have gradients"
    always, before = train(lambda ddp: GradientSync())
    assert before == [PARTS] * 5
    assert torch.equal(once, always)


def test_an_answer_is_read_later(group):
    ask = start_all_reduce_max([3, 0.5, True], None, timedelta(seconds=10))
    assert ask() == [3, 0.5, 1.0]
