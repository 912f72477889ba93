from random import Random

import numpy as np
import pytest
from PIL import Image

from ssl_seg.datasets import demo as scenes
from ssl_seg.datasets.demo_masks import demo_masks
from ssl_seg.errors import UsageError
from ssl_seg.testing import check_dataset


def test_it_is_a_dataset():
    dataset = demo_masks("24", "train")
    check_dataset(dataset)
    assert dataset.masks and len(dataset) == 24
    assert list(dataset.classes) == ["background", *scenes.SCENES] and dataset.exclude == []
    assert dataset.palette.shape == (9, 3) and len({tuple(colour) for colour in dataset.palette}) == 9
    assert {target for _, target in dataset.samples} == {-1}
    assert len(demo_masks("", "train", count=7)) == 7
    with pytest.raises(UsageError, match="a number of images"):
        demo_masks("many", "train")


@pytest.mark.parametrize("split", ["train", "val"])
def test_its_pictures_are_those_of_the_demo(split):
    plain, masked = scenes.demo("16", split), demo_masks("16", split)
    for index in range(16):
        assert np.array_equal(plain.image(index, 96)[0], masked.image(index, 96)[0])
        assert plain.identity(index) != masked.identity(index)


def covered(name, seed):
    """The same scene painted anew, all in white on black, and reduced as pictures are."""
    random = Random(f"{name} {seed}")
    scenes._background(random, 192)
    image = Image.new("RGB", (192, 192))
    draw, hues = scenes._SCENES[name]
    brush = scenes.Brush(image, random)
    scenes._colours(random, hues)
    draw(brush, random, [(255, 255, 255)] * 4)
    return np.asarray(image.resize((96, 96), Image.Resampling.BOX))[..., 0] > 127


def test_a_mask_is_where_the_thing_was_painted():
    dataset = demo_masks("24", "train")
    for index in range(24):
        mask, kind = dataset.mask(index, 96), index % 8 + 1
        assert mask.shape == (96, 96) and mask.dtype == np.uint8
        assert np.array_equal(mask, kind * covered(scenes.SCENES[index % 8], index))
        assert 0.02 < (mask > 0).mean() < 0.7


def test_a_reduced_mask_fits_the_reduced_picture():
    dataset = demo_masks("8", "train")
    for index in range(8):
        whole, small = dataset.mask(index, 96), dataset.mask(index, 32)
        assert small.shape == dataset.image(index, 32)[0].shape[:2] == (32, 32)
        assert np.array_equal(small, whole[1::3, 1::3])
    assert dataset.mask(3, 500).shape == (96, 96)
