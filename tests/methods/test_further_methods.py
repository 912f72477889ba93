"""Methods beside BYOL, SimCLR and SimSiam: their losses against independent references, and the kit."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ssl_seg.methods.barlow_twins import BarlowTwins, barlow_loss
from ssl_seg.methods.densecl import DenseCL, matches
from ssl_seg.methods.fastsiam import FastSiam, fastsiam_loss
from ssl_seg.methods.moco_v2 import MoCoV2
from ssl_seg.methods.moco_v3 import MoCoV3
from ssl_seg.methods.nnclr import NNCLR, nearest
from ssl_seg.methods.simclr import SimCLR, decoupled
from ssl_seg.methods.vicreg import VICReg, vicreg_loss
from ssl_seg.nn.contrastive import batch_contrast, queue_contrast
from ssl_seg.nn.layers import global_pool
from ssl_seg.testing import TinyBackbone, check_method

SMALL = {
    MoCoV2: {"dimensions": 6, "queue": 24, "splits": 2},
    MoCoV3: {"hidden": 12, "dimensions": 6},
    NNCLR: {"hidden": 12, "dimensions": 6, "queue": 20},
    BarlowTwins: {"hidden": 12, "dimensions": 6},
    VICReg: {"hidden": 12, "dimensions": 6},
    FastSiam: {"dimensions": 12, "bottleneck": 4},
    DenseCL: {"dimensions": 6, "queue": 24, "splits": 2},
}


def points(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def small(method, seed=0, **options):
    torch.manual_seed(seed)
    return method(TinyBackbone(), **{**SMALL[method], **options}).train()


def some_views(method, count=8):
    return [points(count, 3, 16, 16, seed=index) for index in range(len(method.views))]


@pytest.mark.parametrize("method", SMALL)
def test_the_contract(method):
    check_method(lambda backbone: method(backbone, **SMALL[method]))


@pytest.mark.parametrize("loss", ["dcl", "dclw"])
def test_the_contract_with_a_decoupled_loss(loss):
    check_method(lambda backbone: SimCLR(backbone, hidden=12, dimensions=6, loss=loss, last_norm=True))


@pytest.mark.parametrize("method", SMALL)
def test_an_odd_batch(method):
    made = small(method)
    out = made(some_views(made, count=7))
    out["loss"].backward()
    assert bool(torch.isfinite(out["loss"])) and made.backbone.one[0].weight.grad.any()


# --- losses -----------------------------------------------------------------------------------------


def rows(array):
    return array / np.linalg.norm(array, axis=1, keepdims=True)


def numpy_dcl(one, two, temperature, sigma=None):
    """Equation 5 of the paper, term by term, over both directions."""
    one, two = rows(one.double().numpy()), rows(two.double().numpy())
    count, terms = len(one), []
    weight = np.ones(count)
    if sigma is not None:
        likeness = np.exp((one * two).sum(axis=1) / sigma)
        weight = 2.0 - count * likeness / likeness.sum()
    for a, b in ((one, two), (two, one)):
        for i in range(count):
            others = [np.exp(a[i] @ z[j] / temperature) for z in (a, b) for j in range(count) if j != i]
            terms.append(-weight[i] * (a[i] @ b[i]) / temperature + np.log(np.sum(others)))
    return float(np.mean(terms))


@pytest.mark.filterwarnings("ignore:To copy construct")  # lightly's own
@pytest.mark.parametrize("temperature", [0.1, 0.5])
@pytest.mark.parametrize("count", [2, 9])
def test_decoupled_losses_equal_the_paper_and_lightly(count, temperature):
    from lightly.loss import DCLLoss, DCLWLoss

    one, two = points(2, count, 12)
    plain, weighted = decoupled(one, two, temperature), decoupled(one, two, temperature, 0.5)
    assert plain.item() == pytest.approx(numpy_dcl(one, two, temperature), abs=1e-5)
    assert weighted.item() == pytest.approx(numpy_dcl(one, two, temperature, 0.5), abs=1e-5)
    assert abs(plain.item() - weighted.item()) > 1e-4
    torch.testing.assert_close(plain, DCLLoss(temperature)(one, two), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(weighted, DCLWLoss(temperature)(one, two), atol=1e-5, rtol=1e-5)


def test_batch_contrast_equals_its_formula():
    queries, keys = points(2, 7, 5)
    q, k = rows(queries.double().numpy()), rows(keys.double().numpy())
    terms = [
        -q[i] @ k[i] / 0.3 + np.log(np.sum([np.exp(q[i] @ k[j] / 0.3) for j in range(7)])) for i in range(7)
    ]
    assert batch_contrast(queries, keys, 0.3).item() == pytest.approx(np.mean(terms), abs=1e-5)


def test_queue_contrast_equals_its_formula_and_lightly():
    from lightly.loss import NTXentLoss

    queries, keys = points(2, 6, 5)
    theirs = NTXentLoss(temperature=0.2, memory_bank_size=(10, 5))
    theirs.memory_bank.bank = F.normalize(points(10, 5, seed=3), dim=1)
    theirs.memory_bank.bank_ptr = torch.zeros(1, dtype=torch.int64)
    negatives = theirs.memory_bank.bank.clone()
    ours = queue_contrast(queries, keys, negatives, 0.2)
    q, k, n = (rows(each.double().numpy()) for each in (queries, keys, negatives))
    terms = []
    for i in range(6):
        positive = np.exp(q[i] @ k[i] / 0.2)
        terms.append(-np.log(positive / (positive + np.exp(n @ q[i] / 0.2).sum())))
    assert ours.item() == pytest.approx(np.mean(terms), abs=1e-5)
    torch.testing.assert_close(ours, theirs(queries, keys), atol=1e-5, rtol=1e-5)


def test_no_gradient_flows_into_the_keys_of_a_queue():
    queries, keys = points(2, 6, 5).requires_grad_()
    queue_contrast(queries, keys, F.normalize(points(4, 5, seed=1), dim=1), 0.2).backward()
    whole = points(2, 6, 5).requires_grad_()
    queue_contrast(whole[0], whole[1].detach(), F.normalize(points(4, 5, seed=1), dim=1), 0.2).backward()
    assert not whole.grad[1].any() and whole.grad[0].any()


def test_barlow_loss_equals_its_formula_and_lightly():
    from lightly.loss import BarlowTwinsLoss

    one, two = points(2, 16, 6)
    a, b = (each.double().numpy() for each in (one, two))
    a, b = ((each - each.mean(axis=0)) / np.sqrt(each.var(axis=0) + 1e-5) for each in (a, b))
    c = a.T @ b / 16
    expected = sum((1 - c[i, i]) ** 2 if i == j else 0.005 * c[i, j] ** 2 for i in range(6) for j in range(6))
    ours = barlow_loss(one, two, 0.005)
    assert ours.item() == pytest.approx(expected, abs=1e-5)
    torch.testing.assert_close(ours, BarlowTwinsLoss(lambda_param=0.005)(one, two), atol=1e-5, rtol=1e-5)


def test_barlow_gradient_equals_lightly():
    from lightly.loss import BarlowTwinsLoss

    mine, theirs = points(2, 16, 6).requires_grad_(), points(2, 16, 6).requires_grad_()
    barlow_loss(*mine, 0.005).backward()
    BarlowTwinsLoss(lambda_param=0.005)(*theirs).backward()
    torch.testing.assert_close(mine.grad, theirs.grad, atol=1e-6, rtol=1e-5)


def numpy_vicreg(one, two):
    a, b = (each.double().numpy() for each in (one, two))
    width = a.shape[1]
    loss = 25.0 * np.mean((a - b) ** 2)
    for z in (a, b):
        loss += 25.0 * np.mean(np.maximum(0.0, 1.0 - np.sqrt(z.var(axis=0, ddof=1) + 1e-4))) / 2.0
        covariance = np.cov(z.T)
        loss += (np.square(covariance).sum() - np.square(np.diag(covariance)).sum()) / width
    return float(loss)


def test_vicreg_loss_equals_its_formula_and_lightly():
    from lightly.loss import VICRegLoss

    one, two = 0.3 * points(2, 16, 6)
    out = vicreg_loss(one, two, invariance=25.0, variance=25.0, covariance=1.0)
    assert out["loss"].item() == pytest.approx(numpy_vicreg(one, two), abs=1e-5)
    torch.testing.assert_close(out["loss"], VICRegLoss()(one, two), atol=1e-5, rtol=1e-5)
    assert out["variance"] > 0.1, "the variance must count for this test to tell"


def test_vicreg_gradient_equals_lightly():
    from lightly.loss import VICRegLoss

    mine, theirs = points(2, 16, 6).mul(0.3).requires_grad_(), points(2, 16, 6).mul(0.3).requires_grad_()
    vicreg_loss(*mine, invariance=25.0, variance=25.0, covariance=1.0)["loss"].backward()
    VICRegLoss()(*theirs).backward()
    torch.testing.assert_close(mine.grad, theirs.grad, atol=1e-6, rtol=1e-5)


def test_fastsiam_loss_equals_lightly():
    from lightly.loss import NegativeCosineSimilarity

    predictions, projections = points(2, 4, 9, 5)
    expected = []
    for view in range(4):
        others = torch.stack([projections[other] for other in range(4) if other != view]).mean(dim=0)
        expected.append(NegativeCosineSimilarity()(predictions[view], others))
    torch.testing.assert_close(fastsiam_loss(predictions, projections), torch.stack(expected).mean())


def test_fastsiam_holds_its_targets_still():
    projections = points(4, 9, 5).requires_grad_()
    predictions = points(4, 9, 5, seed=1).requires_grad_()
    fastsiam_loss(predictions, projections).backward()
    assert projections.grad is None and predictions.grad.any()


def test_two_views_of_fastsiam_are_simsiam():
    from ssl_seg.methods.simsiam import simsiam_loss

    p, z = points(2, 2, 9, 5)
    expected = (simsiam_loss(p[0], z[1]) + simsiam_loss(p[1], z[0])) / 2.0
    torch.testing.assert_close(fastsiam_loss(p, z), expected)


# --- what a step is made of -------------------------------------------------------------------------


def test_neighbours_are_those_of_lightly():
    from lightly.models.modules import NNMemoryBankModule

    theirs = NNMemoryBankModule(size=(30, 6))
    bank = F.normalize(points(30, 6, seed=5), dim=1)
    theirs.bank, theirs.bank_ptr = bank.clone(), torch.zeros(1, dtype=torch.int64)
    queries = points(8, 6)
    torch.testing.assert_close(nearest(queries, bank), theirs(queries, update=False))


def test_cells_match_as_in_lightly():
    from lightly.models.utils import select_most_similar

    queries, keys = points(2, 3, 5, 9)
    match = matches(queries, keys)
    values = keys.mT
    chosen = values.gather(1, match[..., None].expand(-1, -1, 5))
    torch.testing.assert_close(chosen, select_most_similar(queries.mT, keys.mT, values))


def test_moco_v3_predicts_the_other_views_keys():
    method = small(MoCoV3)
    with torch.no_grad():
        for parameter in method.target_backbone.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    views = some_views(method)
    queries = [method.predictor(method.projector(global_pool(method.backbone(view)))) for view in views]
    keys = [method.target_projector(global_pool(method.target_backbone(view))) for view in views]
    expected = 0.0
    for q, k in ((queries[0], keys[1]), (queries[1], keys[0])):
        logits = F.normalize(q, dim=1) @ F.normalize(k, dim=1).T / 0.2
        expected = expected + 2 * 0.2 * F.cross_entropy(logits, torch.arange(8))
    torch.testing.assert_close(method(views)["loss"], expected)


def test_nnclr_contrasts_neighbours_with_the_other_views_predictions():
    method = small(NNCLR)
    views = some_views(method)
    projections = [method.projector(global_pool(method.backbone(view))) for view in views]
    predictions = [F.normalize(method.predictor(z), dim=1) for z in projections]
    terms = []
    for a in (0, 1):
        likeness = F.normalize(projections[a], dim=1) @ method.queue.rows.T
        neighbours = method.queue.rows[likeness.argmax(dim=1)]
        terms.append(F.cross_entropy(neighbours @ predictions[1 - a].T / 0.1, torch.arange(8)))
    torch.testing.assert_close(method(views)["loss"], (terms[0] + terms[1]) / 2)


def test_moco_queues_the_keys_of_both_views():
    method = small(MoCoV2)
    views = some_views(method)
    keys = [method._key(view) for view in views]
    method(views)
    assert method.queue.count == 0, "a step does not see its own keys"
    method.after_step(0.5)
    assert method.queue.count == 16
    torch.testing.assert_close(method.queue.rows[:16], F.normalize(torch.cat(keys[::-1]), dim=1))


def test_an_asymmetric_moco_makes_one_query_and_one_key():
    method = small(MoCoV2, symmetric=False)
    views = some_views(method)
    query, key = method.projector(global_pool(method.backbone(views[0]))), method._key(views[1])
    expected = queue_contrast(query, key, method.queue.rows, 0.2)
    torch.testing.assert_close(method(views)["loss"], expected)


def test_densecl_is_moco_and_a_contrast_of_cells():
    method = small(DenseCL, dense=0.25, level=0)
    views = some_views(method)
    out = method(views)
    torch.testing.assert_close(out["loss"], 0.75 * out["loss_image"] + 0.25 * out["loss_cells"])
    maps = method.backbone(views[0])
    cells = F.normalize(method.dense_projector(maps[0].flatten(2).mT), dim=2)
    assert cells.shape == (8, 64, 6)
    method.after_step(0.5)
    assert method.dense_queue.count == 8, "one pooled map for each image"


def test_a_scaled_loss_has_a_scaled_gradient():
    one, two = small(BarlowTwins, scale=1.0), small(BarlowTwins, scale=0.1)
    views = some_views(one)
    torch.testing.assert_close(one(views)["loss"] * 0.1, two(views)["loss"])
