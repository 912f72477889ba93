"""How many collectives a training step of ResNet-50 has in two processes, of which the other one is simulated."""

from collections import Counter
from types import SimpleNamespace

import pytest
import torch
from torch import distributed as dist
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils._python_dispatch import TorchDispatchMode

from ssl_seg.backbones.timm import TimmBackbone
from ssl_seg.engine import process_group
from ssl_seg.engine.device import Device
from ssl_seg.methods.byol import BYOL

# 53 norms of the backbone and 2 of the projector, which 2 views pass in 2 networks, and 1 of the predictor
FORWARD = 2 * (2 * 55 + 1)
BACKWARD = 2 * (55 + 1)
BUCKET = 4 * 2**20  # bytes, on a CPU


class Collectives(TorchDispatchMode):
    """While it is entered: collectives by the size of their group."""

    def __init__(self):
        super().__init__()
        self.counts = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.namespace == "c10d":
            groups = [each for each in args if isinstance(each, torch.ScriptObject)]
            self.counts[dist.ProcessGroup.unbox(groups[0]).size()] += 1
        return func(*args, **(kwargs or {}))


@pytest.fixture
def two_processes(monkeypatch):
    """The first of two on two machines; nothing is sent to the other."""
    state = SimpleNamespace(
        num_processes=2, process_index=0, local_process_index=0, device=torch.device("cpu")
    )
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(process_group, "PartialState", lambda **given: state)
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=2)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize(
    ("sync", "norms", "stats"), [("all", FORWARD + BACKWARD, 0), ("node", 0, 1), ("off", 0, 1)]
)
def test_a_step_of_resnet50(two_processes, monkeypatch, sync, norms, stats):
    if sync == "node":  # the other process says that it is the first of another machine
        monkeypatch.setattr(dist, "all_gather", lambda parts, own, group: parts[1].fill_(1))
    device = Device("fp32", cpu=True, sync_batchnorm=sync)
    assert device.world_size == 2
    method = BYOL(TimmBackbone("resnet50"), hidden=16, dimensions=8)
    reduced = []

    def reduce(state, bucket):
        reduced.append(bucket.buffer())
        future = torch.futures.Future()
        future.set_result(bucket.buffer())
        return future

    module, views = device.prepare(method), [torch.randn(2, 3, 32, 32) for _ in range(2)]
    module.register_comm_hook(None, reduce)
    for _ in range(4):  # DDP orders its buckets anew in the third
        reduced.clear()
        with Collectives() as collectives:
            module(views)["loss"].backward()
    assert collectives.counts[2] == norms + stats
    trained = sum(each.numel() for each in method.parameters() if each.requires_grad)
    assert sum(each.numel() for each in reduced) == trained, "each gradient once"
    assert len(reduced) <= 4 * trained / BUCKET + 2, "buckets of gradients"
