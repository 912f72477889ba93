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
from ssl_seg_dino import DINO, DINOHead, dino_loss, ssl_methods

from ssl_seg.testing import TinyBackbone, check_method

pytestmark = pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm`:FutureWarning")  # of lightly
SMALL = {"prototypes": 24, "hidden": 32, "bottleneck": 8}


def views(count, images=6, side=32, small=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    sides = [side, side] + [small] * (count - 2)
    return [torch.randn(images, 3, side, side, generator=generator) for side in sides]


@pytest.mark.parametrize("more", [{}, {"crops": 0}, {"norm": True, "freeze": 0.0, "rise": 0.0}])
def test_it_keeps_the_contract(more):
    check_method(partial(DINO, **SMALL, **more))


def test_the_loss_is_the_one_of_lightly():
    generator = torch.Generator().manual_seed(0)
    teacher, student = torch.randn(2, 5, 7, generator=generator), torch.randn(4, 5, 7, generator=generator)
    theirs = DINOLoss(7, teacher_temp=0.05)(list(teacher), list(student))
    ours = dino_loss(student / 0.1, (teacher / 0.05).softmax(dim=-1))
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)


def test_the_head_is_the_one_of_lightly():
    torch.manual_seed(0)
    ours, theirs = DINOHead(12, 16, 8, 24, norm=False), DINOProjectionHead(12, 16, 8, 24)
    with torch.no_grad():
        for mine, other in zip(ours.mlp.parameters(), theirs.layers.parameters(), strict=True):
            other.copy_(mine)
        theirs.last_layer.weight_v.copy_(ours.weight)
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
        self.optimizer = torch.optim.SGD([p for p in trained if p.requires_grad], lr=0.1, momentum=0.9)

    @staticmethod
    def same_head(ours, freeze):
        head = DINOProjectionHead(ours.mlp[0].in_features, 32, 8, 24, freeze_last_layer=freeze)
        with torch.no_grad():
            for theirs, mine in zip(head.layers.parameters(), ours.mlp.parameters(), strict=True):
                theirs.copy_(mine)
            head.last_layer.weight_v.copy_(ours.weight)
        return head

    def step(self, views, index, temperature):
        groups = [torch.cat(views[:2]), torch.cat(views[2:])]
        said = torch.cat([self.head(self.student(group)[-1].mean(dim=(2, 3))) for group in groups])
        with torch.no_grad():
            heard = self.teacher_head(self.teacher(groups[0])[-1].mean(dim=(2, 3)))
        loss = self.loss(list(heard.chunk(2)), list(said.chunk(len(views))), teacher_temp=temperature)
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
    method = DINO(
        TinyBackbone(), **SMALL, first_temperature=0.04, teacher_temperature=0.07, rise=0.6, freeze=0.4
    )
    reference = Reference(method, total, freeze=2)
    optimizer = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=0.1, momentum=0.9)
    start = method.student_head.weight.detach().clone()
    for index in range(total):
        assert torch.equal(method.student_head.weight, start) == (index <= 2)
        seen = views(10, seed=index)
        temperature = 0.04 + 0.03 * min(1.0, index / total / 0.6)
        loss = method(seen)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        method.after_step((index + 1) / total)
        assert loss.item() == pytest.approx(reference.step(seen, index, temperature), rel=1e-4)
        assert torch.allclose(method.center, reference.loss.center.flatten(), atol=1e-5)
    for ours, theirs in zip(
        method.backbone.state_dict().values(), reference.teacher.state_dict().values(), strict=True
    ):
        assert torch.allclose(ours, theirs, atol=1e-5)
    moved = [a - b for a, b in zip(method.backbone.parameters(), method.student.parameters(), strict=True)]
    assert max(part.abs().max() for part in moved) > 1e-4, "teacher and student are the same"


def test_every_part_of_the_student_learns_and_none_of_the_teacher():
    method = DINO(TinyBackbone(), **SMALL, freeze=0.0)
    method(views(10))["loss"].backward()
    for name, parameter in method.named_parameters():
        learns = name.startswith("student")
        assert parameter.requires_grad == learns
        assert (parameter.grad is not None and bool(parameter.grad.any())) == learns, name


def test_the_center_is_that_of_all_processes(monkeypatch):
    """One process has heard means of 1, another of 3."""
    from torch import distributed

    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(distributed, "all_reduce", lambda tensor: tensor.add_(3.0))
    method = DINO(TinyBackbone(), **SMALL)
    method._move_center(torch.ones(24))
    assert torch.allclose(method.center, torch.full((24,), 0.2))


def test_the_views_are_those_of_the_authors():
    method = DINO(TinyBackbone(), **SMALL)
    one, two, *small = method.views
    assert len(small) == 8 and len(set(small)) == 1
    for view in method.views:
        assert (view.jitter_p, view.brightness, view.contrast, view.saturation, view.hue) == (
            0.8,
            0.4,
            0.4,
            0.2,
            0.1,
        )
        assert (view.gray_p, view.flip_x_p, view.flip_y_p) == (0.2, 0.5, 0.0)
    assert [view.blur_p for view in (one, two, small[0])] == [1.0, 0.1, 0.5]
    assert [view.solarize_p for view in (one, two, small[0])] == [0.0, 0.2, 0.0]
    assert one.scale == two.scale == (0.14, 1.0) and small[0].scale == (0.05, 0.14)
    assert round(224 * small[0].zoom) == 96
    assert [sigma * 96 / 224 for sigma in small[0].blur_sigma] == pytest.approx([0.1, 2.0])


def test_its_defaults_are_those_of_the_authors():
    ours = {name: p.default for name, p in inspect.signature(DINO).parameters.items()}
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


def test_it_is_registered_by_its_name():
    assert ssl_methods() == {"dino": DINO}
