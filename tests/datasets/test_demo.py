import hashlib

import numpy as np
import pytest

from ssl_seg.datasets.demo import demo, render_scene
from ssl_seg.errors import UsageError
from ssl_seg.testing import check_dataset


def test_it_is_a_dataset():
    dataset = demo("", "train", count=24)
    check_dataset(dataset)
    assert len(dataset.classes) == 8
    image, size = dataset.image(3, 200)
    assert image.shape == (96, 96, 3) and size == (96, 96)
    assert dataset.image(3, 40)[0].shape == (40, 40, 3)


def test_classes_are_balanced():
    targets = [target for _, target in demo("64", "train").samples]
    assert np.bincount(targets, minlength=8).tolist() == [8] * 8


def test_the_same_seed_paints_the_same_picture():
    one, two = render_scene("fish", 5), render_scene("fish", 5)
    assert one.size == (96, 96) and one.mode == "RGB"
    assert np.array_equal(one, two)
    assert not np.array_equal(one, render_scene("fish", 6)) and not np.array_equal(
        one, render_scene("boat", 5)
    )


def test_no_picture_is_in_both_splits_or_twice():
    def pictures(split):
        dataset = demo("40", split)
        return {hashlib.sha256(dataset.image(index, 96)[0].tobytes()).digest() for index in range(40)}

    train, val = pictures("train"), pictures("val")
    assert len(train) == len(val) == 40 and not train & val


def test_splits_have_other_identities():
    names = {demo("8", split).identity(index) for split in ("train", "val") for index in range(8)}
    assert len(names) == 16


def test_the_number_of_images():
    assert len(demo("", "train")) == 2000 and len(demo("17", "")) == 17
    with pytest.raises(UsageError, match="demo requires a number of images"):
        demo("many", "train")


def test_pictures_of_a_class_share_more_than_colour():
    """Mean colour must not give the class away: nearest class means on it stay near chance."""
    pictures = {
        name: [np.asarray(render_scene(name, seed)) for seed in range(24)] for name in demo("8", "").classes
    }
    means = {name: [image.mean((0, 1)) for image in images] for name, images in pictures.items()}
    centres = {name: np.mean(values[:12], 0) for name, values in means.items()}
    hits = [
        min(centres, key=lambda other: np.abs(centres[other] - value).sum()) == name
        for name, values in means.items()
        for value in values[12:]
    ]
    assert np.mean(hits) < 0.35
