"""The way of a GPU, on the CPU: the same views as row by row, without a copy, in few launches."""

from dataclasses import replace

import pytest
import torch
from torchvision.transforms.v2 import functional as F

from ssl_seg.augment import fixed_shape
from ssl_seg.augment.draws import BRIGHTNESS, CONTRAST, HUE, SATURATION
from ssl_seg.augment.recipes import BYOL_VIEWS, SEGMENTATION_VIEWS, TRAIN_VIEWS, View, multi_crop
from ssl_seg.augment.views import Augmentation
from tests.counting import META, DeviceCounter

RECIPES = {
    "byol": BYOL_VIEWS,
    "small crops": multi_crop(BYOL_VIEWS, 2),
    "one": [View(turn_p=0.5, flip_y_p=0.5, jitter_p=1.0, solarize_p=0.5, blur_p=0.5)],
    "light": [TRAIN_VIEWS["light"]],
    "strong": [TRAIN_VIEWS["strong"]],
    "masks": [SEGMENTATION_VIEWS["strong"]],
}
PLAIN = View(scale=(1.0, 1.0), ratio=(1.0, 1.0), flip_x_p=0, jitter_p=0, gray_p=0)


def canvases(count=24, shape=(48, 40)):
    random = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, 6, 6, generator=random) * 255
    images = torch.nn.functional.interpolate(coarse, shape, mode="bilinear").to(torch.uint8)
    return images, torch.randint(20, min(shape) + 1, (count, 2), generator=random), torch.arange(count)


def raw(views, size=32):
    return Augmentation(views, size, seed=3, mean=(0, 0, 0), std=(1, 1, 1))


@pytest.mark.parametrize("views", RECIPES.values(), ids=RECIPES)
@pytest.mark.parametrize("size", [1, 2, 32])
def test_both_ways_make_the_same_views(views, size):
    images, sizes, samples = canvases()
    augmentation = raw(views, size)
    draws = augmentation.draw(sizes, samples, 1)
    for one, two in zip(
        augmentation._one_by_one(images, draws), augmentation._fixed_shape(images, draws), strict=True
    ):
        assert two.is_contiguous(memory_format=torch.channels_last)
        # a pixel within rounding of the solarization threshold may fall on either side
        assert ((one - two).abs() > 1e-5).float().mean() < 1e-3, "1/255 is 4e-3"


def test_the_four_places_are_torchvisions_operations_in_the_order_drawn():
    images, _, samples = canvases(shape=(32, 32))
    augmentation = raw([replace(PLAIN, jitter_p=0.8, brightness=0.8, contrast=0.8, saturation=0.8, hue=0.3)])
    draws = augmentation.draw(torch.full((len(images), 2), 32), samples, 0)
    (found,) = augmentation._fixed_shape(images, draws)
    theirs = {
        BRIGHTNESS: F.adjust_brightness,
        CONTRAST: F.adjust_contrast,
        SATURATION: F.adjust_saturation,
        HUE: F.adjust_hue,
    }
    assert len({tuple(order) for order in draws.order[:, 0].tolist()}) > 10
    for image, view, order, factors in zip(
        images, found, draws.order[:, 0].tolist(), draws.factors[:, 0].tolist(), strict=True
    ):
        wanted = image.float() / 255
        for operation in order:
            if operation in theirs:
                wanted = theirs[operation](wanted, factors[operation])
        torch.testing.assert_close(view, wanted, atol=1 / 255, rtol=0)


def views_on_meta(make):
    """The launches of two BYOL views of 64 images, and how often something was copied to the device."""
    images, sizes, samples = canvases(64)
    augmentation = raw(BYOL_VIEWS)
    draws, images = augmentation.draw(sizes, samples, 0).to(META), images.to(META)
    augmentation.make(images, draws)  # constants come to the device once
    with DeviceCounter() as counter:
        make(augmentation, images, draws)
    return counter


def test_two_views_take_few_launches_and_no_copy():
    counter = views_on_meta(lambda augmentation, images, draws: augmentation.make(images, draws))
    assert not counter.copies
    assert counter.launches.total() <= 310, "834 when images were selected row by row"


@pytest.mark.slow
def test_compiled_views_are_the_same_in_at_most_forty_kernels(monkeypatch, tmp_path):
    from torch._inductor import config

    kernels = []
    monkeypatch.setattr(config, "_post_fusion_custom_pass", lambda nodes: kernels.append(len(nodes)) or nodes)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    images, sizes, samples = canvases(shape=(48, 48))
    augmentation = raw(BYOL_VIEWS)
    draws = augmentation.draw(sizes, samples, 1)
    found = replace(augmentation, compile=True)._fixed_shape(images, draws)
    for one, two in zip(augmentation._fixed_shape(images, draws), found, strict=True):
        assert ((one - two).abs() > 1e-5).float().mean() < 1e-3
    assert 0 < sum(kernels) <= 40, kernels
    fixed_shape.compiled.cache_clear()
