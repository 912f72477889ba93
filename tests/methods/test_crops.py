"""Methods of large and small crops, and the one with labels, against independent references."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ssl_seg.augment.view_list import Views
from ssl_seg.augment.views import augment
from ssl_seg.methods.supcon import SupCon, supcon_loss
from ssl_seg.methods.swav import SwAV, swav_loss
from ssl_seg.methods.visreg import VISReg, directions_of, invariance, sigreg, visreg_loss, visreg_terms
from ssl_seg.nn.layers import global_pool
from ssl_seg.nn.sinkhorn import sinkhorn
from ssl_seg.testing import TinyBackbone, check_method

_randn = torch.randn  # as a test replaces it
SMALL = {
    SwAV: {"hidden": 12, "dimensions": 6, "prototypes": 5, "crops": 2},
    VISReg: {"hidden": 12, "dimensions": 6, "directions": 20, "crops": 2},
    SupCon: {"hidden": 12, "dimensions": 6},
}


def points(*shape, seed=0):
    return _randn(*shape, generator=torch.Generator().manual_seed(seed))


def small(method, **options):
    torch.manual_seed(0)
    return method(TinyBackbone(), **{**SMALL[method], **options}).train()


def some_views(method, count=8):
    return [
        points(count, 3, 16 if i < 2 else 8, 16 if i < 2 else 8, seed=i) for i in range(len(method.views))
    ]


@pytest.mark.parametrize(
    ("method", "options"),
    [
        (SwAV, {}),
        (SwAV, {"queue": 20}),
        (SwAV, {"crops": 0}),
        (VISReg, {}),
        (VISReg, {"regulariser": "sigreg"}),
        (SupCon, {}),
    ],
)
def test_the_contract(method, options):
    check_method(lambda backbone: method(backbone, **{**SMALL[method], **options}))


# --- Sinkhorn and SwAV ------------------------------------------------------------------------------


def test_assignments_equal_lightly():
    from lightly.loss.swav_loss import sinkhorn as theirs

    scores = F.normalize(points(12, 6), dim=1) @ F.normalize(points(7, 6, seed=1), dim=1).T
    for rounds in (1, 3):
        ours = sinkhorn(scores, epsilon=0.05, rounds=rounds)
        torch.testing.assert_close(
            ours, theirs(scores, iterations=rounds, epsilon=0.05), atol=1e-6, rtol=1e-4
        )
    torch.testing.assert_close(ours.sum(dim=1), torch.ones(12))


def test_prototypes_are_used_alike():
    scores = torch.cat([points(20, 1) + 0.5, points(20, 3, seed=1)], dim=1)
    used = sinkhorn(scores, epsilon=0.5, rounds=50).sum(dim=0)
    torch.testing.assert_close(used, torch.full((4,), 5.0), atol=1e-3, rtol=0)
    assert scores.argmax(dim=1).bincount(minlength=4)[0] > 8, "they were not before"


def test_scores_that_would_overflow():
    scores = 100.0 * points(6, 4)
    assert bool(torch.isfinite(sinkhorn(scores, epsilon=0.05)).all())
    torch.testing.assert_close(sinkhorn(points(6, 4).half()), sinkhorn(points(6, 4).half().float()))


def test_rows_that_do_not_count_change_nothing():
    scores = points(10, 4)
    alone = sinkhorn(scores[4:])
    beside = sinkhorn(scores, counts=torch.tensor([0.0] * 4 + [1.0] * 6))
    torch.testing.assert_close(beside[4:], alone)


def test_swav_loss_equals_lightly():
    from lightly.loss import SwaVLoss

    scores = 0.5 * points(5, 9, 7)
    assignments = torch.stack([sinkhorn(scores[view]) for view in (0, 1)])
    theirs = SwaVLoss(temperature=0.1, sinkhorn_iterations=3, sinkhorn_epsilon=0.05)
    expected = theirs(list(scores[:2]), list(scores[2:]))
    torch.testing.assert_close(swav_loss(scores, assignments, 0.1), expected.squeeze(), atol=1e-5, rtol=1e-5)


def test_a_queue_counts_once_it_is_full():
    method = small(SwAV, queue=8)
    plain = small(SwAV)
    plain.load_state_dict(method.state_dict(), strict=False)
    views = some_views(method, count=4)
    torch.testing.assert_close(method(views)["loss"], plain(views)["loss"])
    method.after_step(0.1)
    method(views)
    method.after_step(0.2)
    assert method.queues[0].count == 8
    for queue in method.queues:  # full of one prototype, which leaves less of it to the batch
        queue.rows.copy_(F.normalize(method.prototypes.weight[:1], dim=1).expand(8, -1))
    assert not torch.allclose(method(views)["loss"], plain(views)["loss"], atol=1e-4)


def test_prototypes_are_compared_by_their_direction():
    method = small(SwAV)
    views = some_views(method)
    before = method(views)["loss"]
    with torch.no_grad():
        method.prototypes.weight.mul_(3.0)
    torch.testing.assert_close(method(views)["loss"], before)


# --- VISReg and LeJEPA ------------------------------------------------------------------------------


@pytest.fixture
def slices(monkeypatch):
    """The directions that lightly's losses draw."""
    drawn = points(6, 32, seed=9)
    monkeypatch.setattr(torch, "randn", lambda *shape, **_: drawn.clone())
    return drawn / drawn.norm(dim=0)


def test_visreg_terms_equal_lightly(slices):
    from lightly.loss.visreg_loss import visreg_center_loss, visreg_scale_loss, visreg_shape_loss

    z = 0.7 * points(3, 16, 6) + 0.2
    terms = visreg_terms(z, slices)
    torch.testing.assert_close(terms["center"], visreg_center_loss(z))
    torch.testing.assert_close(terms["scale"], visreg_scale_loss(z))
    torch.testing.assert_close(terms["shape"], visreg_shape_loss(z, 32), atol=1e-5, rtol=1e-4)


def test_visreg_loss_equals_lightly(slices):
    from lightly.loss import VISRegLoss

    z = points(5, 16, 6)
    ours = visreg_loss(z, slices, large=2, balance=0.6)["loss"]
    theirs = VISRegLoss(lambda_param=0.6, num_slices=32)(local_proj=z[2:], global_proj=z[:2])
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_sigreg_equals_lightly_and_its_formula(slices):
    from lightly.loss.lejepa_loss import SIGReg

    z = points(1, 16, 6)
    ours = sigreg(z, slices)
    torch.testing.assert_close(ours, SIGReg(num_vectors=32)(z[0]), atol=1e-5, rtol=1e-4)
    x, t = (z[0].double() @ slices.double()).numpy(), np.linspace(0, 3, 17)
    phi = np.exp(-(t**2) / 2)
    error = (np.cos(x[..., None] * t).mean(axis=0) - phi) ** 2 + np.sin(x[..., None] * t).mean(axis=0) ** 2
    expected = 16 * np.mean(2 * np.trapezoid(error * phi, t, axis=-1))
    assert ours.item() == pytest.approx(expected, abs=1e-5)


def test_lejepa_loss_equals_lightly(slices):
    from lightly.loss import LeJEPALoss

    z = points(5, 16, 6)
    ours = visreg_loss(z, slices, large=2, balance=0.05, kind="sigreg")["loss"]
    theirs = LeJEPALoss(lambda_param=0.05, sigreg_num_vectors=32)(local_proj=z[2:], global_proj=z[:2])
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_invariance_is_the_distance_to_the_mean_of_the_large():
    z = points(4, 5, 3).double()
    expected = np.mean([(z[v] - (z[0] + z[1]) / 2).square().mean().item() for v in range(4)])
    assert invariance(z, 2).item() == pytest.approx(expected)


def test_directions_are_new_unit_vectors_every_step():
    like = torch.zeros(())
    one, two = (directions_of(torch.tensor(step), 6, 500, like) for step in (0, 1))
    torch.testing.assert_close(one.norm(dim=0), torch.ones(500))
    assert not torch.allclose(one, two)
    assert torch.equal(one, directions_of(torch.tensor(0), 6, 500, like))
    assert one.mean(dim=1).abs().max() < 0.1, "they point everywhere"
    torch.testing.assert_close(one @ one.T / 500, torch.eye(6) / 6, atol=0.04, rtol=0)


# --- SupCon -----------------------------------------------------------------------------------------


def numpy_supcon(one, two, targets, temperature):
    z = np.concatenate([one, two]).astype(np.float64)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    labels, terms = [*targets, *targets], []
    for i in range(len(z)):
        others = [j for j in range(len(z)) if j != i]
        denominator = np.sum([np.exp(z[i] @ z[j] / temperature) for j in others])
        positives = [j for j in others if labels[j] == labels[i]]
        logs = [np.log(np.exp(z[i] @ z[j] / temperature) / denominator) for j in positives]
        terms.append(-np.mean(logs))
    return float(np.mean(terms))


def test_supcon_loss_equals_the_paper():
    one, two = points(2, 8, 5)
    targets = torch.tensor([0, 1, 0, 2, 2, 2, 3, 1])
    expected = numpy_supcon(one.numpy(), two.numpy(), targets.tolist(), 0.1)
    assert supcon_loss(one, two, targets, 0.1).item() == pytest.approx(expected, abs=1e-5)
    alone = [0, -10, 0, -11, -12, 5, 5, -13]
    expected = numpy_supcon(one.numpy(), two.numpy(), alone, 0.1)
    unlabelled = torch.tensor([0, -1, 0, -1, -1, 5, 5, -1])
    assert supcon_loss(one, two, unlabelled, 0.1).item() == pytest.approx(expected, abs=1e-5)


def test_without_labels_supcon_is_simclr():
    from ssl_seg.methods.simclr import nt_xent

    one, two = points(2, 8, 5)
    nothing = torch.full((8,), -1)
    torch.testing.assert_close(supcon_loss(one, two, nothing, 0.2), nt_xent(one, two, 0.2))


def test_supcon_takes_its_labels_from_the_views():
    method = small(SupCon)
    images = torch.randint(0, 256, (8, 3, 20, 20), dtype=torch.uint8)
    views = augment(images, method.views, size=16)
    assert isinstance(views, Views)
    targets = torch.tensor([0, 0, 1, 1, 2, 2, -1, -1])
    projections = [method.projector(global_pool(method.backbone(view))) for view in views]
    expected = supcon_loss(*projections, targets, 0.1)
    torch.testing.assert_close(method(views.with_facts(targets=targets))["loss"], expected)
    assert not torch.allclose(method(views)["loss"], expected, atol=1e-3)
