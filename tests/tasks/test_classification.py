"""Training on labels: what is frozen stays, mixup mixes as the paper says, features stand for images."""

import numpy as np
import pytest
import scipy.stats
import torch
import torch.nn.functional as F

import ssl_seg
from ssl_seg.augment.recipes import TRAIN_VIEWS, View
from ssl_seg.augment.views import augment
from ssl_seg.base import Model
from ssl_seg.data.image_cache import open_image_cache
from ssl_seg.datasets.demo import demo
from ssl_seg.engine.device import Device
from ssl_seg.engine.inference import extract_features
from ssl_seg.heads.linear import Linear
from ssl_seg.tasks.classification import ClassificationTask, mixup, pooled_features
from ssl_seg.testing import TinyBackbone


def new_model():
    torch.manual_seed(0)
    backbone = TinyBackbone()
    backbone(2.0 * torch.randn(16, 3, 32, 32) + 1.0)  # running statistics that differ from their start
    return Model(backbone, Linear(backbone.channels, backbone.strides, 5))


def trained(module, steps=3):
    module.train()
    optimizer = torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], 0.1, weight_decay=0.1)
    for step in range(steps):
        torch.manual_seed(step)
        out = module([torch.randn(8, 3, 32, 32), torch.arange(8) % 5])
        out["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()


def test_a_frozen_backbone_is_bit_identical_afterwards():
    module = ClassificationTask(new_model(), freeze_backbone=True)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    trained(module)
    after = module.state_dict()
    moved = {name for name in after if not torch.equal(after[name], before[name])}
    assert moved and all(name.startswith("model.head.") for name in moved)
    assert all(p.grad is None for p in module.model.backbone.parameters())
    module.eval()
    module.train()
    assert not any(part.training for part in module.model.backbone.modules())
    assert module.model.head.training


def test_without_freezing_everything_moves():
    module = ClassificationTask(new_model())
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    trained(module)
    still = {name for name, tensor in module.state_dict().items() if torch.equal(tensor, before[name])}
    assert still == set()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_numpys(smoothing):
    module = ClassificationTask(new_model(), label_smoothing=smoothing).eval()
    images, targets = torch.randn(6, 3, 32, 32), torch.tensor([0, 1, 2, 3, 4, 0])
    out = module([images, targets])
    logits = module.model(images).detach().double().numpy()
    log = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    wanted = (1 - smoothing) * np.eye(5)[targets] + smoothing / 5
    assert out["loss"].item() == pytest.approx(-(wanted * log).sum(1).mean(), abs=1e-5)
    assert out["accuracy"].item() == pytest.approx((logits.argmax(1) == targets.numpy()).mean())


def test_mixup_mixes_each_image_with_the_next():
    images, targets, samples = torch.rand(32, 3, 4, 4), torch.arange(32) % 5, torch.arange(32)
    mixed, soft = mixup(images, targets, 5, 0.4, samples, seed=1, epoch=2)
    assert torch.allclose(soft.sum(1), torch.ones(32))
    sure = F.one_hot(targets, 5).float()
    for row in range(32):
        other = row - 1
        share = soft[row, targets[row]].item()
        assert torch.allclose(soft[row], share * sure[row] + (1 - share) * sure[other], atol=1e-6)
        assert torch.allclose(mixed[row], share * images[row] + (1 - share) * images[other], atol=1e-6)
    again, _ = mixup(images, targets, 5, 0.4, samples, seed=1, epoch=2)
    assert torch.equal(again, mixed)
    assert not torch.equal(mixup(images, targets, 5, 0.4, samples, seed=1, epoch=3)[0], mixed)


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_the_share_of_mixup_is_beta_distributed(alpha):
    count = 4000
    targets = torch.arange(count) % 2
    _, soft = mixup(torch.zeros(count, 1, 1, 1), targets, 2, alpha, torch.arange(count), seed=0, epoch=0)
    share = soft[torch.arange(count), targets].double().numpy()
    assert scipy.stats.kstest(share, scipy.stats.beta(alpha, alpha).cdf).pvalue > 0.01


@pytest.fixture
def image_cache(tmp_path):
    return open_image_cache(demo("30", ""), 48, tmp_path / "stores")


def test_cached_features_are_those_of_the_images(image_cache):
    backbone, device = new_model().backbone, Device("fp32", cpu=True)
    (centre,) = pooled_features(backbone, image_cache, device, size=32)
    assert torch.equal(centre, extract_features(backbone, image_cache, device, size=32)[0])
    view = TRAIN_VIEWS["strong"]
    rounds = pooled_features(backbone, image_cache, device, size=32, views=[view], num_views=3, seed=5)
    assert rounds.shape == (3, 30, 16) and not rounds.requires_grad
    backbone.eval()
    for epoch in range(3):
        samples = torch.arange(30)
        (images,) = augment(
            image_cache.images, [view], image_cache.sizes, samples, seed=5, epoch=epoch, size=32
        )
        with torch.no_grad():
            expected = backbone(images)[-1].mean((2, 3))
        torch.testing.assert_close(rounds[epoch], expected, atol=1e-5, rtol=1e-5)


def test_training_views_are_as_stated():
    assert set(TRAIN_VIEWS) == {"light", "strong"}
    light = TRAIN_VIEWS["light"]
    assert isinstance(light, View) and (light.jitter_p, light.gray_p, light.blur_p) == (0, 0, 0)


def test_the_former_name_works_for_one_version():
    with pytest.deprecated_call(match="ClassificationTask"):
        task = ssl_seg.Supervised(new_model(), frozen=True, label_smoothing=0.1)
    assert isinstance(task, ClassificationTask) and task.freeze_backbone and task.label_smoothing == 0.1
