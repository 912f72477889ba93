import inspect

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lightly.loss import TiCoLoss
from ssl_seg_tico import TiCo, second_moment, ssl_methods, tico_loss

from ssl_seg.testing import TinyBackbone, TinyTokens, check_method

SMALL = {"hidden": 16, "dimensions": 8}


def small():
    torch.manual_seed(0)
    return TiCo(TinyBackbone(), **SMALL).train()


def two_views(seed=0, count=12):
    return list(torch.randn(2, count, 3, 16, 16, generator=torch.Generator().manual_seed(seed)))


@pytest.mark.parametrize("backbone", [TinyBackbone, TinyTokens])
def test_it_keeps_the_contract(backbone):
    check_method(lambda net: TiCo(net, **SMALL), backbone=backbone)


def test_the_loss_equals_its_formula():
    points, targets = F.normalize(torch.randn(2, 6, 5), dim=2)
    covariance = torch.randn(5, 5)
    covariance = covariance @ covariance.T
    z, t, c = (each.double().numpy() for each in (points, targets, covariance))
    terms = [1.0 - z[i] @ t[i] + 8.0 * z[i] @ c @ z[i] for i in range(6)]
    assert tico_loss(points, targets, covariance, 8.0)["loss"].item() == pytest.approx(
        np.mean(terms), rel=1e-5
    )


def test_training_is_that_of_lightly():
    """Losses, gradients and the covariance, over several steps."""
    method, theirs = small(), TiCoLoss()
    optimizer = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=0.1)
    for step in range(4):
        views = two_views(step)
        points = method.projector(method.backbone.summary(views[0]))
        targets = method.target_projector(method.target_backbone.summary(views[1]))
        expected = theirs(points, targets)
        (gradient,) = torch.autograd.grad(expected, method.projector[0].weight)
        loss = method(views)["loss"]
        optimizer.zero_grad()
        loss.backward()
        torch.testing.assert_close(loss, expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(method.projector[0].weight.grad, gradient, atol=1e-6, rtol=1e-4)
        optimizer.step()
        method.after_step(step / 4)
        torch.testing.assert_close(method.covariance, theirs.C, atol=1e-6, rtol=1e-5)


def test_the_covariance_is_that_of_all_processes(monkeypatch):
    here, there = F.normalize(torch.randn(2, 6, 5), dim=2)
    monkeypatch.setattr("ssl_seg_tico.all_gather", lambda rows: torch.cat([rows, there]))
    expected = (here.T @ here + there.T @ there) / 12
    torch.testing.assert_close(second_moment(here), expected)


def test_parts_of_a_batch_move_the_covariance_once():
    method, views = small(), two_views()
    method.eval()  # BatchNorm would take its statistics from the parts
    for rows in (slice(0, 6), slice(6, 12)):
        method([view[rows] for view in views])
    method.after_step(0.5)
    points = F.normalize(method.projector(method.backbone.summary(views[0])), dim=1)
    torch.testing.assert_close(method.covariance, 0.1 * points.T @ points / 12, atol=1e-6, rtol=1e-5)


def test_its_defaults_are_those_of_the_authors():
    ours = {name: p.default for name, p in inspect.signature(TiCo).parameters.items()}
    loss = inspect.signature(TiCoLoss).parameters
    assert (ours["beta"], ours["rho"]) == (loss["beta"].default, loss["rho"].default)


def test_it_is_registered_by_its_name():
    assert ssl_methods() == {"tico": TiCo}
