import numpy as np
import pytest
import torch

from ssl_seg.methods.simclr import SimCLR, nt_xent
from ssl_seg.nn.layers import global_pool
from ssl_seg.testing import TinyBackbone


def pairs(count, width=16, seed=0):
    return torch.randn(2, count, width, generator=torch.Generator().manual_seed(seed))


def numpy_nt_xent(one, two, temperature):
    """Equation 1 of the paper, term by term."""
    z = np.concatenate([one, two]).astype(np.float64)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    count, terms = len(one), []
    for i in range(2 * count):
        j = (i + count) % (2 * count)
        others = [np.exp(z[i] @ z[k] / temperature) for k in range(2 * count) if k != i]
        terms.append(-np.log(np.exp(z[i] @ z[j] / temperature) / np.sum(others)))
    return float(np.mean(terms))


@pytest.mark.parametrize("temperature", [0.07, 0.2, 0.5, 1.0])
@pytest.mark.parametrize("count", [1, 2, 7, 32])
def test_loss_equals_lightly_and_the_paper(count, temperature):
    from lightly.loss import NTXentLoss

    one, two = pairs(count)
    ours = nt_xent(one, two, temperature)
    theirs = NTXentLoss(temperature=temperature, memory_bank_size=0)(one, two)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    assert ours.item() == pytest.approx(numpy_nt_xent(one.numpy(), two.numpy(), temperature), abs=1e-5)


def test_gradient_equals_lightly():
    from lightly.loss import NTXentLoss

    mine, theirs = pairs(9).requires_grad_(), pairs(9).requires_grad_()
    nt_xent(*mine, 0.2).backward()
    NTXentLoss(temperature=0.2)(*theirs).backward()
    torch.testing.assert_close(mine.grad, theirs.grad, atol=1e-6, rtol=1e-5)


def test_loss_takes_half_precision():
    one, two = pairs(8).bfloat16()
    loss = nt_xent(one, two, 0.1)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, nt_xent(one.float(), two.float(), 0.1))


def test_the_step_applies_the_loss_to_the_projections_of_both_views():
    torch.manual_seed(0)
    method = SimCLR(TinyBackbone(), hidden=12, dimensions=6, temperature=0.3).train()
    views = list(torch.randn(2, 8, 3, 16, 16))
    one, two = (method.projector(global_pool(method.backbone(view))) for view in views)
    out = method(views)
    expected = numpy_nt_xent(one.detach().numpy(), two.detach().numpy(), 0.3)
    assert out["loss"].item() == pytest.approx(expected, abs=1e-5)
    torch.testing.assert_close(out["embedding"], one)
