"""Views of other channels than three: contrast of each by its own mean, no hue, and the same on every device."""

from dataclasses import replace

import pytest
import torch
from torchvision.transforms.v2 import functional as oracle

from ssl_seg.augment import photometry
from ssl_seg.augment.draws import draw_views
from ssl_seg.augment.fixed_shape import make_views
from ssl_seg.augment.recipes import BYOL_VIEWS, View
from ssl_seg.augment.views import augment


@pytest.mark.parametrize("channels", [1, 2, 4, 13])
def test_each_band_has_torchvisions_contrast_and_brightness(channels):
    torch.manual_seed(0)
    images, factors = torch.rand(5, channels, 9, 7), torch.linspace(0.4, 1.6, 5)
    for ours, theirs in (
        (photometry.adjust_contrast, oracle.adjust_contrast),
        (photometry.adjust_brightness, oracle.adjust_brightness),
    ):
        found = ours(images, factors)
        for index, factor in enumerate(factors.tolist()):
            for band in range(channels):
                expected = theirs(images[index, band : band + 1], factor)
                assert torch.allclose(found[index, band : band + 1], expected, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_an_accelerators_views_are_those_of_the_cpu(channels):
    images = torch.randint(0, 256, (6, channels, 40, 40), dtype=torch.uint8)
    views = [replace(view, jitter_p=1.0, gray_p=0.5, solarize_p=0.3) for view in BYOL_VIEWS]
    mean, std = (0.4,) * channels, (0.2,) * channels
    one_by_one = augment(images, views, size=24, mean=mean, std=std)
    sizes, samples = torch.full((6, 2), 40), torch.arange(6)
    draws = draw_views(views, [24, 24], sizes, samples, seed=0, epoch=0)
    center, spread = (torch.tensor(each).view(-1, 1, 1) for each in (mean, std))
    together = make_views(images, views, draws, 24, center, spread)
    for ours, theirs in zip(one_by_one, together, strict=True):
        assert ours.shape == (6, channels, 24, 24)
        assert torch.allclose(ours, theirs, atol=1e-4)


def test_bands_stay_apart():
    """What is done to one band depends on that band alone."""
    images = torch.randint(0, 256, (8, 4, 32, 32), dtype=torch.uint8)
    options = {"size": 16, "mean": (0.0,) * 4, "std": (1.0,) * 4}
    view = View(blur_p=0.5, solarize_p=0.5, gray_p=1.0, jitter_p=1.0, hue=0.5, saturation=1.0)
    (whole,) = augment(images, [view], **options)
    (other,) = augment(images.index_fill(1, torch.tensor([1]), 7), [view], **options)
    assert torch.equal(whole[:, [0, 2, 3]], other[:, [0, 2, 3]])
