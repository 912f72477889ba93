"""BatchNorm on a single value per channel."""

import copy

import pytest
import torch
from torch import nn

from ssl_seg.nn.batch_norm import PooledBatchNorm2d, use_pooled_batch_norm


@pytest.fixture
def norm():
    made = PooledBatchNorm2d(4)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in (made.weight, made.bias, made.running_mean, made.running_var):
            tensor.copy_(torch.rand(4, generator=generator) + 0.5)
    return made


def test_a_single_value_is_normalised_as_in_evaluation_and_leaves_no_trace(norm):
    x = torch.randn(1, 4, 1, 1, requires_grad=True)
    before = copy.deepcopy(norm.state_dict())
    found = norm.train()(x)
    torch.testing.assert_close(found, nn.BatchNorm2d.forward(norm.eval(), x))
    assert all(torch.equal(tensor, before[name]) for name, tensor in norm.state_dict().items())
    found.sum().backward()
    torch.testing.assert_close(x.grad.flatten(), norm.weight / (norm.running_var + norm.eps).sqrt())
    assert norm.weight.grad is not None and norm.bias.grad is not None


@pytest.mark.parametrize("shape", [(2, 4, 1, 1), (1, 4, 1, 2), (3, 4, 5, 5)])
def test_more_values_are_torchs_business(norm, shape):
    theirs = nn.BatchNorm2d(4)
    theirs.load_state_dict(norm.state_dict())
    x = torch.randn(shape)
    assert torch.equal(norm(x), theirs(x))
    assert all(torch.equal(tensor, theirs.state_dict()[name]) for name, tensor in norm.state_dict().items())


def test_a_module_learns_to_take_single_images():
    net = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)))
    state, x = copy.deepcopy(net.state_dict()), torch.randn(1, 3, 5, 5)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        net(x)
    use_pooled_batch_norm(net)
    assert torch.isfinite(net(x)).all()
    assert list(net.state_dict()) == list(state)
