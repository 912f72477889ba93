"""PixPro against NumPy, and its pairs against a picture of coordinates."""

import numpy as np
import pytest
import torch

from ssl_seg.augment.recipes import View
from ssl_seg.augment.views import augment
from ssl_seg.errors import PluginError, UsageError
from ssl_seg.methods.pixpro import PixPro, consistency, near, propagate
from ssl_seg.testing import TinyBackbone, check_method

TURNING = View(scale=(0.3, 0.9), flip_x_p=0.5, flip_y_p=0.5, turn_p=0.5)


def points(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def views_of(recipe, count=6):
    return augment(torch.zeros(count, 3, 40, 40, dtype=torch.uint8), recipe, seed=2, size=16)


@pytest.mark.parametrize("options", [{}, {"level": 0, "instance": 1.0}, {"instance": 1.0}])
def test_the_contract(options):
    check_method(lambda backbone: PixPro(backbone, hidden=12, dimensions=6, **options))


def test_maps_that_nothing_would_train_are_refused():
    with pytest.raises(UsageError, match="nothing would train"):
        PixPro(TinyBackbone(), level=0)
    PixPro(TinyBackbone(), level=1)


def test_plain_tensors_are_refused():
    method = PixPro(TinyBackbone(), hidden=12, dimensions=6)
    with pytest.raises(PluginError, match="know their boxes"):
        method(list(points(2, 4, 3, 16, 16)))


def test_pairs_are_near_in_the_image():
    views = views_of([TURNING, TURNING])
    pairs = near(views, 0, 1, 4, 0.7)
    one, two = (views.cells(view, 4).flatten(1, 2).numpy() for view in (0, 1))
    boxes = views.boxes.numpy()
    for image in range(6):
        diagonal = max(np.hypot(*boxes[view, image, 2:]) / 4 for view in (0, 1))
        for i in range(16):
            for j in range(16):
                distance = np.hypot(*(one[image, i] - two[image, j]))
                assert bool(pairs[image, i, j]) == (distance < 0.7 * diagonal)
    assert 0 < pairs.float().mean() < 0.5


def test_equal_views_pair_each_cell_with_itself():
    whole = View(scale=(1.0, 1.0), ratio=(1.0, 1.0), flip_x_p=0.0)
    pairs = near(views_of([whole, whole]), 0, 1, 4, 0.7)
    assert torch.equal(pairs, torch.eye(16, dtype=torch.bool).expand(6, 16, 16))


def test_consistency_equals_its_formula():
    smoothed, targets = points(2, 3, 5, 4)
    pairs = points(3, 5, 5, seed=1) > 0.5
    pairs[2] = False
    x, y = (each.double().numpy() for each in (smoothed, targets))
    terms = []
    for image in range(3):
        cosines = [
            x[image, i] @ y[image, j] / np.linalg.norm(x[image, i]) / np.linalg.norm(y[image, j])
            for i, j in pairs[image].nonzero().tolist()
        ]
        terms.append(np.mean(cosines) if cosines else 0.0)
    assert consistency(smoothed, targets, pairs).item() == pytest.approx(-2.0 * np.mean(terms), abs=1e-5)


def test_propagation_equals_its_formula():
    cells, values = points(2, 3, 5, 4)
    x, g = (each.double().numpy() for each in (cells, values))
    expected = np.zeros_like(g)
    for image in range(3):
        for i in range(5):
            for j in range(5):
                a, b = x[image, i], x[image, j]
                likeness = max(a @ b / np.linalg.norm(a) / np.linalg.norm(b), 0.0) ** 2
                expected[image, i] += likeness * g[image, j]
    np.testing.assert_allclose(propagate(cells, values, 2.0).numpy(), expected, atol=1e-5)


def test_both_directions_count():
    torch.manual_seed(0)
    method = PixPro(TinyBackbone(), hidden=12, dimensions=6).train()
    views = views_of(method.views).replaced(list(points(2, 6, 3, 16, 16)))
    cells = [method._cells(method.projector, method.backbone(view)) for view in views]
    targets = [method._cells(method.target_projector, method.target_backbone(view)) for view in views]
    smoothed = [propagate(each, method.transform(each), 2.0) for each in cells]
    pairs = near(views, 0, 1, 4, 0.7)
    expected = consistency(smoothed[0], targets[1], pairs) + consistency(smoothed[1], targets[0], pairs.mT)
    torch.testing.assert_close(method(views)["loss"], expected)
