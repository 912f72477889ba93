from types import SimpleNamespace

import pytest
import torch
from torch import nn

from ssl_seg.engine import process_group
from ssl_seg.engine.device import Device, has_bf16
from ssl_seg.errors import DistributedError, UsageError
from ssl_seg.testing import TinyBackbone


def test_the_cpu_can_be_asked_for():
    device = Device("fp32", cpu=True)
    assert device.device.type == "cpu"
    assert (device.rank, device.world_size, device.is_main) == (0, 1, True)
    assert device.peak_memory() == 0
    assert "CPU" in device.describe() and "fp32" in device.describe()


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_precision_is_that_of_matrix_products_and_never_of_weights(precision, dtype):
    device, module = Device(precision, cpu=True), nn.Linear(4, 4)
    placed = device.prepare(module)
    with device.autocast():
        assert placed(torch.randn(2, 4)).dtype == dtype
    assert module.weight.dtype == torch.float32
    assert placed(torch.randn(2, 4)).dtype == torch.float32, "only inside autocast"


@pytest.mark.parametrize(("has", "precision"), [(True, "bf16"), (False, "fp32")])
def test_auto_is_bf16_where_there_are_units_for_it(monkeypatch, has, precision):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: has)
    assert has_bf16(torch.device("cpu")) is has
    assert Device("auto", cpu=True).precision == precision


def test_a_module_keeps_its_parameters_and_becomes_channels_last():
    module = TinyBackbone()
    parameters = list(module.parameters())
    placed = Device("fp32", cpu=True).prepare(module)
    assert placed is module
    assert all(a is b for a, b in zip(parameters, placed.parameters(), strict=True))
    assert module.two[0].weight.is_contiguous(memory_format=torch.channels_last)


def test_backward_adds_to_the_gradients():
    device, weight = Device("fp32", cpu=True), nn.Parameter(torch.ones(2))
    for _ in range(2):
        device.backward((3.0 * weight).sum())
    assert torch.equal(weight.grad, torch.full((2,), 6.0))


def test_one_process_asks_nobody():
    """Nothing of torch.distributed is set up, and numbers and chance stay as they are."""
    device = Device("fp32", cpu=True)
    assert device.all_reduce_max(0, 2.5, True) == [0, 2.5, True]
    assert device.all_reduce_mean(7.0) == [7.0]
    device.assert_equal_across_ranks(3, "anything")
    device.barrier()
    before = torch.get_rng_state()
    device.seed_rank_rng(5)
    assert torch.equal(torch.get_rng_state(), before)
    device.destroy_process_group()
    assert not torch.distributed.is_initialized()


def test_one_of_several_that_cannot_find_the_others(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    alone = SimpleNamespace(num_processes=1)  # what accelerate says on a GPU without LOCAL_RANK
    monkeypatch.setattr(process_group, "PartialState", lambda **given: alone)
    with pytest.raises(UsageError, match="process group of 2 processes could not be initialized") as caught:
        Device("fp32")
    assert "torchrun" in caught.value.next


@pytest.mark.parametrize(
    ("trouble", "kind"),
    [(ValueError("MASTER_ADDR expected"), UsageError), (RuntimeError("timeout"), DistributedError)],
)
def test_what_keeps_processes_apart_is_told(monkeypatch, trouble, kind):
    def join(**given):
        raise trouble

    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(process_group, "PartialState", join)
    with pytest.raises(kind, match=f"could not be initialized.*{trouble}"):
        Device("fp32", cpu=True)
