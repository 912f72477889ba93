"""Two methods on one backbone."""

import copy

import pytest
import torch

from ssl_seg import BYOL, ComposedMethod, SimSiam, SupCon
from ssl_seg.engine.optim import build_param_groups
from ssl_seg.errors import PluginError
from ssl_seg.testing import TinyBackbone
from ssl_seg.testing.methods import random_views


class Both(ComposedMethod):
    views, recipe = BYOL.views, BYOL.recipe

    def __init__(self, backbone, *, weight=0.25):
        parts = {"byol": BYOL(backbone), "simsiam": SimSiam(backbone, constant_lr=True)}
        super().__init__(backbone, parts, weights={"simsiam": weight})


def test_the_loss_is_the_weighted_sum_of_those_of_the_parts():
    method = Both(TinyBackbone()).train()
    views = random_views(method, 0)
    losses = [copy.deepcopy(part).training_step(views)["loss"] for part in method.parts.values()]
    out = method.training_step(views)
    assert torch.allclose(out["loss"], losses[0] + 0.25 * losses[1], rtol=1e-6)
    assert torch.equal(out["byol_loss"], losses[0]) and torch.equal(out["simsiam_loss"], losses[1])


def test_the_backbone_is_registered_once_and_copies_share_their_own():
    method = Both(TinyBackbone())
    names = list(method.state_dict())
    assert any(name.startswith("backbone.") for name in names)
    assert not any(name.startswith(("parts.byol.backbone.", "parts.simsiam.backbone.")) for name in names)
    twin = copy.deepcopy(method)
    assert twin.backbone is not method.backbone
    assert all(part.backbone is twin.backbone for part in twin.parts.values())


def test_the_target_of_a_part_follows_the_backbone():
    method = Both(TinyBackbone())
    target = method.parts["byol"].target_backbone
    before = next(target.parameters()).clone()
    with torch.no_grad():
        next(method.backbone.parameters()).add_(1.0)
    method.after_step(0.5)
    moved = next(target.parameters()) - before
    assert 0 < moved.mean() < 0.1, "1 - 0.99, less towards the end"


def test_the_groups_of_a_part_are_those_of_its_parameters():
    method = Both(TinyBackbone())
    (group,) = method.param_groups
    assert group.prefix == "parts.simsiam.predictor." and group.constant_lr
    groups = build_param_groups(method, 1e-4, declared=method.param_groups)
    assert sum(len(each["params"]) for each in groups if each.get("constant_lr")) == len(
        list(method.parts["simsiam"].predictor.parameters())
    )


def test_labels_are_needed_if_a_part_needs_them_and_one_loss_over_the_batch_makes_all_so():
    backbone = TinyBackbone()
    method = ComposedMethod(backbone, {"byol": BYOL(backbone), "supcon": SupCon(backbone)})
    assert method.needs_labels and method.loss_over == "batch"
    backbone = TinyBackbone()
    method = ComposedMethod(backbone, {"byol": BYOL(backbone), "simsiam": SimSiam(backbone)})
    assert not method.needs_labels and method.loss_over == "image"


def test_another_backbone_is_refused():
    with pytest.raises(PluginError, match="part 'byol' was made on another backbone"):
        ComposedMethod(TinyBackbone(), {"byol": BYOL(TinyBackbone())})
