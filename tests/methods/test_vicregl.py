"""VICRegL against lightly, and its matches against a picture of coordinates."""

import numpy as np
import pytest
import torch

from ssl_seg.augment.recipes import View
from ssl_seg.augment.views import augment
from ssl_seg.errors import PluginError, UsageError
from ssl_seg.methods.vicregl import VICRegL, Weights, cell_loss, image_loss, nearest
from ssl_seg.testing import TinyBackbone, check_method

WEIGHTS = Weights(25.0, 25.0, 1.0)
SMALL = {"hidden": 12, "dimensions": 6, "cell_dimensions": 6}


def points(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("options", [{}, {"level": 0, "crops": 2}, {"alpha": 1.0}])
def test_the_contract(options):
    check_method(lambda backbone: VICRegL(backbone, **SMALL, **options))


def test_weights_of_images_that_leave_the_cells_alone_are_refused():
    for alpha in (0.0, 1.1):
        with pytest.raises(UsageError, match=r"ssl\.alpha"):
            VICRegL(TinyBackbone(), alpha=alpha)


def test_plain_tensors_are_refused():
    with pytest.raises(PluginError, match="vicregl needs views that know their boxes"):
        VICRegL(TinyBackbone(), **SMALL)(list(points(2, 4, 3, 16, 16)))


# --- the loss ---------------------------------------------------------------------------------------


def material(small, seed=0):
    """Projections of 7 images, of cells (4 x 4 in large views, 2 x 2 in small ones), and where these lie."""
    sides = [4, 4, *[2] * small]
    vectors = [0.3 * points(7, 5, seed=seed + index) for index in range(len(sides))]
    cells = [0.4 * points(7, side, side, 6, seed=seed + 10 + index) for index, side in enumerate(sides)]
    centres = [points(7, side, side, 2, seed=seed + 20 + index) for index, side in enumerate(sides)]
    return vectors, cells, centres


def ours(vectors, cells, centres, matches, alpha):
    flat = [[each.flatten(1, 2) for each in group] for group in (cells, centres)]
    return alpha * image_loss(vectors, WEIGHTS) + (1 - alpha) * cell_loss(*flat, matches, WEIGHTS)


def lightly(vectors, cells, centres, matches, alpha):
    from lightly.loss import VICRegLLoss

    views = list(zip(vectors, cells, strict=True))
    small = (views[2:], centres[2:]) if len(views) > 2 else (None, None)
    return VICRegLLoss(alpha=alpha, num_matches=matches)(views[:2], centres[:2], *small).squeeze()


@pytest.mark.parametrize("small", [0, 2])
@pytest.mark.parametrize(("matches", "alpha"), [((20, 4), 0.75), ((5, 3), 0.4)])
def test_loss_and_gradient_equal_lightly(small, matches, alpha):
    results = []
    for loss in (ours, lightly):
        vectors, cells, centres = material(small)
        leaves = [each.requires_grad_() for each in (*vectors, *cells)]
        value = loss(vectors, cells, centres, matches, alpha)
        value.backward()
        results.append((value.detach(), [leaf.grad for leaf in leaves]))
    (mine, gradients), (theirs, expected) = results
    torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-6)
    for one, two in zip(gradients, expected, strict=True):
        torch.testing.assert_close(one, two, atol=1e-6, rtol=1e-5)
        assert one.any()


def numpy_vicreg(one, two):
    """Of (B, K, D): the terms of every rank k, and their mean."""
    total = 25.0 * np.mean((one - two) ** 2)
    for z in (one, two):
        for k in range(z.shape[1]):
            covariance = np.cov(z[:, k].T)
            spread = np.maximum(0.0, 1.0 - np.sqrt(np.diag(covariance) + 1e-4)).mean()
            off = np.square(covariance).sum() - np.square(np.diag(covariance)).sum()
            total += (25.0 * spread + off / z.shape[2]) / 2.0 / z.shape[1]
    return total


def test_the_loss_of_cells_equals_its_formula():
    _, cells, centres = material(0)
    flat, where = ([each.flatten(1, 2).double().numpy() for each in group] for group in (cells, centres))
    total = 0.0
    for a, b in ((0, 1), (1, 0)):
        for space in (where, flat):
            for here, there, count in ((a, b, 5), (b, a, 3)):
                rows, others = [], []
                for image in range(7):
                    distances = np.linalg.norm(
                        space[here][image][:, None] - space[there][image][None], axis=2
                    )
                    kept = distances.min(axis=1).argsort()[:count]
                    rows.append(flat[here][image][kept])
                    others.append(flat[there][image][distances.argmin(axis=1)[kept]])
                total += numpy_vicreg(np.stack(rows), np.stack(others)) / 2.0
    ours = cell_loss(
        [torch.from_numpy(each) for each in flat], [torch.from_numpy(each) for each in where], (5, 3), WEIGHTS
    )
    assert ours.item() == pytest.approx(total / 2.0, abs=1e-5)


# --- the step ---------------------------------------------------------------------------------------


def test_matched_cells_show_the_same_place():
    """Every cell is matched with the nearest one of the other view, in pixels of images that are not square."""
    turning = View(scale=(0.4, 0.9), flip_x_p=0.5, flip_y_p=0.5, turn_p=0.5, jitter_p=0, gray_p=0)
    axis = torch.arange(40, dtype=torch.uint8) * 6
    picture = torch.stack(
        [axis[:, None].expand(40, 40), axis[None].expand(40, 40), torch.zeros(40, 40).byte()]
    )
    sizes = torch.tensor([[40, 20]]).expand(8, 2)
    whole = {"mean": (0.0,) * 3, "std": (1.0,) * 3}
    views = augment(picture.expand(8, 3, 40, 40), [turning] * 2, sizes, seed=3, size=16, **whole)
    shown = [
        (view[:, :2] * 255 / 6 + 0.5).unflatten(2, (4, 4)).unflatten(4, (4, 4)).mean((3, 5)) for view in views
    ]
    seen = [each.flatten(2).mT for each in shown]
    centres = [views.cells(view, 4).flatten(1, 2) * views.sizes[:, None] for view in (0, 1)]
    rows, partners = nearest(*centres, 6)
    gaps = torch.cdist(*seen)
    for image in range(8):
        chosen = gaps[image, rows[image], partners[image]]
        best = gaps[image].min(dim=1).values.sort().values[:6]
        torch.testing.assert_close(chosen, best, atol=0.4, rtol=0)


def test_the_step_is_made_of_both_losses():
    torch.manual_seed(0)
    method = VICRegL(TinyBackbone(), **SMALL, alpha=0.6, matches=5, back_matches=3, level=0).train()
    sizes = torch.tensor([[40, 24]]).expand(6, 2)
    cut = augment(torch.zeros(6, 3, 40, 40, dtype=torch.uint8), method.views, sizes, seed=2, size=16)
    views = cut.replaced(list(points(2, 6, 3, 16, 16)))
    maps = [method.backbone(view) for view in views]
    cells = [
        method.cell_projector(each[0].flatten(2).mT.flatten(0, 1)).unflatten(0, (6, 64)) for each in maps
    ]
    vectors = [method.projector(each[-1].mean(dim=(2, 3))) for each in maps]
    centres = [views.cells(view, 8) * torch.tensor([40.0, 24.0]) for view in (0, 1)]
    squares = [each.unflatten(1, (8, 8)) for each in cells]
    torch.testing.assert_close(method(views)["loss"], ours(vectors, squares, centres, (5, 3), 0.6))


def test_half_precision_changes_no_match_and_little_of_the_loss():
    vectors, cells, centres = material(0)
    whole = ours(vectors, cells, centres, (5, 3), 0.5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(ours(vectors, cells, centres, (5, 3), 0.5), whole)
