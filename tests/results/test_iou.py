"""Mean IoU from one matrix per image, against the metric and against counting."""

from itertools import product

import numpy as np
import pytest
import torch
from sklearn.metrics import jaccard_score

from ssl_seg.metrics.mean_iou import MeanIoU
from ssl_seg.results.iou import bootstrap, image_iou, mean_iou, read_confusions, swaps

KEPT = np.array([True, True, True, False])


def confusions(seed, count=12, more=20):
    random = np.random.default_rng(seed)
    return random.integers(0, 9, (count, 4, 5)).astype(float) + np.eye(4, 5) * more


@pytest.mark.parametrize("seed", range(4))
def test_the_mean_is_the_metrics(seed):
    random = torch.Generator().manual_seed(seed)
    metric = MeanIoU(list("abcd"), exclude="d")
    classes = 3 if seed % 2 else 4  # a class that is nowhere
    target, said = torch.randint(0, classes, (2, 3, 8, 8), generator=random)
    metric.update(said, target)
    assert mean_iou(metric.confusion.double().numpy(), KEPT) == pytest.approx(
        metric.compute()["miou"], abs=1e-12
    )


@pytest.mark.parametrize("lenient", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_of_one_image_it_is_the_metrics_too(seed, lenient):
    random = np.random.default_rng(seed)
    label = random.choice([0, 1, 2, 3, 255][seed % 2 :], (20, 30)).astype(np.uint8)
    said = np.where(random.random(label.shape) < 0.5, label, random.choice([0, 2, 3, 254], label.shape))
    said = said.astype(np.uint8)
    metric = MeanIoU(list("abcd"), exclude="d", lenient=lenient)
    metric.update(torch.from_numpy(said)[None], torch.from_numpy(label)[None])
    assert image_iou(said, label, KEPT, lenient=lenient) == pytest.approx(metric.compute()["miou"], abs=1e-12)


def test_of_one_image_it_is_what_scikit_learn_says():
    random = np.random.default_rng(3)
    label, said = random.integers(0, 3, (2, 16, 16)).astype(np.uint8)
    expected = jaccard_score(label.ravel(), said.ravel(), average="macro")
    assert image_iou(said, label, KEPT) == pytest.approx(expected, abs=1e-12)


def test_an_image_with_nothing_to_measure():
    nowhere, excluded = np.full((4, 4), 255, np.uint8), np.full((4, 4), 3, np.uint8)
    assert np.isnan(image_iou(np.zeros((4, 4), np.uint8), nowhere, KEPT))
    assert np.isnan(image_iou(excluded, excluded, KEPT))
    assert image_iou(np.zeros((4, 4), np.uint8), excluded, KEPT) == 0.0
    assert np.isnan(image_iou(np.zeros((4, 4), np.uint8), excluded, KEPT, lenient=True))


def test_nothing_at_all():
    assert mean_iou(np.zeros((4, 5)), KEPT) == 0.0


def test_few_images_are_tested_as_by_trying_all_exchanges():
    one, two = confusions(0, 8), confusions(1, 8, more=18)
    seen = abs(mean_iou(one.sum(0), KEPT) - mean_iou(two.sum(0), KEPT))
    found = []
    for chosen in product((False, True), repeat=8):
        swapped = np.array(chosen)[:, None, None]
        left, right = np.where(swapped, two, one).sum(0), np.where(swapped, one, two).sum(0)
        found.append(abs(mean_iou(left, KEPT) - mean_iou(right, KEPT)) >= seen - 1e-12)
    exact = np.mean(found)
    assert 0.0 < exact < 1.0
    assert swaps(one, two, KEPT) == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 2000))


def test_equal_models_do_not_differ():
    one = confusions(0)
    assert swaps(one, one, KEPT) == 1.0


def test_equally_good_models_are_told_apart_no_more_often_than_promised():
    found = [swaps(confusions(2 * i), confusions(2 * i + 1), KEPT) < 0.05 for i in range(60)]
    assert np.mean(found) < 0.15


def test_the_interval_holds_the_mean_and_narrows_with_more_images():
    few, many = bootstrap(confusions(0, 10), KEPT), bootstrap(confusions(0, 160), KEPT)
    assert few[0] < mean_iou(confusions(0, 10).sum(0), KEPT) < few[1]
    assert (many[1] - many[0]) < 0.5 * (few[1] - few[0])
    same = np.repeat(confusions(0, 1), 9, axis=0)
    assert bootstrap(same, KEPT) == pytest.approx((float(mean_iou(same.sum(0), KEPT)),) * 2)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04half", b"[1, 2]", b"\x93NUMPY"])
def test_a_damaged_file_is_told_of(tmp_path, content):
    path = tmp_path / "val_confusions.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="val_confusions.npz cannot be read"):
        read_confusions(path)
    np.save(path.with_suffix(".npy"), np.zeros(3))
    path.with_suffix(".npy").replace(path)
    with pytest.raises(ValueError, match="val_confusions.npz cannot be read"):
        read_confusions(path)
