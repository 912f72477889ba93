"""Datasets of arrays and tensors."""

import numpy as np
import pytest
import torch

from ssl_seg.data.arrays import Arrays
from ssl_seg.data.image_cache import open_image_cache
from ssl_seg.errors import UsageError

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (6, 20, 28, 3), dtype=np.uint8)
LABELS = np.array([0, 2, 1, 0, 2, 1])
MASKS = RANDOM.integers(0, 4, (6, 20, 28))


@pytest.mark.parametrize(
    "images",
    [
        IMAGES,
        IMAGES.transpose(0, 3, 1, 2),
        torch.from_numpy(IMAGES),
        torch.from_numpy(IMAGES).permute(0, 3, 1, 2),
        list(IMAGES),
    ],
    ids=["NHWC", "NCHW", "NHWC tensor", "NCHW tensor", "list"],
)
def test_every_layout_gives_the_same_images(images, tmp_path):
    cache = open_image_cache(Arrays(images, LABELS), 32, tmp_path)
    (batch,) = cache.at(torch.arange(6))
    assert np.array_equal(batch[:, :, :20, :28].permute(0, 2, 3, 1).numpy(), IMAGES)
    assert cache.sizes.tolist() == [[20, 28]] * 6
    assert cache.targets.tolist() == LABELS.tolist() and cache.classes == ["0", "1", "2"]


def test_labels_are_optional(tmp_path):
    dataset = Arrays(IMAGES)
    assert list(dataset.classes) == [] and not dataset.masks and dataset.samples[5] == ("image-00005", -1)
    assert open_image_cache(dataset, 32, tmp_path).targets.tolist() == [-1] * 6


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
def test_masks_lie_on_their_images(kind, tmp_path):
    masks = MASKS.copy()
    masks[:, :5] = 255
    dataset = Arrays(IMAGES, kind(masks), classes=["a", "b", "c", "d", "never"])
    assert dataset.masks and list(dataset.classes) == ["a", "b", "c", "d", "never"]
    cache = open_image_cache(dataset, 64, tmp_path)
    _, found = cache.at(torch.arange(6))
    assert np.array_equal(found[:, :20, :28].numpy(), masks)


def test_a_mask_of_pixels_without_a_class_has_no_classes():
    assert list(Arrays(IMAGES, np.full(MASKS.shape, 255)).classes) == []


def test_images_and_masks_are_reduced_alike():
    dataset = Arrays(IMAGES, MASKS)
    image, true = dataset.image(3, 14)
    assert image.shape == (10, 14, 3) and true == (20, 28) == dataset.size(3)
    assert dataset.mask(3, 14).shape == (10, 14)
    assert dataset.image(3, 28)[0] is not None and np.array_equal(dataset.image(3, 28)[0], IMAGES[3])


def test_the_identity_is_of_image_and_mask():
    one = Arrays(IMAGES, MASKS)
    assert one.identity(0) == Arrays(torch.from_numpy(IMAGES), MASKS).identity(0) != one.identity(1)
    other = MASKS.copy()
    other[0, 0, 0] = (other[0, 0, 0] + 1) % 4
    assert Arrays(IMAGES, other).identity(0) != one.identity(0)
    assert Arrays(IMAGES).identity(0) != one.identity(0)
    assert Arrays(IMAGES.reshape(6, 28, 20, 3)).identity(0) != Arrays(IMAGES).identity(0)


@pytest.mark.parametrize(
    ("images", "labels", "classes", "message"),
    [
        (IMAGES / 255, None, None, r"images must be \(N, H, W, 3\) .* of uint8, got .* of float64"),
        (IMAGES[..., 0], None, None, "images must be"),
        (IMAGES[:0], None, None, "images must be"),
        (IMAGES, LABELS[:5], None, r"labels must be \(6,\) class indices or \(6, 20, 28\) masks, got \(5,\)"),
        (IMAGES, LABELS / 2, None, "of float64"),
        (IMAGES, MASKS[:, :10], None, "labels must be"),
        (IMAGES, LABELS - 1, None, "labels go from 0 to the last class, got -1 to 1"),
        (IMAGES, MASKS + 300, None, "labels go from 0 to 255"),
        (IMAGES, LABELS, ["a", "b"], "label 2 with 2 classes"),
    ],
)
def test_what_is_no_dataset_is_refused(images, labels, classes, message):
    with pytest.raises(UsageError, match=message):
        Arrays(images, labels, classes=classes)
