"""The conformance kit: green on sound components, red with the right sentence on planted faults."""

from functools import partial
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from ssl_seg.augment.recipes import View
from ssl_seg.base import Dataset, Head, Metric, SSLMethod
from ssl_seg.nn.layers import global_pool, make_ema_copy, mlp, update_ema
from ssl_seg.plugins import load_plugins
from ssl_seg.testing import (
    TinyBackbone,
    check_backbone,
    check_dataset,
    check_head,
    check_method,
    check_metric,
)
from ssl_seg.workflows.component_check import fill_feature_bank

REGISTRY = load_plugins().registry


# --- sound components -----------------------------------------------------------------------------


# of methods whose default widths take seconds, and whose layers are the same at any width
NARROW = {
    "fastsiam": {"dimensions": 64, "bottleneck": 16},
    "mae": {"decoder_width": 32, "decoder_depth": 1},
    "simsiam": {"dimensions": 64, "bottleneck": 16},
    "spark": {"width": 32},
    "vicregl": {"hidden": 64, "dimensions": 64, "cell_dimensions": 32},
}


@pytest.mark.parametrize("name", REGISTRY.names("ssl"))
def test_every_method_keeps_the_contract(name):
    factory = REGISTRY.factory("ssl", name)
    check_method(partial(factory, **NARROW[name]) if name in NARROW else factory)


@pytest.mark.parametrize("name", REGISTRY.names("metrics"))
def test_every_metric_keeps_the_contract(name):
    check_metric(REGISTRY.factory("metrics", name), fill_feature_bank)


@pytest.mark.parametrize("name", REGISTRY.names("heads"))
def test_every_head_keeps_the_contract(name):
    check_head(REGISTRY.factory("heads", name))


def test_a_sound_dataset_passes():
    check_dataset(REGISTRY.factory("datasets", "demo")("40", ""))


# --- methods --------------------------------------------------------------------------------------


class Sound(SSLMethod):
    """A small BYOL without a predictor; the faults below are made in it."""

    views = (View(), View())

    def __init__(self, backbone):
        super().__init__()
        self.backbone, self.projector = backbone, mlp(16, 12, 8)
        self.build_target()

    def build_target(self):
        self.target = nn.Sequential(make_ema_copy(self.backbone), make_ema_copy(self.projector))

    def nets(self):
        return self.target[0], self.target[1]

    def target_of(self, view):
        backbone, projector = self.nets()
        with torch.no_grad():
            return projector(global_pool(backbone(view)))

    def loss(self, one, two):
        return (one - two).square().mean()

    def training_step(self, views):
        return {
            "loss": self.loss(self.projector(global_pool(self.backbone(views[0]))), self.target_of(views[1]))
        }

    def after_step(self, progress):
        for target, online in zip(self.nets(), (self.backbone, self.projector), strict=True):
            update_ema(target, online, 0.9)


class TargetIsOnline(Sound):
    def build_target(self):
        self.target = nn.Sequential(self.backbone, self.projector)


class TargetIsOnlineInList(Sound):
    def build_target(self):
        self.target = [self.backbone, self.projector]


class TargetIsView(Sound):
    def build_target(self):
        super().build_target()
        self.target[0].one[0].weight.data = self.backbone.one[0].weight.data


class TargetBecomesView(Sound):
    """The copy is forgotten: from the second step on, the optimizer moves the target too."""

    def after_step(self, progress):
        for mine, theirs in zip(self.target[1].parameters(), self.projector.parameters(), strict=True):
            mine.data = theirs.data


class RecipeIsNotRead(Sound):
    recipe: ClassVar = {"optimizer": "sgd", "learning_rate": 0.05}


class BufferIsShared(Sound):
    def build_target(self):
        super().build_target()
        self.target[0].one[1].running_mean = self.backbone.one[1].running_mean


class AverageBeforeOptimizer(Sound):
    def training_step(self, views):
        Sound.after_step(self, 0.0)
        return super().training_step(views)

    def after_step(self, progress):
        pass


class TargetIsTrained(Sound):
    def build_target(self):
        super().build_target()
        self.target.requires_grad_(True)

    def target_of(self, view):
        backbone, projector = self.nets()
        return projector(global_pool(backbone(view)))


class TargetStillRequiresGradient(Sound):
    def build_target(self):
        super().build_target()
        self.target.requires_grad_(True)


class TargetDecays(Sound):
    """A gradient of zero is enough for weight decay to move the target."""

    def build_target(self):
        super().build_target()
        self.target.requires_grad_(True)

    def loss(self, one, two):
        return super().loss(one, two) + 0.0 * sum(p.sum() for p in self.target.parameters())


class GradientByHand(Sound):
    def training_step(self, views):
        for parameter in self.target.parameters():
            parameter.grad = torch.zeros_like(parameter)
        return super().training_step(views)


class TargetInList(Sound):
    def build_target(self):
        self.target = [make_ema_copy(self.backbone), make_ema_copy(self.projector)]


class CentreIsNoBuffer(Sound):
    def build_target(self):
        super().build_target()
        self.centre = torch.zeros(8)

    def loss(self, one, two):
        self.centre.mul_(0.9).add_(two.mean(dim=0), alpha=0.1)
        return super().loss(one, two - self.centre)


class CentreIsReplaced(CentreIsNoBuffer):
    """The tensor of the start never changes; another takes its place."""

    def loss(self, one, two):
        self.centre = 0.9 * self.centre + 0.1 * two.mean(dim=0)
        return Sound.loss(self, one, two - self.centre)


class CountsInPython(Sound):
    count = 0

    def loss(self, one, two):
        self.count += 1
        return super().loss(one, two) * (1.0 + 0.1 * self.count)


class QueueInObject(Sound):
    class Queue:
        def __init__(self):
            self.rows = torch.zeros(4, 8)

    def build_target(self):
        super().build_target()
        self.memory = {"queue": self.Queue()}

    def loss(self, one, two):
        self.memory["queue"].rows.copy_(two[:4])
        return super().loss(one, two)


class LossPerImage(Sound):
    def loss(self, one, two):
        return (one - two).square().mean(dim=1)


class LossDetached(Sound):
    def loss(self, one, two):
        return super().loss(one, two).detach()


class LossIsNaN(Sound):
    def loss(self, one, two):
        return super().loss(one, two) * float("nan")


class LossIsFloat(Sound):
    def loss(self, one, two):
        return super().loss(one, two).item()


class NoLoss(Sound):
    def training_step(self, views):
        return {"total": super().training_step(views)["loss"]}


class BackboneLeftOut(Sound):
    def training_step(self, views):
        with torch.no_grad():
            features = global_pool(self.backbone(views[0]))
        return {"loss": self.loss(self.projector(features), self.target_of(views[1]))}


class GradientIsInfinite(Sound):
    def loss(self, one, two):
        return super().loss(one, two) + (one - one.detach()).square().sum().sqrt()


METHOD_FAULTS = [
    (TargetIsOnline, "target.0.one.0.weight shares its storage with backbone.one.0.weight"),
    (TargetIsOnlineInList, "target.0.one.0.weight shares its storage with backbone.one.0.weight"),
    (TargetIsView, "target.0.one.0.weight shares its storage with backbone.one.0.weight"),
    (RecipeIsNotRead, "the recipe: unknown key 'learning_rate'"),
    (BufferIsShared, "target.0.one.1.running_mean shares its storage with backbone.one.1.running_mean"),
    (TargetBecomesView, "the optimizer updated target.1.0.weight, which requires no gradient"),
    (AverageBeforeOptimizer, r"training_step changed target\..*; update targets in after_step"),
    (TargetIsTrained, r"after_step updates target\..*, which receives gradients"),
    (TargetStillRequiresGradient, r"after_step updates target\..*, which still requires a gradient"),
    (TargetDecays, r"after_step updates target\..*, which receives gradients"),
    (GradientByHand, r"target\..* requires no gradient but has one"),
    (TargetInList, r"target\.0\..* changes in training and is not in state_dict"),
    (CentreIsNoBuffer, r"centre changes in training and is not in state_dict"),
    (CentreIsReplaced, "a resumed run differs: loss"),
    (CountsInPython, "a resumed run differs: loss"),
    (QueueInObject, r"memory\.queue\.rows changes in training and is not in state_dict"),
    (LossPerImage, "the loss must be a finite scalar"),
    (LossDetached, "the loss is detached from the parameters"),
    (LossIsNaN, "the loss must be a finite scalar"),
    (LossIsFloat, "the loss must be a tensor, not float"),
    (NoLoss, "training_step must return a dict with 'loss'"),
    (BackboneLeftOut, r"backbone\.one\.0\.weight gets no gradient"),
    (GradientIsInfinite, r"the gradient of backbone\..* is not finite"),
]


def test_a_sound_method_passes():
    check_method(Sound)


@pytest.mark.parametrize(("fault", "sentence"), METHOD_FAULTS, ids=lambda v: getattr(v, "__name__", ""))
def test_a_fault_of_a_method_is_named(fault, sentence):
    with pytest.raises(AssertionError, match=sentence):
        check_method(fault)


# --- backbones ------------------------------------------------------------------------------------


class BatchStatistics(TinyBackbone):
    """Its BatchNorm normalises by the batch in evaluation mode too."""

    def __init__(self):
        super().__init__()
        self.two[1] = nn.BatchNorm2d(16, track_running_stats=False)


class WrongChannels(TinyBackbone):
    def __init__(self):
        super().__init__()
        self.channels = [8, 32]


class WrongStrides(TinyBackbone):
    def __init__(self):
        super().__init__()
        self.strides = [2, 8]


class OneStrideShort(TinyBackbone):
    def __init__(self):
        super().__init__()
        self.strides = [2]


class GivesTuple(TinyBackbone):
    def forward(self, images):
        return tuple(super().forward(images))


class NoGradient(TinyBackbone):
    def forward(self, images):
        return [feature + 0.0 * images.sum().requires_grad_() for feature in self._frozen(images)]

    @torch.no_grad()
    def _frozen(self, images):
        return super().forward(images)


class ForgetsWeights(TinyBackbone):
    """A part that is in no `state_dict`, different in every instance."""

    def __init__(self):
        super().__init__()
        self.hidden = [nn.Parameter(torch.rand(1) + 0.5)]
        self.hidden[0].data += id(self.hidden) % 1000 / 1000

    def forward(self, images):
        return [feature * self.hidden[0] for feature in super().forward(images)]


class NotFinite(TinyBackbone):
    def forward(self, images):
        first, second = super().forward(images)
        return [first, second / (0.0 if not self.training else 1.0)]


class HasIdleLayer(TinyBackbone):
    """As a classifier's own layer, behind the deepest map."""

    def __init__(self):
        super().__init__()
        self.last = nn.Conv2d(16, 4, 1)


class GradientIsNotFinite(TinyBackbone):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(()))

    def forward(self, images):
        return [feature + self.scale.sqrt() for feature in super().forward(images)]


BACKBONE_FAULTS = [
    (HasIdleLayer, "last.weight gets no gradient"),
    (GradientIsNotFinite, "the gradient of scale is not finite"),
    (BatchStatistics, "features depend on the other images"),
    (WrongChannels, r"shapes \[\(4, 8, 32, 32\), \(4, 16, 16, 16\)\]"),
    (WrongStrides, r"shapes \[\(4, 8, 32, 32\), \(4, 16, 16, 16\)\]"),
    (OneStrideShort, "channels and strides differ in length"),
    (GivesTuple, "forward must return a list, not tuple"),
    (NoGradient, "no parameter gets a gradient"),
    (ForgetsWeights, "features differ after save and load"),
    (NotFinite, "features are not finite"),
]


def test_a_sound_backbone_passes():
    check_backbone(TinyBackbone)


@pytest.mark.parametrize(("fault", "sentence"), BACKBONE_FAULTS, ids=lambda v: getattr(v, "__name__", ""))
def test_a_fault_of_a_backbone_is_named(fault, sentence):
    with pytest.raises(AssertionError, match=sentence):
        check_backbone(fault)


# --- heads ----------------------------------------------------------------------------------------


class SoundHead(Head):
    def __init__(self, channels, strides, classes):
        super().__init__()
        self.score = nn.Conv2d(channels[-1], classes, 1)

    def forward(self, features, size):
        return nn.functional.interpolate(self.score(features[-1]), size, mode="bilinear")


class WrongSize(SoundHead):
    def forward(self, features, size):
        return self.score(features[-1])


class NaNLogits(SoundHead):
    def forward(self, features, size):
        return super().forward(features, size) * float("nan")


class IdleParameter(SoundHead):
    def __init__(self, channels, strides, classes):
        super().__init__(channels, strides, classes)
        self.idle = nn.Conv2d(channels[0], classes, 1)


class SizeIsFixed(SoundHead):
    def forward(self, features, size):
        return nn.functional.interpolate(self.score(features[-1]), scale_factor=16)


HEAD_FAULTS = [
    (WrongSize, r"logits have shape \(2, 5, 4, 4\)"),
    (SizeIsFixed, r"logits have shape \(2, 5, 112, 112\)"),
    (NaNLogits, "logits are not finite"),
    (IdleParameter, "idle.weight gets no gradient"),
]


def test_a_sound_head_passes():
    check_head(SoundHead)


@pytest.mark.parametrize(("fault", "sentence"), HEAD_FAULTS, ids=lambda v: getattr(v, "__name__", ""))
def test_a_fault_of_a_head_is_named(fault, sentence):
    with pytest.raises(AssertionError, match=sentence):
        check_head(fault)


# --- metrics --------------------------------------------------------------------------------------


class SoundMetric(Metric):
    """Accuracy, a mean that float rounding touches, and a class that is never there."""

    def __init__(self, classes):
        self.reset()

    def reset(self):
        self.right, self.seen, self.total = 0, 0, 0.0

    def update(self, logits, target):
        known = target != 255
        self.right += int((logits.argmax(dim=1) == target).sum())
        self.total += float(logits.argmax(dim=1)[known].sum())
        self.seen += int(known.sum())

    def compute(self):
        return {"top1": self.right / self.seen, "mean": self.total / self.seen, "absent": float("nan")}


class MeanOfBatches(SoundMetric):
    def update(self, logits, target):
        self.right += float((logits.argmax(dim=1) == target).float().mean())
        self.seen += 1

    def compute(self):
        return {"top1": self.right / self.seen}


class NeverForgets(SoundMetric):
    def __init__(self, classes):
        super().reset()

    def reset(self):
        pass


class GivesTensors(SoundMetric):
    def compute(self):
        return {"top1": torch.tensor(self.right / self.seen)}


class GivesNothing(SoundMetric):
    def compute(self):
        return {}


class OfPixels(SoundMetric):
    """It takes no logits of images, as the mean IoU of a library may."""

    def update(self, logits, target):
        _, _, _, _ = logits.shape
        super().update(logits, target)


class OfImages(SoundMetric):
    def update(self, logits, target):
        _, _ = logits.shape
        super().update(logits, target)


class CountsIgnored(SoundMetric):
    """255 is a class like any other that is never predicted."""

    def update(self, logits, target):
        self.right += int((logits.argmax(dim=1) == target).sum())
        self.total += float(logits.sum())
        self.seen += target.numel()


class MeanOfPixelBatches(OfPixels):
    def update(self, logits, target):
        _, _, _, _ = logits.shape
        self.right += float((logits.argmax(dim=1) == target)[target != 255].float().mean())
        self.seen += 1


class TakesNothing(SoundMetric):
    def update(self, logits, target):
        raise ValueError("I take probabilities")


METRIC_FAULTS = [
    (CountsIgnored, "pixels of target 255 affect the value"),
    (MeanOfPixelBatches, "the values depend on the batch size"),
    (TakesNothing, "accepts logits neither of images nor of pixels: ValueError: I take probabilities"),
    (MeanOfBatches, "the values depend on the batch size"),
    (NeverForgets, "reset.. does not clear the state"),
    (GivesTensors, "must return floats"),
    (GivesNothing, "returns no value"),
]


@pytest.mark.parametrize("metric", [SoundMetric, OfPixels, OfImages])
def test_a_sound_metric_passes(metric):
    check_metric(metric)


@pytest.mark.parametrize(("fault", "sentence"), METRIC_FAULTS, ids=lambda v: getattr(v, "__name__", ""))
def test_a_fault_of_a_metric_is_named(fault, sentence):
    with pytest.raises(AssertionError, match=sentence):
        check_metric(fault)


# --- datasets -------------------------------------------------------------------------------------


class SoundDataset(Dataset):
    def __init__(self):
        self.classes = ["a", "b"]
        self.samples = [(f"{index}.png", index % 2) for index in range(20)]

    def identity(self, index):
        return f"sound {index}"

    def image(self, index, canvas):
        return np.full((min(canvas, 50), 40, 3), index, dtype=np.uint8), (50, 40)


def faulty(**changes):
    """A sound dataset with some attributes or methods replaced."""
    dataset = SoundDataset()
    for name, value in changes.items():
        setattr(dataset, name, value)
    return dataset


def shape(*sides, dtype=np.uint8, size=(50, 40)):
    return lambda index, canvas: (np.zeros(sides, dtype=dtype), size)


class WithMasks(SoundDataset):
    masks = True

    def mask(self, index, canvas):
        mask = np.full((min(canvas, 50), 40), index % 2, dtype=np.uint8)
        mask[:3] = 255
        return mask


def masked(mask):
    dataset = WithMasks()
    dataset.mask = mask
    return dataset


def test_a_dataset_with_masks_passes():
    check_dataset(WithMasks())


@pytest.mark.parametrize(
    ("mask", "sentence"),
    [
        (
            lambda i, c: np.zeros((40, 50), np.uint8),
            r"the mask of 0\.png: shape \(40, 50\), but the image has \(50, 40\)",
        ),
        (lambda i, c: np.zeros((50, 40), np.int64), "values are int64, not uint8"),
        (
            lambda i, c: np.full((50, 40), 2, np.uint8),
            "value 2 with 2 classes; unlabeled pixels must be 255",
        ),
        (
            lambda i, c: np.random.default_rng().integers(0, 2, (50, 40), np.uint8),
            "mask of 0.png: differs when read",
        ),
    ],
)
def test_a_fault_of_masks_is_named(mask, sentence):
    with pytest.raises(AssertionError, match=sentence):
        check_dataset(masked(mask))


DATASET_FAULTS = {
    "empty": ({"samples": []}, "the dataset is empty"),
    "target too large": (
        {"samples": [("x", 0)] * 18 + [("y", 2), ("z", 0)]},
        "target 2 of y is out of range",
    ),
    "target below -1": ({"samples": [("x", -2)]}, "target -2 of x is out of range"),
    "target without classes": ({"samples": [("x", 0)], "classes": []}, "target 0 of x is out of range"),
    "path is no str": ({"samples": [(1, 0)]}, "a sample's path must be a str"),
    "floats": ({"image": shape(50, 40, 3, dtype=np.float32)}, "pixels are float32, not uint8"),
    "grey": ({"image": shape(50, 40)}, r"shape \(50, 40\), not"),
    "channels first": ({"image": shape(3, 50, 40)}, r"shape \(3, 50, 40\), not"),
    "too large": ({"image": shape(65, 40, 3)}, "larger than the canvas"),
    "no size": ({"image": shape(50, 40, 3, size=(0, 40))}, "invalid size 0 x 40"),
    "one identity": ({"identity": lambda index: "same"}, "different images have the same identity"),
}


def test_a_labelled_and_an_unlabelled_dataset_pass():
    check_dataset(SoundDataset())
    check_dataset(faulty(classes=[], samples=[(f"{index}", -1) for index in range(5)]))


@pytest.mark.parametrize(("changes", "sentence"), DATASET_FAULTS.values(), ids=DATASET_FAULTS)
def test_a_fault_of_a_dataset_is_named(changes, sentence):
    with pytest.raises(AssertionError, match=sentence):
        check_dataset(faulty(**changes))


def test_a_dataset_that_draws_at_random_is_named():
    random = np.random.default_rng(0)
    dataset = faulty(image=lambda i, c: (random.integers(0, 256, (50, 40, 3), dtype=np.uint8), (50, 40)))
    with pytest.raises(AssertionError, match="differs when read again"):
        check_dataset(dataset)


def test_the_length_is_that_of_the_samples():
    class Longer(SoundDataset):
        def __len__(self):
            return 21

    with pytest.raises(AssertionError, match="samples differ"):
        check_dataset(Longer())
