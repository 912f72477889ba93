"""Accuracy against torchmetrics and scikit-learn."""

import pytest
import sklearn.metrics
import torch
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix

from ssl_seg.metrics.accuracy import Accuracy

NAMES = [f"class {index}" for index in range(9)]


@pytest.fixture
def problem():
    generator = torch.Generator().manual_seed(0)
    target = torch.randint(0, 8, (500,), generator=generator)  # the last class has no image
    logits = torch.randn(500, 9, generator=generator)
    logits[torch.arange(500), target] += 1.0
    return logits, target


def measured(logits, target, size=500, names=NAMES):
    metric = Accuracy(names)
    for part, truth in zip(logits.split(size), target.split(size), strict=True):
        metric.update(part, truth)
    return metric, metric.compute()


@pytest.mark.parametrize("size", [1, 7, 500])
def test_against_torchmetrics_and_scikit_learn(problem, size):
    logits, target = problem
    metric, found = measured(logits, target, size)
    for name, k in (("top1", 1), ("top5", 5)):
        oracle = MulticlassAccuracy(9, top_k=k, average="micro")
        assert found[name] == pytest.approx(oracle(logits, target).item(), abs=1e-6)
    guess = logits.argmax(1)
    assert torch.equal(metric.confusion, MulticlassConfusionMatrix(9)(guess, target))
    recall = sklearn.metrics.recall_score(target, guess, average=None, labels=range(8))
    assert [found[f"top1/{name}"] for name in NAMES[:8]] == pytest.approx(recall.tolist(), abs=1e-9)
    assert f"top1/{NAMES[8]}" not in found
    assert found["mean_class"] == pytest.approx(recall.mean(), abs=1e-9)


def test_images_without_a_target_do_not_count(problem):
    logits, target = problem
    some = target.clone()
    some[::3] = -1
    _, found = measured(logits, some)
    _, expected = measured(logits[some >= 0], target[some >= 0])
    assert found == expected


def test_equal_logits_are_five_answers_not_all():
    """A network that says the same of every class has five of a thousand among its first five."""
    names = [str(index) for index in range(1000)]
    _, found = measured(torch.zeros(1000, 1000), torch.arange(1000), names=names)
    assert (found["top1"], found["top5"]) == (1 / 1000, 5 / 1000)


@pytest.mark.parametrize("seed", range(5))
def test_ties_never_count_more_than_breaking_them_in_the_order_of_the_classes(seed):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randint(0, 3, (200, 9), generator=generator).float()
    target = torch.randint(0, 9, (200,), generator=generator)
    broken = logits.double() - torch.arange(9) * 1e-3
    expected = sklearn.metrics.top_k_accuracy_score(target, broken, k=5, labels=range(9))
    _, found = measured(logits, target)
    assert found["top5"] == pytest.approx(expected, abs=1e-12)
    assert found["top1"] <= found["top5"]


def test_ties_and_few_classes():
    metric, found = measured(torch.zeros(4, 3), torch.tensor([0, 0, 1, 2]), names=["a", "b", "c"])
    assert found["top1"] == 0.5 and found["top5"] == 1.0
    assert metric.confusion.tolist() == [[2, 0, 0], [1, 0, 0], [1, 0, 0]]


def test_reset_forgets(problem):
    metric, first = measured(*problem)
    metric.reset()
    assert metric.compute()["top1"] == 0.0
    metric.update(*problem)
    assert metric.compute() == first
