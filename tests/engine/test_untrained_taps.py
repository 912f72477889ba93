"""Taps that images of one size never reach, against gradients."""

import pytest
import torch
from torch import nn

from ssl_seg.base import Model
from ssl_seg.engine.untrained_taps import untrained_taps
from ssl_seg.heads.deeplabv3 import DeepLabV3
from ssl_seg.testing import TinyBackbone


def dead_taps(conv, size):
    """Taps without a gradient, by backpropagation of positive numbers."""
    conv = conv.double()
    nn.init.constant_(conv.weight, 1.0)
    conv(torch.rand(1, 3, size, size, dtype=torch.float64) + 0.5).sum().backward()
    return int((conv.weight.grad[0, 0] == 0).sum())


@pytest.mark.parametrize("size", [1, 2, 3, 6, 7, 12, 13, 19])
@pytest.mark.parametrize(
    "options",
    [
        {"padding": 6, "dilation": 6},
        {"padding": 12, "dilation": 12},
        {"padding": "same", "dilation": 3},
        {"padding": 1, "stride": 2},
        {"padding": 5, "dilation": 3, "stride": 2},
    ],
)
def test_as_many_as_have_no_gradient(size, options):
    conv = nn.Conv2d(3, 2, 3, bias=False, **options)
    found = untrained_taps(conv, size)
    assert sum(each.taps for each in found) == dead_taps(conv, size)
    for each in found:  # the size that is named is enough, and one pixel less is not
        assert dead_taps(nn.Conv2d(3, 2, 3, bias=False, **options), each.size) == 0
        assert dead_taps(nn.Conv2d(3, 2, 3, bias=False, **options), each.size - 1) > 0


def test_deeplabs_published_rates_on_a_small_map():
    model = Model(TinyBackbone(), DeepLabV3([8, 16], [2, 16], 3, width=8, rates=(6, 12, 18)))
    model.backbone = Deep()
    found = untrained_taps(model, 96)
    assert [each.taps for each in found] == [8, 8, 8]  # of 27, three are trained
    assert [each.dilation for each in found] == [6, 12, 18]
    assert max(each.size for each in found) == 304  # 19 cells of 16 pixels
    assert untrained_taps(model, 304) == []


class Deep(nn.Module):
    """One map of stride 16."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 16, stride=16)

    def forward(self, images):
        return [self.conv(images)]


@pytest.mark.parametrize(
    ("stride", "size", "rates"),
    [
        (16, 513, (6, 12, 18)),
        (16, 512, (6, 12, 18)),
        (8, 512, (12, 24, 36)),
        (8, 256, (6, 12, 18)),
        (16, 256, (3, 6, 9)),
        (16, 96, (1, 2, 3)),
        (32, 64, (1, 2, 3)),
    ],
)
def test_rates_follow_the_map(stride, size, rates):
    options = DeepLabV3.options_for([stride], size)
    default = DeepLabV3([12], [stride], 3, width=8).classifier[0].convs
    own = tuple(branch[0].dilation[0] for branch in default[1:-1])
    assert tuple(map(int, options["rates"].split(","))) if options else own == rates
    if size >= 96:
        model = nn.Sequential()
        model.add_module("head", DeepLabV3([3], [1], 3, width=8, rates=rates))
        model.forward = lambda images: model.head([images], images.shape[-2:])
        assert untrained_taps(model, size // stride) == []


def test_modes_and_hooks_are_as_before():
    conv = nn.Sequential(nn.Conv2d(3, 2, 3, padding=2, dilation=2), nn.BatchNorm2d(2)).train()
    before = conv[1].running_mean.clone()
    untrained_taps(conv, 1)
    assert conv.training
    assert torch.equal(conv[1].running_mean, before)
    assert not conv[0]._forward_pre_hooks


def test_frozen_weights_are_not_named_and_nothing_is_computed_for_them():
    frozen = nn.Conv2d(3, 2, 3, padding=6, dilation=6).requires_grad_(False)
    frozen.forward = None  # to call it would fail
    assert untrained_taps(frozen, 6) == []
