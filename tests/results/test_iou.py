"""Mean IoU from one matrix per image, against the metric and against counting."""

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import jaccard_score

from ssl_seg.metrics.mean_iou import MeanIoU, areas
from ssl_seg.results.chance import NUM_PERMUTATIONS
from ssl_seg.results.iou import (
    bootstrap_interval,
    image_iou,
    mean_iou,
    paired_permutation_test,
    read_confusions,
)

KEPT = np.array([True, True, True, False])


def confusions(seed, count=12, more=20):
    random = np.random.default_rng(seed)
    return random.integers(0, 9, (count, 4, 5)).astype(float) + np.eye(4, 5) * more


def uneven(seed, count=12):
    """Three seeds, one of which has failed: the mean of their mean IoU is far from that of the sum."""
    matrices = np.stack([confusions(3 * seed + i, count, more) for i, more in enumerate((90, 80, 0))])
    matrices[2] *= 9
    return matrices


def mean_over_seeds(matrices):
    """(S, N, C, C + 1) -> the number a table prints."""
    return float(np.mean([mean_iou(each.sum(axis=0), KEPT) for each in matrices]))


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


@pytest.mark.parametrize("ignore_excluded", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_of_one_image_it_is_the_metrics_too(seed, ignore_excluded):
    random = np.random.default_rng(seed)
    label = random.choice([0, 1, 2, 3, 255][seed % 2 :], (20, 30)).astype(np.uint8)
    said = np.where(random.random(label.shape) < 0.5, label, random.choice([0, 2, 3, 254], label.shape))
    said = said.astype(np.uint8)
    metric = MeanIoU(list("abcd"), exclude="d", lenient=ignore_excluded)
    metric.update(torch.from_numpy(said)[None], torch.from_numpy(label)[None])
    assert image_iou(said, label, KEPT, ignore_excluded=ignore_excluded) == pytest.approx(
        metric.compute()["miou"], abs=1e-12
    )


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
    assert np.isnan(image_iou(np.zeros((4, 4), np.uint8), excluded, KEPT, ignore_excluded=True))


def test_nothing_at_all():
    assert mean_iou(np.zeros((4, 5)), KEPT) == 0.0


def test_areas_are_what_the_mean_is_made_of():
    label, said = np.random.default_rng(0).integers(0, 4, (2, 500))
    counts = np.zeros((4, 5))
    np.add.at(counts, (label, said), 1)
    right, union = areas(counts[None])[0]
    for index in range(4):
        both, either = (label == index) & (said == index), (label == index) | (said == index)
        assert (right[index], union[index]) == (both.sum(), either.sum())


def exchanged(one, two):
    """SciPy's p-value, which exchanges images and compares what the table prints."""

    def difference(left, right, axis):  # (..., N) indices into both models' matrices
        both = np.concatenate([one, two], axis=1)
        drawn = zip(left.reshape(-1, left.shape[-1]), right.reshape(-1, right.shape[-1]), strict=True)
        found = [mean_over_seeds(both[:, x]) - mean_over_seeds(both[:, y]) for x, y in drawn]
        return np.reshape(found, left.shape[:-1])

    places = np.arange(one.shape[1])
    return stats.permutation_test(
        (places, places + len(places)),
        difference,
        vectorized=True,
        permutation_type="samples",
        n_resamples=np.inf,
        axis=-1,
    ).pvalue


@pytest.mark.parametrize("seed", range(3))
def test_few_images_are_tested_exactly_as_by_scipy(seed):
    one, two = uneven(2 * seed, 7), uneven(2 * seed + 1, 7)
    exact = exchanged(one, two)
    assert 0.0 < exact < 1.0
    assert paired_permutation_test(areas(one), areas(two), KEPT) == pytest.approx(exact, abs=1e-12)


def test_many_images_are_tested_by_sampling():
    one, two = uneven(0, 15), uneven(1, 15)
    two[:, :, 0, 1] += 9
    exact = exchanged_by_hand(one, two)
    assert 0.001 < exact < 0.9
    assert paired_permutation_test(areas(one), areas(two), KEPT) == pytest.approx(
        exact, abs=4 * np.sqrt(exact / NUM_PERMUTATIONS)
    )


def exchanged_by_hand(one, two):
    """All 2^N exchanges."""
    count, both = one.shape[1], np.stack([one, two])
    chosen = (np.arange(2**count)[:, None] >> np.arange(count)) & 1
    flat = both.swapaxes(1, 2).reshape(2, count, -1)
    left = (1 - chosen) @ flat[0] + chosen @ flat[1]
    sums = [each.reshape(-1, *one[:, 0].shape) for each in (left, flat.sum(axis=(0, 1)) - left)]
    differences = np.abs(np.subtract(*(mean_iou(each, KEPT).mean(axis=1) for each in sums)))
    return np.mean(differences >= differences[0] - 1e-12)


def test_a_failed_seed_is_tested_as_the_mean_that_is_printed():
    """One seed names all pixels after a rare class: seed by seed A is ahead, with all pixels together far behind."""
    one, two = np.zeros((2, 3, 12, 4, 5))
    one[:2, :, 0, 0], one[:2, :, 1, 1], one[2, :, 0, 1], one[2, :, 1, 1] = 95, 5, 95, 5
    two[..., 0, 0], two[..., 0, 1], two[..., 1, 0], two[..., 1, 1] = 91, 4, 4, 1
    two[:, ::3, 1], two[:, ::3, 0] = (0, 5, 0, 0, 0), (95, 0, 0, 0, 0)  # some images B names rightly
    assert mean_over_seeds(one) > mean_over_seeds(two)
    assert mean_iou(one.sum(axis=(0, 1)), KEPT) < mean_iou(two.sum(axis=(0, 1)), KEPT) - 0.2
    assert paired_permutation_test(areas(one), areas(two), KEPT) == pytest.approx(
        exchanged_by_hand(one, two), abs=1e-12
    )


def test_twenty_rows_can_be_told_apart():
    """Holm's correction multiplies the smallest p by the number of pairs: 190."""
    one, two = areas(confusions(0, 40, more=60))[None], areas(confusions(1, 40, more=5))[None]
    assert paired_permutation_test(one, two, KEPT) * 190 < 0.05


def test_equal_models_do_not_differ():
    one = areas(uneven(0))
    assert paired_permutation_test(one, one, KEPT) == 1.0


def test_equally_good_models_are_told_apart_no_more_often_than_promised():
    found = [
        paired_permutation_test(areas(confusions(2 * i))[None], areas(confusions(2 * i + 1))[None], KEPT)
        < 0.05
        for i in range(60)
    ]
    assert np.mean(found) < 0.15


def test_the_interval_is_scipys_of_the_mean_over_seeds():
    matrices = uneven(0, 30)

    def statistic(places, axis):
        drawn = places.reshape(-1, places.shape[-1])
        return np.reshape([mean_over_seeds(matrices[:, each]) for each in drawn], places.shape[:-1])

    how = {"method": "percentile", "n_resamples": 4000, "rng": np.random.default_rng(1), "axis": -1}
    expected = stats.bootstrap((np.arange(30),), statistic, **how).confidence_interval
    low, high = bootstrap_interval(areas(matrices), KEPT)
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=0.1 * (high - low))
    assert low < mean_over_seeds(matrices) < high
    pooled = float(mean_iou(matrices.sum(axis=(0, 1)), KEPT))
    assert not low < pooled < high, "the case tells the two apart"


def test_the_interval_narrows_with_more_images():
    few, many = (bootstrap_interval(areas(confusions(0, count))[None], KEPT) for count in (10, 160))
    assert (many[1] - many[0]) < 0.5 * (few[1] - few[0])
    same = np.repeat(confusions(0, 1), 9, axis=0)
    found = bootstrap_interval(areas(same)[None], KEPT)
    assert found == pytest.approx((float(mean_iou(same.sum(0), KEPT)),) * 2)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04half", b"[1, 2]", b"\x93NUMPY"])
def test_a_damaged_file_is_told_of(tmp_path, content):
    path = tmp_path / "val_confusions.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="cannot read val_confusions.npz"):
        read_confusions(path)
    np.save(path.with_suffix(".npy"), np.zeros(3))
    path.with_suffix(".npy").replace(path)
    with pytest.raises(ValueError, match="cannot read val_confusions.npz"):
        read_confusions(path)
