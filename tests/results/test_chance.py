"""Intervals and tests, against SciPy and against counting."""

from itertools import product

import numpy as np
import pytest
from scipy import stats

from ssl_seg.results.chance import NUM_PERMUTATIONS, holm_correction, sign_flip_test, wilson_interval


@pytest.mark.parametrize("count", [1, 7, 406, 50_000])
def test_wilson_is_scipys(count):
    for right in sorted({0, 1, count // 3, count // 2, count - 1, count}):
        expected = stats.binomtest(right, count).proportion_ci(method="wilson")
        assert wilson_interval(right / count, count) == pytest.approx(
            (expected.low, expected.high), abs=1e-12
        )


def test_wilson_solves_its_equation():
    """Its ends are the shares at which what was found lies 1.96 standard errors away."""
    for share, count in ((0.4606, 406), (0.5123, 327)):  # a mean over seeds is no whole number of images
        for end in wilson_interval(share, count):
            distance = abs(share - end) / np.sqrt(end * (1 - end) / count)
            assert distance == pytest.approx(stats.norm.ppf(0.975), abs=1e-9)


def test_the_interval_holds_what_it_promises():
    """Of many data sets of a known share, 95 of 100 intervals hold it."""
    random = np.random.default_rng(0)
    held = [
        low < 0.3 < high
        for low, high in (wilson_interval(k / 406, 406) for k in random.binomial(406, 0.3, 4000))
    ]
    assert np.mean(held) == pytest.approx(0.95, abs=0.012)


@pytest.mark.parametrize("seed", range(6))
def test_few_differences_are_tested_exactly_as_by_scipy(seed):
    random = np.random.default_rng(seed)
    one, two = random.integers(0, 4, (2, 11))
    expected = stats.permutation_test(
        (one, two),
        lambda x, y, axis: np.sum(x - y, axis=axis),
        vectorized=True,
        permutation_type="samples",
        n_resamples=np.inf,
    )
    quiet = np.zeros(400, np.int64)  # images on which both agree change nothing
    assert sign_flip_test(np.concatenate([one - two, quiet])) == pytest.approx(expected.pvalue, abs=1e-12)


def test_few_differences_are_tested_by_counting():
    moved = np.array([3, -1, 2, 2])
    sums = [abs(np.dot(signs, moved)) for signs in product((-1, 1), repeat=4)]
    assert sign_flip_test(moved) == np.mean([s >= 6 for s in sums])


def test_many_differences_are_tested_by_sampling():
    """With steps of one, it is the sign test, whose p-value is known."""
    for more in (110, 120, 128):
        moved = np.array([1] * more + [-1] * (200 - more))
        p = stats.binomtest(more, 200).pvalue
        assert sign_flip_test(moved) == pytest.approx(
            p, abs=4 * np.sqrt(p * (1 - p) / NUM_PERMUTATIONS) + 1 / NUM_PERMUTATIONS
        )
    assert sign_flip_test(np.ones(300, np.int64)) == 1 / (NUM_PERMUTATIONS + 1), (
        "never 0: the data are one of the flips"
    )
    assert sign_flip_test(moved) == sign_flip_test(moved)


def test_no_difference_at_all():
    assert sign_flip_test(np.zeros(30, np.int64)) == 1.0
    assert sign_flip_test(np.zeros(0, np.int64)) == 1.0


def test_equal_models_are_told_apart_no_more_often_than_promised():
    random = np.random.default_rng(1)
    right = (random.random((300, 2, 60)) < 0.6).astype(int)
    assert np.mean([sign_flip_test(one - two) < 0.05 for one, two in right]) == pytest.approx(0.05, abs=0.035)


def test_holm_rejects_what_the_stepwise_procedure_rejects():
    random = np.random.default_rng(2)
    for _ in range(200):
        values = (random.random(random.integers(1, 12)) ** 4).tolist()
        corrected = holm_correction(values)
        for level in (0.01, 0.05, 0.2):
            rejected = set()
            for rank, index in enumerate(np.argsort(values, kind="stable")):
                if values[index] > level / (len(values) - rank):
                    break
                rejected.add(int(index))
            assert {i for i, p in enumerate(corrected) if p <= level} == rejected
    assert holm_correction([]) == []
    assert holm_correction([0.9, 0.8]) == [1.0, 1.0]
