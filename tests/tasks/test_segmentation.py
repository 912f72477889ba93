"""Training on masks: the loss, what does not count, and whole images."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ssl_seg.augment.views import normalize_images
from ssl_seg.base import Dataset, Head, Model
from ssl_seg.data.image_cache import open_image_cache
from ssl_seg.engine.accumulation import shares
from ssl_seg.engine.device import Device
from ssl_seg.tasks.segmentation import SegmentationTask, full_image_logits
from ssl_seg.tasks.segmentation_losses import class_weights, lovasz_softmax
from ssl_seg.testing import TinyBackbone
from tests.counting import DeviceCounter

CLASSES = 4


class Pixels(Head):
    """One layer on the deepest map, enlarged; the shallow map as auxiliary."""

    def __init__(self, aux=False):
        super().__init__()
        self.net, self.aux = nn.Conv2d(16, CLASSES, 1), nn.Conv2d(8, CLASSES, 1) if aux else None

    def forward(self, features, size):
        return F.interpolate(self.net(features[1]), size, mode="bilinear")

    def auxiliary(self, features, size):
        return F.interpolate(self.aux(features[0]), size, mode="bilinear") if self.aux else None


def new_model(aux=False, excluded=()):
    torch.manual_seed(0)
    return Model(TinyBackbone(), Pixels(aux), excluded=excluded)


def a_batch():
    generator = torch.Generator().manual_seed(1)
    masks = torch.randint(0, CLASSES, (3, 16, 16), generator=generator)
    masks[:, :4] = 255
    return torch.randn(3, 3, 16, 16, generator=generator), masks


def numpy_loss(logits, masks, weights):
    logits = logits.detach().double().numpy().transpose(0, 2, 3, 1)
    log = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    known = masks.numpy() != 255
    target = masks.numpy()[known]
    weight = np.asarray(weights)[target]
    return -(weight * log[known][np.arange(len(target)), target]).sum() / weight.sum()


@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 0.5, 3.0]])
def test_cross_entropy_is_numpys(weights):
    model, (images, masks) = new_model(), a_batch()
    module = SegmentationTask(model, weights=None if weights is None else torch.tensor(weights)).eval()
    out = module([images, masks])
    expected = numpy_loss(model(images), masks, weights or [1.0] * CLASSES)
    assert out["loss"].item() == pytest.approx(expected, abs=1e-5)
    known = masks != 255
    right = (model(images).argmax(1) == masks)[known].double().mean().item()
    assert out["pixel_accuracy"].item() == pytest.approx(right, abs=1e-6)


def test_excluded_classes_are_as_if_the_network_had_no_output_for_them():
    model, (images, masks) = new_model(excluded=[1, 3]), a_batch()
    out = SegmentationTask(model).eval()([images, masks])
    left_out = masks.masked_fill((masks == 1) | (masks == 3), 255)
    logits = new_model().eval()(images)[:, [0, 2]]
    relabelled = left_out.masked_fill(left_out == 2, 1)
    assert out["loss"].item() == pytest.approx(numpy_loss(logits, relabelled, [1.0, 1.0]), abs=1e-5)
    known = relabelled != 255
    right = (logits.argmax(1) == relabelled)[known].double().mean().item()
    assert out["pixel_accuracy"].item() == pytest.approx(right, abs=1e-6)


@pytest.mark.parametrize("loss", ["ce", "dice", "lovasz", "ce+dice", "ce+lovasz"])
def test_excluded_classes_are_never_predicted_and_not_trained(loss):
    model, (images, masks) = new_model(aux=True, excluded=[1]), a_batch()
    with torch.no_grad():
        model.head.net.bias[1] = 100.0  # it would win everywhere
    out = SegmentationTask(model, loss=loss)([images, masks])
    out["loss"].backward()
    assert torch.isfinite(out["loss"]) and not (model(images).argmax(1) == 1).any()
    for layer in (model.head.net, model.head.aux):
        assert torch.isfinite(layer.weight.grad).all() and layer.weight.grad[0].any()
        assert not layer.weight.grad[1].any() and not layer.bias.grad[1].any()


def test_a_batch_without_a_class_gives_no_nan():
    module, (images, masks) = SegmentationTask(new_model()), a_batch()
    out = module([images, torch.full_like(masks, 255)])
    assert out["loss"].item() == 0.0 and out["pixel_accuracy"].item() == 0.0
    out["loss"].backward()
    assert all(torch.isfinite(p.grad).all() for p in module.parameters() if p.grad is not None)


def test_the_auxiliary_head_counts_by_its_weight():
    model, (images, masks) = new_model(aux=True), a_batch()
    features = model.backbone.eval()(images)
    ones = [1.0] * CLASSES
    main = numpy_loss(model.head(features, (16, 16)), masks, ones)
    extra = numpy_loss(model.head.auxiliary(features, (16, 16)), masks, ones)
    loss = SegmentationTask(model, aux_weight=0.3).eval()([images, masks])["loss"].item()
    assert loss == pytest.approx(main + 0.3 * extra, abs=1e-5)


@pytest.mark.parametrize("name", ["dice", "lovasz", "ce+dice", "ce+lovasz"])
def test_other_losses_fall_when_the_answer_is_right(monkeypatch, name):
    model, (images, masks) = new_model(), a_batch()
    module = SegmentationTask(model, loss=name)
    guess = module([images, masks])["loss"].item()
    sure = F.one_hot(masks.clamp(max=CLASSES - 1), CLASSES).permute(0, 3, 1, 2).float() * 20
    monkeypatch.setattr(model.head, "forward", lambda *_: sure)
    assert module([images, masks])["loss"].item() < 0.05 < guess


def test_a_frozen_backbone_stays():
    module, (images, masks) = SegmentationTask(new_model(), freeze_backbone=True).train(), a_batch()
    before = {name: tensor.clone() for name, tensor in module.model.backbone.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in module.parameters() if p.requires_grad], 0.1)
    module([images, masks])["loss"].backward()
    optimizer.step()
    assert all(torch.equal(t, before[n]) for n, t in module.model.backbone.state_dict().items())


class Tiles(Dataset):
    """Images of several sizes; a mask is the red channel modulo four."""

    masks = True

    def __init__(self, sizes):
        self.classes, self.sizes = list("abcd"), sizes
        self.samples = [(f"{i}.png", -1) for i in range(len(sizes))]

    def identity(self, index):
        return str(index)

    def image(self, index, canvas):
        random = np.random.default_rng(index)
        size = self.sizes[index]
        return random.integers(0, 256, (*size, 3), dtype=np.uint8), size

    def mask(self, index, canvas):
        return self.image(index, canvas)[0][:, :, 0] % 4


@pytest.mark.parametrize("sizes", [[(32, 32)] * 5, [(32, 24), (16, 32), (32, 32), (8, 8), (32, 24)]])
@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_whole_images_are_answered_at_their_own_size(sizes, batch_size, tmp_path):
    dataset, model = Tiles(sizes), new_model()
    model.backbone(torch.randn(16, 3, 32, 32))
    image_cache = open_image_cache(dataset, 32, tmp_path)
    seen = []
    how = {"mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.4)}
    for logits, batch in full_image_logits(
        model, image_cache, Device("fp32", cpu=True), batch_size=batch_size, **how
    ):
        for row, answer, mask in zip(batch.samples.tolist(), logits, batch.masks, strict=True):
            seen.append(row)
            image = torch.from_numpy(dataset.image(row, 32)[0].transpose(2, 0, 1).copy())[None]
            model.eval()
            with torch.no_grad():
                torch.testing.assert_close(
                    answer, model(normalize_images(image, **how))[0], atol=1e-5, rtol=1e-5
                )
            assert np.array_equal(mask.numpy(), dataset.mask(row, 32))
    assert sorted(seen) == list(range(5))


def test_class_weights_are_enets(tmp_path):
    image_cache = open_image_cache(Tiles([(32, 32)] * 3), 32, tmp_path)
    counts = np.bincount(image_cache.masks.flatten().numpy(), minlength=4).astype(float)
    pixels = torch.from_numpy(counts.astype(np.int64))
    counts[2] = 0
    raw = 1 / np.log(1.02 + counts / counts.sum())
    raw[2] = 0
    expected = raw / raw[[0, 1, 3]].mean()
    np.testing.assert_allclose(class_weights(pixels, [2]).numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("excluded", [(), (2,)])
@pytest.mark.parametrize("loss", ["ce", "dice", "lovasz", "ce+dice", "ce+lovasz"])
def test_a_batch_without_a_pixel_to_learn_from_changes_nothing(loss, excluded):
    module = SegmentationTask(new_model(excluded=excluded), loss=loss)
    images, masks = a_batch()
    out = module([images, torch.full_like(masks, 255)])
    assert out["loss"].item() == 0.0
    out["loss"].backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is None or not parameter.grad.any(), name
    assert module([images, masks])["loss"] > 0


@pytest.mark.parametrize("missing", [None, 1, "all"])
def test_lovasz_is_that_of_segmentation_models(missing):
    from segmentation_models_pytorch.losses import LovaszLoss

    generator = torch.Generator().manual_seed(0)
    masks = torch.randint(0, CLASSES, (3, 9, 7), generator=generator)
    masks[torch.rand(masks.shape, generator=generator) < 0.3] = 255
    masks[(masks == missing) if missing != "all" else slice(None)] = 255
    logits = [torch.randn(3, CLASSES, 9, 7, generator=generator).requires_grad_()]
    logits.append(logits[0].detach().clone().requires_grad_())
    ours, theirs = (
        lovasz_softmax(logits[0], masks),
        LovaszLoss(mode="multiclass", ignore_index=255)(logits[1], masks),
    )
    for loss in (ours, theirs):
        loss.sum().backward()
    if missing != "all":  # which has no value there
        assert ours.item() == pytest.approx(theirs.item(), abs=1e-6) and ours > 0.1
    else:
        assert ours.item() == 0.0
    torch.testing.assert_close(logits[0].grad, logits[1].grad, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("weights", [None, torch.ones(CLASSES)])
@pytest.mark.parametrize("loss", ["ce", "ce+dice", "lovasz"])
def test_a_training_step_reads_nothing_back_from_the_device(loss, weights):
    """On `meta` there is nothing to read, and no shape that depends on a mask: it would be an error."""
    module = SegmentationTask(new_model(aux=True, excluded=[1]), loss=loss, weights=weights).to("meta")
    images, masks = (part.to("meta") for part in a_batch())
    with DeviceCounter() as counter:
        for part, share in zip([[images, masks]] * 2, shares(module, [[images, masks]] * 2), strict=True):
            (module(part)["loss"] * share).backward()
    assert counter.launches.total() > 100 and not counter.copies


def test_images_of_one_size_are_measured_together_wherever_they_are(tmp_path):
    sizes = [(20, 24), (16, 16), (20, 24), (24, 20), (16, 16), (20, 24), (20, 24), (16, 16)]
    store = open_image_cache(Tiles(sizes), 24, tmp_path / "cache")
    model, calls = new_model(), []
    model.register_forward_pre_hook(lambda _, inputs: calls.append(tuple(inputs[0].shape)))
    found = {}
    for logits, batch in full_image_logits(model, store, Device("fp32", cpu=True), batch_size=3):
        found |= dict(zip(batch.samples.tolist(), zip(logits, batch.masks, strict=True), strict=True))
    assert sorted(calls) == [(1, 3, 20, 24), (1, 3, 24, 20), (3, 3, 16, 16), (3, 3, 20, 24)]
    assert sorted(found) == list(range(8))
    for logits, batch in full_image_logits(model, store, Device("fp32", cpu=True), batch_size=1):
        together, mask = found[batch.samples.item()]
        torch.testing.assert_close(together, logits[0], atol=1e-6, rtol=1e-6)
        assert torch.equal(mask, batch.masks[0])
