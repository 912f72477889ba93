"""A validation share: stratified, by content, in whole groups, and the same wherever the images lie."""

import numpy as np
import pytest
import torch

from ssl_seg.data.files import FileDataset
from ssl_seg.data.holdout import groups_of, hold_out, share_in
from ssl_seg.data.subset import one_hot
from ssl_seg.datasets.csv_labels import csv_labels
from ssl_seg.errors import DataError, UsageError


def digests(count, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).integers(-(2**62), 2**62, count))


def labels(*counts):
    targets = torch.tensor([index for index, count in enumerate(counts) for _ in range(count)])
    return one_hot(targets, len(counts)), targets.numpy()


@pytest.mark.parametrize(
    ("counts", "expected"), [((100, 50, 10), (20, 10, 2)), ((7, 3, 2), (1, 1, 1)), ((50, 1), (10, 0))]
)
def test_every_class_gives_its_share_and_keeps_one(counts, expected):
    weights, targets = labels(*counts)
    held = hold_out(weights, digests(len(targets)), 0.2)
    assert tuple(np.bincount(targets[held], minlength=len(counts))) == expected


def test_content_and_the_seed_decide_and_not_the_order():
    weights, _ = labels(60, 40)
    codes, order = digests(100), np.random.default_rng(3).permutation(100)
    held = hold_out(weights, codes, 0.3)
    assert (hold_out(weights[order], codes[order], 0.3) == held[order]).all()
    assert (hold_out(weights, codes, 0.3) == held).all()
    assert (hold_out(weights, codes, 0.3, seed=1) != held).any()


def test_equal_images_stay_together():
    weights, _ = labels(40, 40)
    codes = digests(20).repeat(4)
    held = hold_out(weights, codes, 0.25)
    assert not set(codes[held].tolist()) & set(codes[~held].tolist())
    assert 0.15 < held.mean() < 0.35


def test_groups_stay_together_also_where_they_share_an_image():
    weights, _ = labels(60, 60)
    names = [f"scene {index % 12}" for index in range(120)]
    codes = digests(120)
    codes[1] = codes[0]  # scenes 0 and 1 share a picture
    held = hold_out(weights, codes, 0.25, groups=names)
    sides = {
        name: {bool(side) for other, side in zip(names, held, strict=True) if other == name} for name in names
    }
    assert all(len(side) == 1 for side in sides.values()) and sides["scene 0"] == sides["scene 1"]
    assert 0.15 < held.mean() < 0.35


def test_pixels_of_rare_classes_are_held_out_too():
    random = np.random.default_rng(0)
    pixels = random.integers(0, 100, (200, 3))
    pixels[:, 2] = 0
    pixels[:6, 2] = 5  # in six images alone
    held = hold_out(pixels, digests(200), 0.2)
    share = pixels[held].sum(axis=0) / pixels.sum(axis=0)
    assert abs(share[:2] - 0.2).max() < 0.04 and 0 < share[2] < 0.4


def test_the_share_is_that_of_an_exhaustive_search():
    """Of 10 images with two classes, no other choice is nearer to the wanted pixels of the rarer class."""
    random = np.random.default_rng(5)
    pixels = random.integers(1, 50, (10, 1))
    held = hold_out(pixels, digests(10), 0.5)
    choices = [sum(pixels[i, 0] for i in range(10) if mask >> i & 1) for mask in range(1, 1023)]
    best = min(abs(choice - pixels.sum() / 2) for choice in choices)
    assert abs(pixels[held].sum() - pixels.sum() / 2) <= best + pixels.max()


def test_nothing_to_hold_out_is_refused():
    weights, _ = labels(1, 1)
    with pytest.raises(DataError, match="no class is in two different images"):
        hold_out(weights, digests(2), 0.2)
    weights, _ = labels(4, 4)
    with pytest.raises(DataError, match="no class is in two groups"):
        hold_out(weights, digests(8), 0.2, groups=["a"] * 4 + ["b"] * 4)


def test_a_number_is_a_share_and_a_path_is_none():
    assert share_in("0.2") == 0.2 and share_in(".25") == 0.25
    assert share_in(None) is None and share_in("./0.2") is None and share_in("val") is None
    for text in ("1", "20", "0", "1.5"):
        with pytest.raises(UsageError, match="between 0 and 1") as error:
            share_in(text)
        assert "--val 0.2" in error.value.next


def test_groups_by_a_column(tmp_path):
    for name in ("1.png", "2.png", "3.png"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "all.csv").write_text("filename,label,Patient\n1.png,a,x\n2.png,b,y\n3.png,a,x\n")
    dataset = csv_labels(str(tmp_path / "all.csv"), "")
    assert groups_of(dataset, [0, 1, 2], "patient") == ["x", "y", "x"]
    assert groups_of(dataset, [2, 1], "patient") == ["x", "y"]
    with pytest.raises(UsageError, match=r"no column 'patent'; did you mean 'patient'"):
        groups_of(dataset, [0, 1], "patent")
    with pytest.raises(UsageError, match="all 2 images are in one group, 'x'"):
        groups_of(dataset, [0, 2], "patient")


def test_groups_by_a_folder(tmp_path):
    names = ["cat/s1/1.png", "cat/s2/1.png", "dog/s1/1.png"]
    dataset = FileDataset(tmp_path, [(name, 0) for name in names])
    assert groups_of(dataset, [0, 1, 2], "1") == ["cat", "cat", "dog"]
    assert groups_of(dataset, [0, 1, 2], "2") == groups_of(dataset, [0, 1, 2], "-1") == ["s1", "s2", "s1"]
    for level in ("3", "-3"):
        with pytest.raises(UsageError, match="has 2 folders"):
            groups_of(dataset, [0, 1], level)
    with pytest.raises(UsageError, match="not listed in a CSV file"):
        groups_of(dataset, [0, 1], "patient")


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("count", [6, 20, 100])
def test_classes_that_are_in_every_image_do_not_add_up(count, seed):
    random = np.random.default_rng(seed)
    house, road = random.integers(100, 700, (2, count))
    pixels = np.stack([2000 - house - road, house, road], axis=1)
    held = hold_out(pixels, digests(count, seed), 0.3)
    assert abs(held.sum() - 0.3 * count) <= max(1.3, 0.06 * count)
