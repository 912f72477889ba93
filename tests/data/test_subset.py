"""Subsets of labelled images, chosen by their classes."""

from collections import Counter

import numpy as np
import pytest
import torch

from ssl_seg.data.arrays import Arrays
from ssl_seg.data.subset import Subset, choose, one_hot
from ssl_seg.errors import DataError


def digests(count):
    return torch.randint(-(2**62), 2**62, (count,), generator=torch.Generator().manual_seed(0))


LABELS = torch.tensor([0] * 60 + [1] * 30 + [2] * 9 + [3])


def chosen_labels(**size):
    chosen = choose(one_hot(LABELS, 4), digests(100), **size)
    assert chosen == sorted(set(chosen))
    return Counter(LABELS[chosen].tolist())


def test_a_fraction_keeps_the_proportions_and_every_class():
    assert chosen_labels(fraction=0.1) == {0: 6, 1: 2, 2: 1, 3: 1}
    assert chosen_labels(fraction=1.0) == {0: 60, 1: 30, 2: 9, 3: 1}
    assert chosen_labels(fraction=0.5) == {0: 30, 1: 15, 2: 4, 3: 1}


def test_images_are_as_many_as_asked_for():
    assert sum(chosen_labels(images=20).values()) == 20
    assert chosen_labels(images=4) == {0: 1, 1: 1, 2: 1, 3: 1}


def test_per_class_takes_so_many_or_all():
    assert chosen_labels(per_class=5) == {0: 5, 1: 5, 2: 5, 3: 1}


def test_the_seed_alone_changes_the_choice():
    pixels = one_hot(LABELS, 4)
    first, again, other = (choose(pixels, digests(100), images=30, seed=seed) for seed in (0, 0, 1))
    assert first == again != other


def test_content_decides_and_not_the_order_of_the_files():
    order = torch.randperm(100, generator=torch.Generator().manual_seed(1))
    one = choose(one_hot(LABELS, 4), digests(100), images=30)
    two = choose(one_hot(LABELS[order], 4), digests(100)[order], images=30)
    assert sorted(order[two].tolist()) == one


def test_every_class_of_masks_is_present():
    random = np.random.default_rng(0)
    pixels = random.integers(0, 5, (200, 6)) * (random.random((200, 6)) < [0.9, 0.9, 0.5, 0.5, 0.05, 0.02])
    assert (pixels.sum(axis=0) > 0).all()
    for images in (6, 10, 50):
        chosen = choose(pixels, digests(200), images=images)
        assert len(chosen) == images
        assert (pixels[chosen].sum(axis=0) > 0).all()
    held = (pixels[choose(pixels, digests(200), per_class=3)] > 0).sum(axis=0)
    assert (held >= np.minimum(3, (pixels > 0).sum(axis=0))).all()


def test_too_few_images_for_the_classes_are_refused_with_the_number():
    with pytest.raises(DataError, match="3 of 100 images cannot contain every class") as error:
        choose(one_hot(LABELS, 4), digests(100), images=3)
    assert error.value.next == "--images 4, or more"
    with pytest.raises(DataError, match="there are 100"):
        choose(one_hot(LABELS, 4), digests(100), images=101)


def test_a_subset_reads_what_the_dataset_reads():
    images = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    whole = Arrays(images, np.arange(6))
    part = Subset(whole, [4, 1])
    assert len(part) == 2
    assert [target for _, target in part.samples] == [4, 1]
    np.testing.assert_array_equal(part.image(0, 8)[0], whole.image(4, 8)[0])
    assert part.identity(1) == whole.identity(1)
    assert list(part.classes) == list(whole.classes)
