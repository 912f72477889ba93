"""Heads that classify, against the layers they are made of."""

import pytest
import torch
from torch import nn

from ssl_seg.base import Model
from ssl_seg.heads.linear import Linear
from ssl_seg.heads.mlp import MLP
from ssl_seg.testing import TinyBackbone, check_head

LEVELS = ([8, 16], [2, 4])


@pytest.mark.parametrize("head", [Linear, MLP])
def test_the_contract(head):
    check_head(head)


def test_linear_is_a_normalised_mean_and_one_layer():
    torch.manual_seed(0)
    head = Linear(*LEVELS, 5)
    maps = [torch.randn(6, 8, 4, 4), 3.0 * torch.randn(6, 16, 2, 2) + 1.0]
    mean = maps[1].mean((2, 3))
    scaled = (mean - mean.mean(0)) / (mean.var(0, unbiased=False) + 1e-5).sqrt()
    expected = scaled @ head.linear.weight.T + head.linear.bias
    torch.testing.assert_close(head(maps, (8, 8)), expected, atol=1e-5, rtol=1e-5)


def test_linear_without_norm_is_torchs_layer():
    head = Linear(*LEVELS, 5, norm=False)
    maps = [torch.empty(0), torch.randn(3, 16, 2, 2)]
    assert torch.equal(head(maps, (8, 8)), head.linear(maps[1].mean((2, 3))))
    assert [name for name, _ in head.named_parameters()] == ["linear.weight", "linear.bias"]


@pytest.mark.parametrize("head", [Linear, MLP])
def test_pooled_features_stand_for_their_images(head):
    torch.manual_seed(0)
    model = Model(TinyBackbone(), head(*LEVELS, 5)).eval()
    images = torch.randn(7, 3, 32, 32)
    pooled = model.backbone(images)[-1].mean((2, 3))
    assert model.head.pools
    torch.testing.assert_close(model.head([pooled[:, :, None, None]], (1, 1)), model(images))


def test_options():
    assert isinstance(Linear(*LEVELS, 5, dropout=0.5).dropout, nn.Dropout)
    layers = [part for part in MLP(*LEVELS, 5, hidden=32, layers=3).net if isinstance(part, nn.Linear)]
    assert [layer.out_features for layer in layers] == [32, 32, 5]
