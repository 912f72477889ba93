import pytest
import torch

from ssl_seg.methods.simsiam import SimSiam, simsiam_loss
from ssl_seg.nn.layers import global_pool
from ssl_seg.testing import TinyBackbone


def small():
    torch.manual_seed(0)
    return SimSiam(TinyBackbone(), dimensions=20, bottleneck=6).train()


def two_views():
    return list(torch.randn(2, 8, 3, 16, 16, generator=torch.Generator().manual_seed(1)))


def lightly_loss(method, views):
    """The composition of lightly's example."""
    from lightly.loss import NegativeCosineSimilarity

    negative = NegativeCosineSimilarity()
    z0, z1 = (method.projector(global_pool(method.backbone(view))) for view in views)
    p0, p1 = method.predictor(z0), method.predictor(z1)
    return 0.5 * (negative(z0.detach(), p1) + negative(z1.detach(), p0))


def test_loss_and_gradients_equal_lightly():
    mine, theirs, views = small(), small(), two_views()
    ours, other = mine(views)["loss"], lightly_loss(theirs, views)
    torch.testing.assert_close(ours, other, atol=1e-6, rtol=0)
    ours.backward()
    other.backward()
    for (name, a), b in zip(mine.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, atol=1e-6, rtol=1e-4, msg=name)


def test_no_gradient_flows_into_the_projection():
    prediction, projection = torch.randn(2, 5, 4).unbind()
    prediction.requires_grad_()
    projection.requires_grad_()
    simsiam_loss(prediction, projection).backward()
    assert projection.grad is None
    assert bool(prediction.grad.any())


def test_loss_at_its_ends():
    x = torch.randn(6, 5)
    assert simsiam_loss(x, 2.0 * x).item() == pytest.approx(-1.0, abs=1e-6)
    assert simsiam_loss(x, -x).item() == pytest.approx(1.0, abs=1e-6)
