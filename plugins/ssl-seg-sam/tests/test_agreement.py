"""The mean IoU of named segments against its definition, pixel by pixel, and against the library's metric."""

from itertools import product

import numpy as np
import pytest
import torch
from ssl_seg_sam.agreement import ComparedRun, assign_majority_class, confusion, names_of, rows_of, score

from ssl_seg.metrics.mean_iou import MeanIoU


def random_case(seed, segments=6, classes=4, shape=(9, 11)):
    random = np.random.default_rng(seed)
    index = random.integers(0, segments + 1, shape).astype(np.int32)
    label = random.integers(0, classes, shape).astype(np.uint8)
    label[random.random(shape) < 0.2] = 255
    return index, label


def by_pixels(index, label, classes):
    """The definition, in loops: every segment is named by counting, then each class is measured."""
    predicted = np.full(label.shape, classes)
    for number in range(1, index.max() + 1):
        votes = [0] * classes
        for y, x in product(*map(range, label.shape)):
            if index[y, x] == number and label[y, x] != 255:
                votes[label[y, x]] += 1
        if sum(votes):
            predicted[index == number] = votes.index(max(votes))
    values = []
    for cls in range(classes):
        both = either = 0
        for y, x in product(*map(range, label.shape)):
            if label[y, x] != 255:
                both += predicted[y, x] == cls and label[y, x] == cls
                either += predicted[y, x] == cls or label[y, x] == cls
        if either:
            values.append(both / either)
    return predicted, float(np.mean(values))


@pytest.mark.parametrize("seed", range(8))
def test_by_its_definition(seed):
    index, label = random_case(seed)
    predicted, expected = by_pixels(index, label, 4)
    ours = assign_majority_class(index, label, np.ones(4, dtype=bool))
    assert np.array_equal(ours, predicted)
    assert score(confusion(ours, label, 4), np.ones(4, dtype=bool)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_no_other_naming_has_more_right_pixels(seed):
    index, label = random_case(seed, segments=4, classes=3)
    most = max(
        int(((np.array([3, *names])[index] == label) & (label != 255)).sum())
        for names in product(range(3), repeat=4)
    )
    assert (
        int(((assign_majority_class(index, label, np.ones(3, dtype=bool)) == label) & (label != 255)).sum())
        == most
    )


@pytest.mark.parametrize("exclude", [(), ("c",)])
def test_it_is_the_librarys_mean_iou_of_the_named_segments(exclude):
    index, label = random_case(3)
    scored_classes = np.array([name not in exclude for name in "abcd"])
    predicted = assign_majority_class(index, label, scored_classes)
    metric = MeanIoU(list("abcd"), exclude=exclude)
    metric.update(torch.from_numpy(predicted)[None], torch.from_numpy(label)[None])
    counts = confusion(predicted, label, 4)
    assert np.array_equal(counts, metric.confusion.numpy())
    assert score(counts, scored_classes) == pytest.approx(metric.compute()["miou"], abs=1e-12)


def test_no_segment_is_named_after_an_excluded_class():
    label = np.array([[2, 2, 2, 0], [2, 2, 2, 2]], dtype=np.uint8)
    index = np.array([[1, 1, 1, 1], [2, 2, 2, 2]], dtype=np.int32)
    scored_classes = np.array([True, True, False])
    assert assign_majority_class(index, label, scored_classes).tolist() == [[0, 0, 0, 0], [3, 3, 3, 3]]
    assert assign_majority_class(index, label, np.ones(3, dtype=bool)).tolist() == [
        [2, 2, 2, 2],
        [2, 2, 2, 2],
    ]


def test_perfect_segments_have_one_and_none_have_zero():
    _, label = random_case(0)
    index = np.where(label == 255, 0, label.astype(np.int32) + 1).astype(np.int32)
    scored_classes = np.ones(4, dtype=bool)
    assert (
        score(confusion(assign_majority_class(index, label, scored_classes), label, 4), scored_classes) == 1.0
    )
    assert (
        score(
            confusion(assign_majority_class(np.zeros_like(index), label, scored_classes), label, 4),
            scored_classes,
        )
        == 0.0
    )


def test_one_class_and_no_class():
    label, scored_classes = np.zeros((4, 4), dtype=np.uint8), np.array([True])
    index = np.zeros((4, 4), dtype=np.int32)
    index[:, 2:] = 1
    assert (
        score(confusion(assign_majority_class(index, label, scored_classes), label, 1), scored_classes) == 0.5
    )
    label[:] = 255
    assert (
        score(confusion(assign_majority_class(index, label, scored_classes), label, 1), scored_classes)
        is None
    )
    none = np.array([False])
    assert score(confusion(assign_majority_class(index, label * 0, none), label * 0, 1), none) is None
    assert score(None, scored_classes) is None


def test_names_of_an_image():
    assert list(names_of("a/0013_sat.jpg", "_sat")) == ["a/0013_sat.jpg", "0013_sat.jpg", "0013_sat", "0013"]
    assert list(names_of("_sat.jpg", "_sat")) == ["_sat.jpg", "_sat"]
    rows = rows_of(["a/1.png", "b/1.png", "1"], "")
    assert rows["1.png"] == [0, 1] and rows["a/1.png"] == [0] and rows["1"] == [2]


class TestCompared:
    @pytest.fixture
    def folder(self, tmp_path):
        confusions = np.array([[[5, 1, 0], [2, 4, 1]], [[0, 0, 0], [3, 3, 0]]])
        files = np.array(["x/0013_sat.jpg", "0062_sat.jpg"])
        options = {"classes": np.array(["a", "b"]), "exclude": np.array([], dtype=str)}
        np.savez(tmp_path / "val_confusions.npz", confusions=confusions, filenames=files, **options)
        return tmp_path

    def test_an_image_is_found_under_any_of_its_names(self, folder):
        run = ComparedRun(folder, "run")
        for file, suffix in (("x/0013_sat.jpg", "_sat"), ("0013_mask.png", "_mask"), ("y/0013.png", "")):
            assert score(run.of(file, suffix), run.scored_classes) == pytest.approx((5 / 8 + 4 / 8) / 2)
        assert run.of("0104_sat.jpg", "_sat") is None

    def test_a_run_without_them_says_so(self, tmp_path):
        with pytest.raises(ValueError, match="no val_confusions.npz"):
            ComparedRun(tmp_path, "run")
        (tmp_path / "val_confusions.npz").write_bytes(b"PK")
        with pytest.raises(ValueError, match="cannot read val_confusions.npz"):
            ComparedRun(tmp_path, "run")


def test_naming_by_majority_is_not_the_highest_mean_iou():
    """Two segments, 6 of class 0 beside 4 of class 1, and 10 of class 0: giving the first to class 1 is better."""
    index = np.array([[1] * 10 + [2] * 10], dtype=np.int32)
    label = np.array([[0] * 6 + [1] * 4 + [0] * 10], dtype=np.uint8)
    scored_classes = np.ones(2, dtype=bool)
    majority = score(confusion(assign_majority_class(index, label, scored_classes), label, 2), scored_classes)
    other = np.array([[1] * 10 + [0] * 10])
    assert majority == pytest.approx((16 / 20 + 0) / 2)
    better = score(confusion(other, label, 2), scored_classes)
    assert better == pytest.approx((10 / 16 + 4 / 10) / 2)
    assert better > majority
