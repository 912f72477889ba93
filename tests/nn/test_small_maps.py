"""Gradients of strided convolutions of tiny maps in bfloat16."""

import copy

import pytest
import torch
from torch import nn

from ssl_seg.engine.device import Device
from ssl_seg.nn.small_maps import pad_small_maps


@pytest.mark.parametrize(
    ("kernel", "padding", "stride"), [(3, 1, 2), (5, 2, 2), (7, 3, 2), (7, 3, 4), (1, 0, 2)]
)
@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (4, 1), (2, 2)])
def test_gradients_in_bfloat16_are_those_of_float32(kernel, padding, stride, shape):
    torch.manual_seed(0)
    device = Device("bf16", cpu=True)
    plain = nn.Sequential(nn.Conv2d(24, 32, kernel, stride, padding))
    padded = copy.deepcopy(plain)
    device.to_device(padded)
    images = torch.randn(8, 24, *shape)
    wanted = plain(images)
    way = torch.randn_like(wanted)
    wanted.backward(way)
    for _ in range(20):
        junk = [torch.full((2**size,), float("nan")) for size in range(10, 18)]
        del junk  # what is not written holds this
        padded.zero_grad()
        with device.autocast():
            given = padded(images)
        assert given.shape == wanted.shape
        given.backward(way.to(given.dtype))
        torch.testing.assert_close(padded[0].weight.grad, plain[0].weight.grad, rtol=0.05, atol=0.1)


def test_padding_changes_no_output_and_is_added_once():
    network = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 1, 1))
    images = torch.randn(2, 3, 1, 1)
    before = network(images)
    pad_small_maps(network)
    pad_small_maps(network)
    assert [len(conv._forward_pre_hooks) for conv in network] == [1, 0]
    torch.testing.assert_close(network(images), before)
