"""Thresholds of pseudo-labels against sorted lists."""

import numpy as np
import pytest

from ssl_seg.engine.class_thresholds import ConfidenceHistogram, Thresholds, selected, thresholds_of
from ssl_seg.errors import UsageError


def predictions(count=5000):
    """Four classes; of the last one there is no prediction, and the second is never sure."""
    chance = np.random.default_rng(0)
    predicted = chance.choice(3, count, p=(0.7, 0.1, 0.2))
    confidence = chance.uniform(0.3, 1.0, count)
    confidence[predicted == 1] *= 0.6
    return predicted, confidence.astype(np.float16)


def by_sorting(predicted, confidence, threshold, share):
    """What CBST writes down: of each class the confidence at the rank share x number, here at most `threshold`."""
    found = []
    for index in range(4):
        ranked = sorted(confidence[predicted == index].tolist(), reverse=True)
        rank = -(-round(share * 1000) * len(ranked) // 1000)
        found.append(min(threshold, ranked[rank - 1]) if ranked else threshold)
    return found


@pytest.mark.parametrize("share", [0.001, 0.1, 0.2, 0.333, 1.0])
@pytest.mark.parametrize("threshold", [0.9, 1.0])
def test_of_each_class_the_most_confident_share_is_selected(share, threshold):
    predicted, confidence = predictions()
    wanted = by_sorting(predicted, confidence, threshold, share)
    rule = Thresholds(threshold, share)
    assert thresholds_of(predicted, confidence, 4, rule) == pytest.approx(wanted, abs=0)
    histogram = ConfidenceHistogram(4)
    for part in np.array_split(np.arange(len(predicted)), 7):
        histogram.add(predicted[part].reshape(1, -1), confidence[part].reshape(1, -1))
    assert histogram.thresholds(rule) == pytest.approx(wanted, abs=0)
    chosen = selected(predicted, confidence, wanted)
    for index in range(3):
        own = predicted == index
        kept, least = chosen[own].sum(), share * own.sum()
        # float16 has few values: equal ones are on one side
        assert least <= kept, index
        assert (confidence[own & chosen].astype(float) >= wanted[index]).all()
        assert (confidence[own & ~chosen].astype(float) < wanted[index]).all()


def test_without_a_share_all_classes_have_one_threshold():
    predicted, confidence = predictions()
    assert thresholds_of(predicted, confidence, 4, Thresholds(0.7)) == [0.7] * 4
    chosen = selected(predicted, confidence, [0.7] * 4)
    assert not chosen[predicted == 1].any() and chosen[predicted == 0].any(), "a class that is never sure"


@pytest.mark.parametrize("values", [(-0.1, None), (1.5, None), (0.9, 0.0), (0.9, 1.1)])
def test_a_number_that_is_no_share_is_refused(values):
    with pytest.raises(UsageError, match="must be"):
        Thresholds(*values)
