"""BYOL against NumPy, lightly, and a second implementation in plain functions."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ssl_seg.engine.optim import build_param_groups
from ssl_seg.methods.byol import BYOL, byol_loss
from ssl_seg.nn.layers import ema_decay_schedule
from ssl_seg.testing import TinyBackbone

DECAY = 0.9


def small(seed=0, **options):
    torch.manual_seed(seed)
    return BYOL(TinyBackbone(), hidden=24, dimensions=10, decay=DECAY, **options).train()


def diverged(seed=0):
    """A BYOL whose target differs from its online network, as after some steps."""
    method = small(seed)
    with torch.no_grad():
        for tensor in [*method.target_backbone.parameters(), *method.target_projector.parameters()]:
            tensor.add_(0.1 * torch.randn_like(tensor))
    return method


def two_views(seed=1, count=12):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(count, 3, 16, 16, generator=generator) for _ in range(2)]


# --- the loss against NumPy -----------------------------------------------------------------------


def numpy_head(head: nn.Sequential, x: np.ndarray) -> np.ndarray:
    """The forward pass of a head in float64, BatchNorm with the statistics of the batch."""
    for part in head:
        if isinstance(part, nn.Linear):
            x = x @ part.weight.detach().double().numpy().T
            if part.bias is not None:
                x = x + part.bias.detach().double().numpy()
        elif isinstance(part, nn.BatchNorm1d):
            x = (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + part.eps)
            if part.affine:
                x = x * part.weight.detach().double().numpy() + part.bias.detach().double().numpy()
        elif isinstance(part, nn.ReLU):
            x = np.maximum(x, 0.0)
        else:
            raise TypeError(f"no reference for {part}")
    return x


def numpy_distance(one: np.ndarray, two: np.ndarray) -> float:
    one = one / np.linalg.norm(one, axis=1, keepdims=True)
    two = two / np.linalg.norm(two, axis=1, keepdims=True)
    return float(np.mean(2.0 - 2.0 * np.sum(one * two, axis=1)))


def numpy_features(backbone: nn.Module, view: torch.Tensor) -> np.ndarray:
    deepest = copy.deepcopy(backbone).double()(view.double())[-1]
    return deepest.detach().numpy().mean(axis=(2, 3))


def test_loss_equals_the_formula_in_numpy():
    method, views = diverged(), two_views()
    online = [numpy_head(method.projector, numpy_features(method.backbone, view)) for view in views]
    predictions = [numpy_head(method.predictor, projection) for projection in online]
    targets = [
        numpy_head(method.target_projector, numpy_features(method.target_backbone, view)) for view in views
    ]
    expected = numpy_distance(predictions[0], targets[1]) + numpy_distance(predictions[1], targets[0])
    loss = method(views)["loss"]
    assert loss.item() == pytest.approx(expected, abs=1e-5)
    one_way = numpy_distance(predictions[0], targets[1])
    assert abs(expected - 2 * one_way) > 1e-3, "the two directions must differ for this test to tell"


def test_loss_equals_lightly():
    from lightly.loss import NegativeCosineSimilarity

    negative, generator = NegativeCosineSimilarity(), torch.Generator().manual_seed(0)
    p0, p1, z0, z1 = torch.randn(4, 32, 16, generator=generator)
    ours = byol_loss(p0, z1) + byol_loss(p1, z0)
    theirs = (2 + 2 * negative(p0, z1)) + (2 + 2 * negative(p1, z0))
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)


def test_loss_at_its_ends():
    x = torch.randn(6, 5)
    assert byol_loss(x, 3.0 * x).item() == pytest.approx(0.0, abs=1e-6)
    assert byol_loss(x, -x).item() == pytest.approx(4.0, abs=1e-6)


# --- the gradient against plain functions ---------------------------------------------------------


def norm(x, w, name):
    return F.batch_norm(x, None, None, w[f"{name}.weight"], w[f"{name}.bias"], training=True)


def plain_backbone(x, w, name):
    x = F.relu(norm(F.conv2d(x, w[f"{name}.one.0.weight"], stride=2, padding=1), w, f"{name}.one.1"))
    x = F.relu(norm(F.conv2d(x, w[f"{name}.two.0.weight"], stride=2, padding=1), w, f"{name}.two.1"))
    return x.flatten(2).mean(dim=2)


def plain_mlp(x, w, name):
    x = F.relu(norm(F.linear(x, w[f"{name}.0.weight"], w.get(f"{name}.0.bias")), w, f"{name}.1"))
    x = F.linear(x, w[f"{name}.3.weight"], w.get(f"{name}.3.bias"))
    return F.batch_norm(x, None, None, training=True) if name.endswith("projector") else x


def plain_byol(w, views):
    unit = [
        F.normalize(plain_mlp(plain_mlp(plain_backbone(v, w, "backbone"), w, "projector"), w, "predictor"))
        for v in views
    ]
    with torch.no_grad():
        target = [
            F.normalize(plain_mlp(plain_backbone(v, w, "target_backbone"), w, "target_projector"))
            for v in views
        ]
    far = [(unit[a] - target[1 - a]).square().sum(dim=1).mean() for a in (0, 1)]
    return far[0] + far[1]


def test_every_gradient_equals_that_of_plain_functions():
    method = diverged().double()
    views = [view.double() for view in two_views()]
    weights = {name: p.detach().clone().requires_grad_() for name, p in method.named_parameters()}
    plain_byol(weights, views).backward()
    method(views)["loss"].backward()
    trained = [(name, p) for name, p in method.named_parameters() if p.requires_grad]
    assert {name.split(".")[0] for name, _ in trained} == {"backbone", "projector", "predictor"}
    for name, parameter in trained:
        assert parameter.grad is not None and bool(parameter.grad.any()), name
        torch.testing.assert_close(parameter.grad, weights[name].grad, atol=1e-10, rtol=1e-7, msg=name)


# --- the target -----------------------------------------------------------------------------------


def target_state(method):
    return {
        f"{part}.{name}": tensor.clone()
        for part in ("backbone", "projector")
        for name, tensor in getattr(method, f"target_{part}").state_dict().items()
    }


def online_state(method):
    state = method.state_dict()
    return {name: state[name].clone() for name in target_state(method)}


def test_the_target_starts_as_a_copy():
    method = small()
    online = online_state(method)
    for name, tensor in target_state(method).items():
        assert torch.equal(tensor, online[name]), name


def test_one_step_moves_the_target_by_the_formula():
    method = diverged()
    optimizer = torch.optim.SGD(build_param_groups(method, 0.0), lr=0.5)
    old = target_state(method)
    method(two_views())["loss"].backward()
    optimizer.step()
    for name, tensor in target_state(method).items():  # nor does a forward pass move running statistics
        assert torch.equal(tensor, old[name]) or not tensor.is_floating_point(), name
    new, decay = online_state(method), ema_decay_schedule(0.25, DECAY)
    method.after_step(0.25)
    moved = target_state(method)
    for name, tensor in moved.items():
        if tensor.is_floating_point():
            expected = old[name].mul(decay).add(new[name], alpha=1.0 - decay)
            assert not torch.equal(old[name], new[name]), f"{name} must have moved for this test to tell"
        else:
            expected = new[name]
            assert int(new[name]) == 2, "one forward pass of each view"
        assert torch.equal(tensor, expected), name


def test_the_last_step_leaves_the_target():
    method = diverged()
    old = target_state(method)
    method.after_step(1.0)
    for name, tensor in target_state(method).items():
        assert torch.equal(tensor, old[name]) or not tensor.is_floating_point(), name


def test_no_gradient_reaches_the_target():
    method = diverged()
    method(two_views())["loss"].backward()
    for name, parameter in method.named_parameters():
        assert (parameter.grad is None) == name.startswith("target_"), name


# --- the decay ------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", [0.5, 0.99, 0.996])
def test_the_decay_rises_along_half_a_cosine_as_in_lightly(start):
    from lightly.utils.scheduler import cosine_schedule

    steps = 50
    ours = [ema_decay_schedule(step / (steps - 1), start) for step in range(steps)]
    assert ours == pytest.approx(
        [cosine_schedule(step, steps, start, 1.0) for step in range(steps)], abs=1e-12
    )
    assert ours[0] == pytest.approx(start, abs=1e-12)
    assert ours[-1] == 1.0
    assert ours == sorted(ours)
