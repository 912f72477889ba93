"""The method kit: faults of learning, of targets, of batches and of several processes, each named.

Every one of them trains without an error, and looks like a method that learns little.
"""

import copy
from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import distributed as dist
from torch import nn

from ssl_seg.augment.recipes import View
from ssl_seg.base import SSLMethod
from ssl_seg.distributed.collectives import all_gather, all_reduce_mean
from ssl_seg.nn.layers import make_ema_copy, mlp, update_ema
from ssl_seg.testing import check_method
from ssl_seg.testing.ranks import SimulatedRanks, UnevenRanks


class Sound(SSLMethod):
    """A small BYOL without a predictor, and a variance over the batch."""

    views = (View(), View())
    loss_over: ClassVar = "batch"

    def __init__(self, backbone):
        super().__init__()
        self.backbone, self.projector = backbone, mlp(16, 12, 8)
        self.target_backbone = self.copy_of(backbone)
        self.target_projector = self.copy_of(self.projector)

    def copy_of(self, module):
        return make_ema_copy(module)

    def project(self, view):
        return self.projector(self.backbone.summary(view))

    def target_of(self, view):
        with torch.no_grad():
            return self.target_projector(self.target_backbone.summary(view))

    def gather(self, points):
        return all_gather(points)

    def loss(self, one, two):
        narrow = (1.0 - self.gather(one).std(dim=0)).clamp(min=0.0).mean()
        return (one - two).square().mean() + narrow

    def training_step(self, views):
        one, two = self.project(views[0]), self.target_of(views[1])
        return {"loss": self.loss(one, two), "embedding": one}

    def follow(self, target, online):
        update_ema(target, online, 0.99)

    def after_step(self, progress):
        self.follow(self.target_backbone, self.backbone)
        self.follow(self.target_projector, self.projector)


class OverImages(Sound):
    """A loss of each image on its own."""

    loss_over: ClassVar = "image"

    def loss(self, one, two):
        return (one - two).square().mean()


# --- learning -------------------------------------------------------------------------------------


class BackboneIsFrozen(Sound):
    def __init__(self, backbone):
        super().__init__(backbone.requires_grad_(False))

    def after_step(self, progress):
        self.follow(self.target_projector, self.projector)


class KeptTeacherStandsStill(Sound):
    """What is kept is a copy that nobody moves; the student learns for nothing."""

    def __init__(self, backbone):
        super().__init__(backbone)
        self.student, self.backbone = self.backbone, make_ema_copy(self.backbone)

    def project(self, view):
        return self.projector(self.student.summary(view))

    def after_step(self, progress):
        self.follow(self.target_backbone, self.student)


class KeptTeacher(KeptTeacherStandsStill):
    def after_step(self, progress):
        super().after_step(progress)
        self.follow(self.backbone, self.student)


class LossTimesZero(Sound):
    def loss(self, one, two):
        return 0.0 * super().loss(one, two)


class OneLayerLearnsNothing(Sound):
    def project(self, view):
        first = self.backbone.one(view)
        maps = self.backbone.two(first.detach() + 0.0 * first)
        return self.projector(maps.mean(dim=(2, 3)))


class OneLayerOfStudentLearnsNothing(KeptTeacher):
    def project(self, view):
        first = self.student.one(view)
        maps = self.student.two(first.detach() + 0.0 * first)
        return self.projector(maps.mean(dim=(2, 3)))


# --- targets --------------------------------------------------------------------------------------


class DecayIsSwapped(Sound):
    def follow(self, target, online):
        update_ema(target, online, 0.01)


class TargetInEvaluationMode(Sound):
    def train(self, mode=True):
        super().train(mode)
        self.target_backbone.eval()
        return self


class TargetMovesItsStatistics(Sound):
    def copy_of(self, module):
        return copy.deepcopy(module).requires_grad_(False)


class TargetHasStatisticsOfItsOwn(TargetMovesItsStatistics):
    """As in DINO: its batches make them, and nothing else does."""

    def follow(self, target, online):
        with torch.no_grad():
            torch._foreach_lerp_(list(target.parameters()), list(online.parameters()), 0.01)


class TargetIsCopied(Sound):
    """The online network of the step before: no moving average, and no swapped one."""

    def follow(self, target, online):
        update_ema(target, online, 0.0)


# --- batches --------------------------------------------------------------------------------------


class ViewIsNotUsed(Sound):
    def training_step(self, views):
        return super().training_step([views[0], views[0]])


class PositionIsLabel(Sound):
    def __init__(self, backbone):
        super().__init__(backbone)
        self.head = nn.Linear(8, 32)

    def loss(self, one, two):
        return super().loss(one, two) + F.cross_entropy(self.head(one), torch.arange(len(one)))


class BatchSizeIsHardWired(Sound):
    def loss(self, one, two):
        return super().loss(one, two) + one.unflatten(0, (4, -1)).mean()


class SumOverImages(OverImages):
    def loss(self, one, two):
        return (one - two).square().mean(dim=1).sum() / 8


class ComparesImages(OverImages):
    """It says that its loss is one of each image, and contrasts images."""

    def loss(self, one, two):
        return F.cross_entropy(one @ two.T, torch.arange(len(one)))


class LogsVector(Sound):
    def training_step(self, views):
        out = super().training_step(views)
        return {**out, "per_image": out["embedding"].detach().norm(dim=1)}


class LogsNumber(Sound):
    def training_step(self, views):
        return {**super().training_step(views), "temperature": 0.1}


class EmbeddingIsMap(Sound):
    def training_step(self, views):
        return {**super().training_step(views), "embedding": self.backbone(views[0])[-1]}


class Dropout(Sound):
    def project(self, view):
        return F.dropout(super().project(view), 0.1, training=self.training)


# --- several processes ----------------------------------------------------------------------------


class GathersNothing(Sound):
    def gather(self, points):
        return points


class GathersWithoutGradient(Sound):
    """`torch.distributed.all_gather` has no backward."""

    def gather(self, points):
        if not dist.is_initialized():
            return points
        parts = [torch.empty_like(points) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, points.contiguous())
        parts[dist.get_rank()] = points
        return torch.cat(parts)


class CentreOfOneProcess(Sound):
    def __init__(self, backbone):
        super().__init__(backbone)
        self.register_buffer("centre", torch.zeros(8))

    def mean(self, points):
        return points.mean(dim=0)

    def training_step(self, views):
        one, two = self.project(views[0]), self.target_of(views[1])
        loss = self.loss(one, two - self.centre)
        self.centre = 0.5 * self.centre + 0.5 * self.mean(two)
        return {"loss": loss}


class CentreOfAll(CentreOfOneProcess):
    def mean(self, points):
        return all_reduce_mean(points.mean(dim=0)).to(points.dtype)


class OneRankAlone(Sound):
    def gather(self, points):
        if dist.is_initialized() and dist.get_rank() == 0:
            dist.all_reduce(points.detach().clone())
        return all_gather(points)


class OwnCollectives(Sound):
    """Of a kind that is not simulated: it cannot be held to two processes, and is not refused."""

    def gather(self, points):
        if dist.is_initialized():
            dist.reduce_scatter_tensor(torch.empty(1), torch.ones(2))
        return points


FAULTS = [
    (BackboneIsFrozen, "training does not change the backbone"),
    (KeptTeacherStandsStill, "training does not change the backbone"),
    (LossTimesZero, r"the gradient of backbone\.one\.0\.weight is zero in every step"),
    (OneLayerLearnsNothing, r"the gradient of backbone\.one\.0\.weight is zero in every step"),
    (OneLayerOfStudentLearnsNothing, r"the gradient of student\.one\.0\.weight is zero in every step"),
    (DecayIsSwapped, r"after_step moves target_backbone\.\S+ 99% of the way to backbone\."),
    (TargetInEvaluationMode, r"target_backbone\.one\.1 is in eval mode"),
    (
        TargetMovesItsStatistics,
        r"training_step and after_step both update the running statistics of target_backbone\.one\.1",
    ),
    (ViewIsNotUsed, "the loss does not depend on view 2 of 2"),
    (PositionIsLabel, "the loss depends on the order of the images"),
    (BatchSizeIsHardWired, "a batch of 7 images fails: RuntimeError"),
    (SumOverImages, "the loss is not a mean over images"),
    (ComparesImages, "the loss is not a mean over images"),
    (LogsVector, r"'per_image' must be a scalar, got shape \(8,\)"),
    (LogsNumber, "'temperature' must be a tensor, not float"),
    (EmbeddingIsMap, r"'embedding' must be \(images, dimensions\)"),
    (GathersNothing, r"the loss is .* in one process, .* in two"),
    (GathersWithoutGradient, "the gradient of .* differs in two processes"),
    (CentreOfOneProcess, r"the loss is .* in one process, .* in two"),
    (OneRankAlone, "in two processes: the ranks call different collectives: all_gather and all_reduce"),
]


@pytest.mark.parametrize(
    "method",
    [
        Sound,
        OverImages,
        KeptTeacher,
        TargetHasStatisticsOfItsOwn,
        TargetIsCopied,
        Dropout,
        CentreOfAll,
        OwnCollectives,
    ],
)
def test_sound_methods_pass(method):
    check_method(method)


@pytest.mark.parametrize(("fault", "sentence"), FAULTS, ids=lambda v: getattr(v, "__name__", ""))
def test_a_fault_is_named(fault, sentence):
    with pytest.raises(AssertionError, match=sentence):
        check_method(fault)


# --- simulated ranks ------------------------------------------------------------------------------


def test_collectives_give_what_processes_get():
    def work(rank):
        assert (dist.get_rank(), dist.get_world_size(), dist.is_initialized()) == (rank, 3, True)
        own = torch.tensor([rank + 1.0, 10.0 * rank])
        sums, largest, first = own.clone(), own.clone(), own.clone()
        dist.all_reduce(sums)
        assert dist.all_reduce(largest, op=dist.ReduceOp.MAX, async_op=True).wait()
        parts = [torch.empty(2) for _ in range(3)]
        dist.all_gather(parts, own)
        joined = torch.empty(6)
        dist.all_gather_into_tensor(joined, own)
        dist.broadcast(first, src=2)
        dist.barrier()
        return sums, largest, torch.stack(parts), joined, first

    expected = torch.tensor([[1.0, 0.0], [2.0, 10.0], [3.0, 20.0]])
    for sums, largest, parts, joined, first in SimulatedRanks(3).run(work):
        assert torch.equal(sums, expected.sum(dim=0)) and torch.equal(largest, expected[2])
        assert torch.equal(parts, expected) and torch.equal(joined, expected.flatten())
        assert torch.equal(first, expected[2])
    assert not dist.is_initialized(), "nothing is left behind"


def test_gradients_flow_through_the_gather_as_in_processes():
    points = [
        torch.tensor([[1.0], [3.0]], requires_grad=True),
        torch.tensor([[2.0], [5.0]], requires_grad=True),
    ]

    def work(rank):
        gathered = all_gather(points[rank])
        (gathered**2).sum().backward()
        return gathered.detach()

    for gathered in SimulatedRanks(2).run(work):
        assert gathered[:, 0].tolist() == [1.0, 2.0, 3.0, 5.0]
    assert points[0].grad[:, 0].tolist() == [4.0, 12.0]  # both have a loss of it


def test_what_fails_in_one_rank_ends_all():
    def work(rank):
        if rank:
            raise KeyError("mine")
        dist.barrier()

    with pytest.raises(KeyError, match="mine"):
        SimulatedRanks(2).run(work)


def test_a_rank_that_waits_for_nobody_is_uneven():
    with pytest.raises(UnevenRanks, match="not all ranks call the same collective"):
        SimulatedRanks(2, timeout=0.2).run(lambda rank: dist.barrier() if rank else None)
