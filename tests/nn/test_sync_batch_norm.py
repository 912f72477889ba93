"""BatchNorm over processes, which threads stand for."""

import copy
from unittest import mock

import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import nn

from ssl_seg.errors import PluginError
from ssl_seg.nn import sync_batch_norm as module
from ssl_seg.nn.batch_norm import PooledBatchNorm2d
from ssl_seg.nn.sync_batch_norm import average_running_stats, convert_sync_batchnorm
from ssl_seg.testing.ranks import SimulatedRanks


def test_synchronised_norms_stay_what_they_are():
    """Tensors, names and what a subclass does beside normalising; alone, the numbers too."""
    act = BatchNormAct2d(4)  # timm's: a norm with its activation
    net = nn.Sequential(nn.BatchNorm2d(4), act, PooledBatchNorm2d(4), nn.Flatten(), nn.BatchNorm1d(36))
    state, twin = copy.deepcopy(net.state_dict()), copy.deepcopy(net)
    parameters = list(net.parameters())
    convert_sync_batchnorm(net)
    convert_sync_batchnorm(net)
    assert all(a is b for a, b in zip(parameters, net.parameters(), strict=True))
    assert list(net.state_dict()) == list(state)
    assert isinstance(net[1], BatchNormAct2d) and isinstance(net[2], PooledBatchNorm2d)
    for mode in (True, False):
        x = torch.randn(5, 4, 3, 3)
        assert torch.equal(net.train(mode)(x), twin.train(mode)(x))
    for name, tensor in twin.state_dict().items():
        assert torch.equal(net.state_dict()[name], tensor)


# what torch's kernels for a GPU compute, on the CPU: (N, C, H, W), statistics of each channel


def _over(x, values):
    return values.view(1, -1, 1, 1).to(x)


def batch_norm_stats(input, eps):
    variance, mean = torch.var_mean(input, [0, 2, 3], correction=0)
    return mean, (variance + eps).rsqrt()


def batch_norm_gather_stats_with_counts(input, mean, scale, running_mean, running_var, momentum, eps, counts):
    assert mean.shape == scale.shape == (len(counts), input.shape[1])
    counts = counts[:, None]
    whole = (mean * counts).sum(0) / counts.sum()
    squares = ((scale**-2 - eps + (mean - whole) ** 2) * counts).sum(0)
    running_mean.lerp_(whole, momentum)
    running_var.lerp_(squares / (counts.sum() - 1), momentum)
    return whole, (squares / counts.sum() + eps).rsqrt()


def batch_norm_elemt(input, weight, bias, mean, scale, eps):
    return (input - _over(input, mean)) * _over(input, scale * weight) + _over(input, bias)


def batch_norm_backward_reduce(gradient, input, mean, scale, weight, *needs):
    centred = gradient * (input - _over(input, mean))
    sums = gradient.sum([0, 2, 3]), centred.sum([0, 2, 3])
    return *sums, sums[1] * scale, sums[0]


def batch_norm_backward_elemt(gradient, input, mean, scale, weight, sum_dy, sum_dy_xmu, counts):
    unit = (input - _over(input, mean)) * _over(input, scale**2)
    total = counts.sum()
    rest = gradient - _over(input, sum_dy / total) - unit * _over(input, sum_dy_xmu / total)
    return rest * _over(input, scale * weight)


KERNELS = [
    *(batch_norm_stats, batch_norm_gather_stats_with_counts, batch_norm_elemt),
    *(batch_norm_backward_reduce, batch_norm_backward_elemt),
]


def norm_and_images():
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(4).double()
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return norm, torch.randn(6, 4, 3, 3).double() * 2 + 1


def results(norm, images):
    images = images.clone().requires_grad_()
    out = norm(images)
    (out * torch.linspace(-1, 1, out.numel() // len(out)).view_as(out[0])).square().sum().backward()
    return [out.detach(), images.grad, norm.weight.grad, norm.bias.grad, norm.running_mean, norm.running_var]


@pytest.mark.parametrize("kernels", [False, True], ids=["plain", "of a GPU"])
def test_two_processes_normalise_as_one(kernels, monkeypatch):
    norm, images = norm_and_images()
    twins = [copy.deepcopy(norm) for _ in range(2)]
    for twin in twins:
        convert_sync_batchnorm(twin)
    if kernels:
        monkeypatch.setattr(module, "_AnyBatchNorm", module._CudaBatchNorm)
        for each in KERNELS:
            monkeypatch.setattr(torch, each.__name__, each)
    parts = SimulatedRanks(2).run(lambda rank: results(twins[rank], images[rank::2]))
    out, of_images, *of_parameters, mean, variance = results(norm, images)
    for rank, part in enumerate(parts):
        torch.testing.assert_close(part[0], out[rank::2])
        torch.testing.assert_close(part[1], of_images[rank::2])
        torch.testing.assert_close(part[4:], [mean, variance])
    for which, gradient in enumerate(of_parameters, start=2):
        torch.testing.assert_close(parts[0][which] + parts[1][which], gradient)


def test_the_number_of_values_is_compared_once():
    norms = [nn.BatchNorm2d(4) for _ in range(2)]
    for norm in norms:
        convert_sync_batchnorm(norm)
    with pytest.raises(PluginError, match="values per channel here, 18 to 27 elsewhere"):
        SimulatedRanks(2).run(lambda rank: norms[rank](torch.randn(3 - rank, 4, 3, 3)))
    calls = mock.Mock(wraps=module._check_counts)
    with mock.patch.object(module, "_check_counts", calls):
        norm = nn.BatchNorm2d(4)
        convert_sync_batchnorm(norm)
        for _ in range(3):
            norm(torch.randn(2, 4, 3, 3))
    assert calls.call_count == 1


def test_running_statistics_may_be_averaged_before_the_backward_pass():
    norms = [nn.BatchNorm1d(4) for _ in range(2)]

    def step(rank):
        out = norms[rank](torch.randn(5, 4))
        average_running_stats(norms[rank])
        out.square().sum().backward()

    SimulatedRanks(2).run(step)
    assert torch.equal(norms[0].running_mean, norms[1].running_mean)
    assert norms[0].weight.grad is not None


def test_running_statistics_become_their_mean():
    norms = [nn.Sequential(nn.BatchNorm2d(4), nn.BatchNorm1d(2), nn.BatchNorm2d(3)) for _ in range(2)]
    for rank, norm in enumerate(norms):
        norm[1].momentum = 0.0  # an EMA target
        norm[2].eval()
        for part in norm:
            part.running_mean.fill_(rank)
            part.running_var.fill_(4.0 * rank)
    SimulatedRanks(2).run(lambda rank: average_running_stats(norms[rank]))
    for rank, norm in enumerate(norms):
        assert norm[0].running_mean.tolist() == [0.5] * 4 and norm[0].running_var.tolist() == [2.0] * 4
        for part in norm[1:]:
            assert (part.running_mean == rank).all() and (part.running_var == 4 * rank).all()
