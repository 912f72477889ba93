"""DINO against lightly: loss, head, and several steps of training."""

import copy
import inspect
import math
from functools import partial

import pytest
import torch
from lightly.loss import DINOLoss
from lightly.models.modules.heads import DINOProjectionHead
from lightly.models.utils import update_momentum
from lightly.utils.scheduler import cosine_schedule

from ssl_seg.augment.recipes import SMALL_CROP
from ssl_seg.backbones.timm import TimmBackbone
from ssl_seg.engine.optim import build_param_groups, set_lr
from ssl_seg.methods.dino import DINO, DINOHead, dino_loss
from ssl_seg.testing import TinyBackbone, TinyTokens, check_method

pytestmark = pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm`:FutureWarning")  # of lightly
SMALL = {"prototypes": 24, "hidden": 32, "bottleneck": 8, "crops": 4}


def views(count, images=6, side=32, small=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    sides = [side, side] + [small] * (count - 2)
    return [torch.randn(images, 3, side, side, generator=generator) for side in sides]


@pytest.mark.parametrize("backbone", [TinyBackbone, TinyTokens])
@pytest.mark.parametrize("more", [{}, {"crops": 0}, {"norm": True, "freeze": 0.0, "rise": 0.0}])
def test_it_keeps_the_contract(more, backbone):
    check_method(partial(DINO, **{**SMALL, **more}), backbone=backbone)


def test_the_loss_is_the_one_of_lightly():
    """Over several steps, each of which moves the centre."""
    generator = torch.Generator().manual_seed(0)
    theirs, center = DINOLoss(7, teacher_temp=0.05), torch.zeros(7)
    for _ in range(4):
        teacher, student = (
            torch.randn(2, 5, 7, generator=generator),
            torch.randn(4, 5, 7, generator=generator),
        )
        ours = dino_loss(student / 0.1, ((teacher - center) / 0.05).softmax(dim=-1))
        assert ours.item() == pytest.approx(theirs(list(teacher), list(student)).item(), rel=1e-5)
        center.lerp_(teacher.mean(dim=(0, 1)), 0.1)


def test_the_head_is_the_one_of_lightly():
    torch.manual_seed(0)
    ours, theirs = DINOHead(12, 16, 8, 24, norm=False), DINOProjectionHead(12, 16, 8, 24)
    with torch.no_grad():
        for mine, other in zip(ours.mlp.parameters(), theirs.layers.parameters(), strict=True):
            other.copy_(mine)
        theirs.last_layer.weight_v.copy_(ours.prototypes.weight)
    features = torch.randn(9, 12)
    assert torch.allclose(ours(features)[0], theirs(features), atol=1e-6)


class Reference:
    """The authors' loop, from lightly's parts: what `DINO` must do step by step."""

    def __init__(self, method, total, freeze):
        self.student, self.teacher = copy.deepcopy(method.student), copy.deepcopy(method.backbone)
        self.head, self.teacher_head = (self.same_head(method.student_head, freeze) for _ in range(2))
        self.teacher_head.requires_grad_(False)
        self.loss, self.total = DINOLoss(24, teacher_temp=0.07), total
        trained = [*self.student.parameters(), *self.head.parameters()]
        self.optimizer = torch.optim.SGD([p for p in trained if p.requires_grad], lr=0.1)

    @staticmethod
    def same_head(ours, freeze):
        head = DINOProjectionHead(ours.mlp[0].in_features, 32, 8, 24, freeze_last_layer=freeze)
        with torch.no_grad():
            for theirs, mine in zip(head.layers.parameters(), ours.mlp.parameters(), strict=True):
                theirs.copy_(mine)
            head.last_layer.weight_v.copy_(ours.prototypes.weight)
        return head

    def step(self, views, index, temperature):
        groups = [torch.cat(views[:2]), torch.cat(views[2:])]
        scores = torch.cat([self.head(self.student(group)[-1].mean(dim=(2, 3))) for group in groups])
        with torch.no_grad():
            targets = self.teacher_head(self.teacher(groups[0])[-1].mean(dim=(2, 3)))
        loss = self.loss(list(targets.chunk(2)), list(scores.chunk(len(views))), teacher_temp=temperature)
        self.optimizer.zero_grad()
        loss.backward()
        self.head.cancel_last_layer_gradients(index)
        self.optimizer.step()
        decay = cosine_schedule(index + 1, self.total + 1, 0.996, 1.0)
        update_momentum(self.student, self.teacher, decay)
        update_momentum(self.head, self.teacher_head, decay)
        return loss.item()


def test_training_is_that_of_the_authors():
    """Losses, center and teacher over five steps; the temperature rises and the prototypes thaw on the way."""
    torch.manual_seed(0)
    total = 5
    rising = {"first_temperature": 0.04, "teacher_temperature": 0.07, "rise": 0.6}
    method = DINO(TinyBackbone(), **{**SMALL, "crops": 8}, **rising, freeze=0.4, decay=0.996)
    reference = Reference(method, total, freeze=2)
    optimizer = torch.optim.SGD(build_param_groups(method, 0.0, declared=method.param_groups), lr=0.1)
    start = method.student_head.prototypes.weight.detach().clone()
    for index in range(total):
        set_lr(optimizer, 0.1, 0.1, index / total)
        assert torch.equal(method.student_head.prototypes.weight, start) == (index <= 2)
        seen = views(10, seed=index)
        temperature = 0.04 + 0.03 * min(1.0, index / total / 0.6)
        loss = method(seen)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        method.after_step((index + 1) / total)
        assert loss.item() == pytest.approx(reference.step(seen, index, temperature), rel=1e-5)
        assert torch.allclose(method.center, reference.loss.center.flatten(), atol=1e-5)
    for ours, theirs in zip(
        method.backbone.state_dict().values(), reference.teacher.state_dict().values(), strict=True
    ):
        assert torch.allclose(ours, theirs, atol=1e-5)
    moved = [a - b for a, b in zip(method.backbone.parameters(), method.student.parameters(), strict=True)]
    assert max(part.abs().max() for part in moved) > 1e-4, "teacher and student are the same"


@pytest.mark.parametrize("backbone", [TinyBackbone, TinyTokens])
def test_every_part_of_the_student_learns_and_none_of_the_teacher(backbone):
    method = DINO(backbone(), **SMALL)
    method(views(6))["loss"].backward()
    for name, parameter in method.named_parameters():
        learns = name.startswith("student")
        assert parameter.requires_grad == learns
        assert (parameter.grad is not None and bool(parameter.grad.any())) == learns, name


@pytest.mark.parametrize("checkpointing", [False, True])
def test_only_the_student_skips_blocks(checkpointing):
    torch.manual_seed(0)
    options = {"drop_path": 0.5, "checkpointing": checkpointing}
    method = DINO(TimmBackbone("test_vit", **options), **SMALL).train()
    seen = views(6)
    with torch.no_grad():
        student, teacher = (
            [net.summary(seen[0]) for _ in range(2)] for net in (method.student, method.backbone)
        )
    assert torch.equal(*teacher) and not torch.equal(*student)
    method(seen)["loss"].backward()


def test_of_a_transformer_the_class_token_is_compared():
    torch.manual_seed(0)
    method = DINO(TinyTokens(), **SMALL)
    seen = views(6)
    tokens = [method.student.tokens(view)[:, 0] for view in seen]
    scores = torch.stack([method.student_head(each)[0] for each in tokens]) / 0.1
    targets = torch.stack([method.head(method.backbone.tokens(view)[:, 0])[0] for view in seen[:2]]) / 0.04
    torch.testing.assert_close(method(seen)["loss"], dino_loss(scores, targets.softmax(dim=-1)))


def test_parts_of_a_batch_are_the_whole_batch():
    """`--accumulate`: the centre that parts are compared with is one, and moves once."""
    whole, parted = (copy.deepcopy(method) for method in [DINO(TinyTokens(), **SMALL)] * 2)
    for step in range(3):
        seen = views(6, seed=step)
        loss = whole(seen)["loss"]
        parts = [parted([view[rows] for view in seen])["loss"] for rows in (slice(0, 3), slice(3, 6))]
        torch.testing.assert_close(torch.stack(parts).mean(), loss)
        for method in (whole, parted):
            method.after_step((step + 1) / 10)
        torch.testing.assert_close(parted.center, whole.center)
    assert whole.center.any()


def test_the_center_is_that_of_all_processes(monkeypatch):
    """The other process has had scores that are larger by 2."""
    method, seen = DINO(TinyTokens(), **SMALL), views(6)
    monkeypatch.setattr("ssl_seg.methods.dino.all_reduce_mean", lambda mean: (mean + mean + 2.0) / 2.0)
    with torch.no_grad():
        mean = torch.stack([method.head(method.backbone.summary(view))[0] for view in seen[:2]]).mean(
            dim=(0, 1)
        )
    method(seen)
    assert not method.center.any(), "a step is compared with the centre of the steps before"
    method.after_step(0.1)
    torch.testing.assert_close(method.center, 0.1 * (mean + 1.0))


@pytest.mark.parametrize(
    ("backbone", "border"),
    [(TinyBackbone, 0.14), (TinyTokens, 0.4), (partial(TimmBackbone, "test_vit"), 0.4)],
)
def test_the_views_are_those_of_the_authors(backbone, border):
    one, two, *small = DINO(backbone(), **SMALL).views
    assert len(small) == 4 and len(set(small)) == 1
    for view in (one, two, small[0]):
        jitter = (view.jitter_p, view.brightness, view.contrast, view.saturation, view.hue)
        assert jitter == (0.8, 0.4, 0.4, 0.2, 0.1)
        assert (view.gray_p, view.flip_x_p, view.flip_y_p) == (0.2, 0.5, 0.0)
    assert [view.blur_p for view in (one, two, small[0])] == [1.0, 0.1, 0.5]
    assert [view.solarize_p for view in (one, two, small[0])] == [0.0, 0.2, 0.0]
    assert one.scale == two.scale == (border, 1.0) and small[0].scale == (0.05, border)
    assert round(224 * small[0].zoom) == 96
    assert [sigma * SMALL_CROP for sigma in small[0].blur_sigma] == pytest.approx([0.1, 2.0])


def test_the_papers_values_are_those_of_the_authors():
    ours = {name: p.default for name, p in inspect.signature(DINO).parameters.items()} | DINO.paper.options
    loss = inspect.signature(DINOLoss).parameters
    assert ours["prototypes"] == loss["output_dim"].default == 65536
    assert ours["student_temperature"] == loss["student_temp"].default
    assert ours["teacher_temperature"] == loss["teacher_temp"].default
    assert ours["first_temperature"] == loss["warmup_teacher_temp"].default
    assert ours["center_decay"] == loss["center_momentum"].default
    head = inspect.signature(DINOProjectionHead).parameters
    assert (ours["hidden"], ours["bottleneck"]) == (
        head["hidden_dim"].default,
        head["bottleneck_dim"].default,
    )
    assert ours["decay"] == 0.996 and ours["freeze"] == 1 / 100 and ours["rise"] == 30 / 100


def test_prototypes_that_all_views_choose_alike_are_the_worst():
    """log D for a student that says nothing; 0 for one that agrees with a teacher that is certain."""
    certain = torch.eye(4)[torch.arange(3)].expand(2, 3, 4)
    assert dino_loss(torch.zeros(2, 3, 4), certain).item() == pytest.approx(math.log(4))
    assert dino_loss(50 * certain, certain).item() == pytest.approx(0.0, abs=1e-6)
