"""Mean IoU against a course's script, torchmetrics and scikit-learn."""

import numpy as np
import pytest
import sklearn.metrics
import torch
from torchmetrics.classification import MulticlassConfusionMatrix, MulticlassJaccardIndex

from ssl_seg.errors import UsageError
from ssl_seg.metrics.mean_iou import MeanIoU
from ssl_seg.testing import check_metric

NAMES = ["urban", "agriculture", "rangeland", "forest", "water", "barren", "unknown"]
SIX = NAMES[:6]


def masks(seed=0, share=0.6, shape=(5, 24, 30), classes=7):
    """Guesses that are right for a share of the pixels, and coarse true masks."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randint(0, classes, (shape[0], shape[1] // 6, shape[2] // 6), generator=generator)
    target = coarse.repeat_interleave(6, 1).repeat_interleave(6, 2)
    noise = torch.randint(0, classes, shape, generator=generator)
    return torch.where(torch.rand(shape, generator=generator) < share, target, noise), target


def measured(guess, target, names=NAMES, size=2, **options):
    metric = MeanIoU(names, **options)
    for part, truth in zip(guess.split(size), target.split(size), strict=True):
        metric.update(part, truth)
    return metric.compute()


def course_script(guess, target):
    """The grader: sums over the whole set, classes 0 to 5, averaged."""
    guess, target = guess.numpy(), target.numpy()
    ratios = []
    for index in range(6):
        both = np.sum((guess == index) * (target == index))
        either = np.sum(guess == index) + np.sum(target == index) - both
        ratios.append(both / either)
    return ratios


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("share", [0.0, 0.6, 1.0])
def test_the_same_as_the_course_script(seed, share):
    guess, target = masks(seed, share)
    found, ratios = measured(guess, target, exclude="unknown"), course_script(guess, target)
    assert [found[f"iou/{name}"] for name in SIX] == pytest.approx(ratios, abs=1e-12)
    assert found["miou"] == pytest.approx(sum(ratios) / 6, abs=1e-12)
    assert not any("unknown" in name for name in found)


def test_a_class_predicted_where_nothing_is_known_is_wrong_unless_lenient():
    target, guess = torch.tensor([[0, 0, 6, 6]]), torch.tensor([[0, 0, 0, 1]])
    assert measured(guess, target, exclude="unknown")["iou/urban"] == pytest.approx(2 / 3)
    assert measured(guess, target, exclude="unknown")["iou/agriculture"] == 0.0
    lenient = measured(guess, target, exclude="unknown", lenient=True)
    assert lenient["iou/urban"] == 1.0 and "iou/agriculture" not in lenient and lenient["miou"] == 1.0


@pytest.mark.parametrize("seed", range(3))
def test_the_same_as_torchmetrics(seed):
    guess, target = masks(seed)
    target[torch.rand(target.shape, generator=torch.Generator().manual_seed(seed)) < 0.1] = 255
    found = measured(guess, target)
    oracle = MulticlassJaccardIndex(7, average="none", ignore_index=255)
    each = oracle(guess, target).tolist()
    assert [found[f"iou/{name}"] for name in NAMES] == pytest.approx(each, abs=1e-6)
    assert found["miou"] == pytest.approx(sum(each) / 7, abs=1e-6)
    lenient = measured(guess, target, exclude="unknown", lenient=True)
    target[target == 6] = 255
    each = MulticlassJaccardIndex(7, average="none", ignore_index=255)(guess, target).tolist()
    assert [lenient[f"iou/{name}"] for name in SIX] == pytest.approx(each[:6], abs=1e-6)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_the_confusion_matrix_is_torchmetrics(size):
    guess, target = masks()
    metric = MeanIoU(NAMES)
    for part, truth in zip(guess.split(size), target.split(size), strict=True):
        metric.update(part, truth)
    assert torch.equal(metric.confusion[:, :7], MulticlassConfusionMatrix(7)(guess, target))
    assert not metric.confusion[:, 7].any() and metric.confusion.dtype == torch.int64


def test_the_same_as_scikit_learn():
    guess, target = masks(classes=6)
    found, flat = measured(guess, target, exclude=["unknown"]), (target.flatten(), guess.flatten())
    assert found["fw_iou"] == pytest.approx(
        sklearn.metrics.jaccard_score(*flat, average="weighted"), abs=1e-9
    )
    assert found["miou"] == pytest.approx(sklearn.metrics.jaccard_score(*flat, average="macro"), abs=1e-9)
    assert found["pixel_accuracy"] == pytest.approx(sklearn.metrics.accuracy_score(*flat), abs=1e-9)
    supports = [found[f"support/{name}"] for name in SIX]
    assert supports == torch.bincount(target.flatten()).tolist()


def test_excluded_classes_are_in_no_number():
    guess, target = masks()
    found, known = measured(guess, target, exclude="unknown"), target != 6
    assert found["pixel_accuracy"] == pytest.approx((guess == target)[known].float().mean().item(), abs=1e-6)
    weights = torch.bincount(target[known], minlength=6).double()
    each = torch.tensor(course_script(guess, target), dtype=torch.float64)
    assert found["fw_iou"] == pytest.approx(float((weights * each).sum() / weights.sum()), abs=1e-12)


def test_logits_and_indices_of_any_type():
    generator = torch.Generator().manual_seed(0)
    logits, target = torch.randn(3, 7, 12, 6, generator=generator), masks(shape=(3, 12, 6))[1]
    expected = measured(logits.argmax(1), target)
    assert measured(logits, target) == expected
    assert measured(logits.argmax(1).to(torch.uint8), target.to(torch.uint8)) == expected
    assert measured(torch.zeros(1, 7, 2, 2), torch.zeros(1, 2, 2).long())["iou/urban"] == 1.0  # a tie


def test_ignored_pixels_do_not_count():
    guess, target = masks()
    known = torch.rand(target.shape, generator=torch.Generator().manual_seed(3)) < 0.5
    expected = measured(guess[known][None], target[known][None])
    assert measured(guess, torch.where(known, target, 255)) == expected
    assert measured(guess, torch.where(known, target, -1)) == expected


def test_absent_classes_have_no_number_and_those_only_predicted_have_zero():
    target, guess = torch.tensor([[0, 0, 1, 1]]), torch.tensor([[0, 0, 1, 3]])
    found = measured(guess, target)
    assert {name for name in found if "/" in name} == {
        f"{what}/{name}" for what in ("iou", "support") for name in ("urban", "agriculture", "forest")
    }
    assert (found["iou/urban"], found["iou/agriculture"], found["iou/forest"]) == (1.0, 0.5, 0.0)
    assert found["support/forest"] == 0.0 and found["miou"] == 0.5
    assert found["fw_iou"] == 0.75 and found["pixel_accuracy"] == 0.75


def test_a_prediction_of_no_class_is_wrong_for_the_true_one_alone():
    target, guess = torch.tensor([[0, 0, 1, 1]]), torch.tensor([[0, 255, 1, -1]])
    found = measured(guess, target)
    assert found["iou/urban"] == found["iou/agriculture"] == found["miou"] == 0.5


def test_the_example_in_the_docstring():
    """Two images of 100 pixels; water covers 90 and 10, and 90 and 5 are found."""
    target, guess = torch.full((2, 100), 1), torch.full((2, 100), 1)
    target[0, :90], guess[0, :90], target[1, :10], guess[1, :5] = 4, 4, 4, 4
    assert measured(guess, target)["iou/water"] == 0.95
    each = [measured(guess[k : k + 1], target[k : k + 1])["iou/water"] for k in (0, 1)]
    assert sum(each) / 2 == 0.75
    for number in ("95 / 100 = 0.95", "(1.0 + 0.5) / 2 = 0.75"):
        assert number in MeanIoU.__doc__


def test_reset_forgets_and_nothing_gives_zero():
    guess, target = masks()
    metric = MeanIoU(NAMES)
    assert metric.compute() == {"miou": 0.0, "fw_iou": 0.0, "pixel_accuracy": 0.0}
    metric.update(guess, target)
    first = metric.compute()
    metric.reset()
    metric.update(guess, target)
    assert metric.compute() == first
    check_metric(MeanIoU)


def test_many_pixels_are_counted_exactly():
    """More than a float32 can count."""
    metric = MeanIoU(["a", "b"])
    metric.confusion[0, 0] = 2**40
    metric.update(torch.tensor([[0, 1]]), torch.tensor([[0, 0]]))
    assert metric.compute()["support/a"] == 2**40 + 2
    assert metric.compute()["iou/a"] == (2**40 + 1) / (2**40 + 2) != 1.0


@pytest.mark.parametrize(
    "exclude", ["water,unknown", " water , unknown,", ["water", "unknown"], ("unknown", "water")]
)
def test_names_to_exclude_as_text_or_list(exclude):
    guess, target = masks()
    found = measured(guess, target, exclude=exclude)
    kept = {"urban", "agriculture", "rangeland", "forest", "barren"}
    assert {name[4:] for name in found if name.startswith("iou/")} == kept


def test_mistakes_are_named():
    with pytest.raises(UsageError, match="no class 'unknwon' to exclude; did you mean 'unknown'"):
        MeanIoU(NAMES, exclude="unknwon")
    with pytest.raises(UsageError, match="all classes are excluded"):
        MeanIoU(["a", "b"], exclude="a,b")
    with pytest.raises(UsageError, match="at most 254 classes, not 255"):
        MeanIoU([str(index) for index in range(255)])
    with pytest.raises(ValueError, match="target 7 with 7 classes"):
        MeanIoU(NAMES).update(torch.zeros(1, 4).long(), torch.tensor([[0, 1, 7, 255]]))
