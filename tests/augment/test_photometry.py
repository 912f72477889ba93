"""Each operation against torchvision's of the same name, image by image with the same number."""

import pytest
import torch
from torchvision.transforms.v2 import functional as F

from ssl_seg.augment import photometry

TOLERANCE = 1 / 255


def pictures():
    """Noise, photographs' smoothness, and the images where a formula may divide by nothing."""
    random = torch.Generator().manual_seed(0)
    noise = torch.rand(6, 3, 24, 31, generator=random)
    smooth = F.resize(torch.rand(4, 3, 4, 5, generator=random), [24, 31], antialias=True)
    grey = torch.rand(2, 1, 24, 31, generator=random).expand(-1, 3, -1, -1)
    flat = torch.tensor([[0.0] * 3, [1.0] * 3, [0.5] * 3, [0.2, 0.7, 0.4]])[:, :, None, None]
    pure = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [0, 1, 1], [1, 0, 1]])[
        :, :, None, None
    ]
    corners = torch.randint(0, 2, (3, 3, 24, 31), generator=random).float()
    levels = torch.randint(0, 256, (3, 3, 24, 31), generator=random).float() / 255
    colours = torch.cat([flat, pure]).expand(-1, -1, 24, 31)
    return torch.cat([noise, smooth, grey, colours, corners, levels]).contiguous()


IMAGES = pictures()


def numbers(low, high):
    """One per image, both ends among them."""
    out = low + (high - low) * torch.rand(len(IMAGES), generator=torch.Generator().manual_seed(1))
    out[0], out[-1] = low, high
    return out[torch.randperm(len(out), generator=torch.Generator().manual_seed(2))]


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("adjust_brightness", 0.0, 2.0),
        ("adjust_contrast", 0.0, 2.0),
        ("adjust_saturation", 0.0, 3.0),
        ("adjust_hue", -0.5, 0.5),
        ("adjust_hue", -0.1, 0.1),
    ],
)
def test_colour(name, low, high):
    factors = numbers(low, high)
    before = IMAGES.clone()
    got = getattr(photometry, name)(IMAGES, factors)
    assert torch.equal(IMAGES, before), "the operation wrote into its input"
    assert not torch.equal(got, IMAGES)
    for image, factor, ours in zip(IMAGES, factors.tolist(), got, strict=True):
        want = getattr(F, name)(image, factor)
        assert (ours - want).abs().max() <= TOLERANCE, factor


@pytest.mark.parametrize("name", ["adjust_brightness", "adjust_contrast", "adjust_saturation"])
def test_a_factor_of_one_changes_nothing(name):
    got = getattr(photometry, name)(IMAGES, torch.ones(len(IMAGES)))
    torch.testing.assert_close(got, IMAGES, atol=1e-6, rtol=0)


def test_hue_turned_by_nothing_or_all_the_way_changes_nothing():
    for shift in (0.0, 1.0):
        got = photometry.adjust_hue(IMAGES, torch.full((len(IMAGES),), shift))
        torch.testing.assert_close(got, IMAGES, atol=1e-5, rtol=0)


def test_contrast_does_not_depend_on_batch_or_threads():
    """Large enough that torch splits a sum over all pixels among threads."""
    images = torch.rand(5, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    factors = torch.tensor([0.6, 0.8, 1.0, 1.2, 1.4])
    threads = torch.get_num_threads()
    results = []
    try:
        for count, size in ((1, 5), (2, 5), (2, 1), (2, 2), (4, 1)):
            torch.set_num_threads(count)
            parts = zip(images.split(size), factors.split(size), strict=True)
            results.append(torch.cat([photometry.adjust_contrast(*part) for part in parts]))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(result, results[0]) for result in results)


def test_grayscale():
    got = photometry.grayscale(IMAGES)
    assert got.shape == IMAGES.shape
    for image, ours in zip(IMAGES, got, strict=True):
        assert (ours - F.rgb_to_grayscale(image, num_output_channels=3)).abs().max() <= TOLERANCE


@pytest.mark.parametrize("threshold", [0.5, 0.0, 0.2, 1.0])
def test_solarize(threshold):
    got = photometry.solarize(IMAGES, threshold)
    for image, ours in zip(IMAGES, got, strict=True):
        torch.testing.assert_close(ours, F.solarize(image, threshold), atol=1e-6, rtol=0)


@pytest.mark.parametrize("radius", [1, 2, 11, 23])
def test_gaussian_blur(radius):
    sigmas = numbers(0.05, 4.0)
    got = photometry.gaussian_blur(IMAGES, sigmas, radius)
    assert not torch.equal(got, IMAGES)
    for image, sigma, ours in zip(IMAGES, sigmas.tolist(), got, strict=True):
        want = F.gaussian_blur(image, [2 * radius + 1, 2 * radius + 1], [sigma, sigma])
        assert (ours - want).abs().max() <= 1e-4, sigma


def test_gaussian_blur_keeps_a_flat_image_flat():
    flat = torch.full((3, 3, 9, 9), 0.37)
    got = photometry.gaussian_blur(flat, torch.tensor([0.01, 1.0, 50.0]), 8)
    torch.testing.assert_close(got, flat, atol=1e-6, rtol=0)


def test_normalize():
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    got = photometry.normalize(IMAGES, mean, std)
    torch.testing.assert_close(got, F.normalize(IMAGES, list(mean), list(std)), atol=1e-6, rtol=0)
